/*
 * Writing the projection (design in docs/projection.md; the names are in
 * core/cx_projection.h).
 *
 * Whatever gives access: commit, then project.  Whatever denies: doubt,
 * commit, deny; only a denial that returned true may be answered as done: then
 * the caches at the edge have forgotten it, too.
 * Functions that give access return nothing: when they can't write, the edge
 * asks a worker, and the outbox brings it later.
 */

#ifndef CX_PROJECTOR_H
#define CX_PROJECTOR_H

#include "cx_id.h"
#include "forget.h"
#include "pg.h"
#include "redis.h"

typedef struct {
    const cx_settings_t *settings;
    cx_pg_t *pg;
    cx_redis_t *redis;
    bool passed; /* the last script found another epoch */
    cx_forgetting_t forget;
} cx_projector_t;

/* Connections are opened by their first use, and belong to the settings.
 * `conninfo`: as which role PostgreSQL is asked. */
void cx_projector_init(cx_projector_t *p, cx_settings_t *settings,
                       const char *conninfo);

/* Cards: body per view, keys, media, all from card_projection() in
 * PostgreSQL.  resolve: this process put the card in doubt itself.  False:
 * not confirmed (also when PostgreSQL could not be read). */
bool cx_project_card(cx_projector_t *p, const char *card_id, bool resolve);
/* The same after a change: true when no cache has the card as it was. */
bool cx_renew_card(cx_projector_t *p, const char *card_id, bool resolve);
bool cx_doubt_card(cx_projector_t *p, const char *card_id);
bool cx_deny_card(cx_projector_t *p, const char *card_id); /* deleted */

/* Keys: a key that was just drawn, beside its redirect. */
void cx_project_key(cx_projector_t *p, const char *card_id,
                    const unsigned char *key_hash, int64_t expires,
                    const char *view);
bool cx_doubt_key(cx_projector_t *p, const char *card_id,
                  const unsigned char *key_hash);
bool cx_deny_key(cx_projector_t *p, const char *card_id,
                 const unsigned char *key_hash);
/* A key that PostgreSQL does not know, remembered for 10 s. */
void cx_project_unknown_key(cx_projector_t *p, const char *card_id,
                            const unsigned char *key_hash);

/* Access tokens and terminals (A8). */
void cx_project_token(cx_projector_t *p, const cx_token_t *token,
                      int64_t expires);
bool cx_doubt_terminal(cx_projector_t *p, const char *user_id,
                       uint32_t terminal_id);
bool cx_deny_terminal(cx_projector_t *p, const char *user_id,
                      uint32_t terminal_id);

/* Thumbnails. */
void cx_project_thumbnail(cx_projector_t *p, const char *thumbnail_id,
                          const unsigned char *webp, size_t len);
bool cx_deny_thumbnail(cx_projector_t *p, const char *thumbnail_id);

/* Many changes at once: in between caches are not told, and what returns true
 * may still be cached, until release() has returned true. */
void cx_projector_hold(cx_projector_t *p);
bool cx_projector_release(cx_projector_t *p);

/* Reads the epoch of each node where it is not known; to be called before
 * PostgreSQL is read: what was read before the epoch may be outdated, and is
 * not projected.  False: no node has one. */
bool cx_projector_epoch(cx_projector_t *p);

/* For who would rather read it again than find that it has passed. */
void cx_projector_drop_epoch(cx_projector_t *p);

#endif
