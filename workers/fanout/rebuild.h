/*
 * Building the projection again from PostgreSQL, in steps, so that the
 * outbox is served between them (docs/projection.md).
 *
 * One at a time: whoever rebuilds holds an advisory lock in PostgreSQL on a
 * connection of its own.  Not a lock in Redis, which a flush would take away
 * at the very moment when it is needed; and a process that is killed leaves
 * none behind.
 */

#ifndef CX_REBUILD_H
#define CX_REBUILD_H

#include "projection.h"

typedef enum {
    CX_PROJECTION_AWAY, /* Redis can't be asked */
    CX_PROJECTION_LOST, /* there is no epoch: nothing can be projected */
    CX_PROJECTION_PART, /* not complete, or not of this server */
    CX_PROJECTION_READY
} cx_projection_state_t;

typedef enum {
    CX_REBUILD_MORE,
    CX_REBUILD_DONE,
    CX_REBUILD_BROKEN /* start again: Redis has failed, or was flushed */
} cx_rebuild_rc_t;

typedef struct {
    cx_projector_t *p;
    cx_pg_t *lock;
    struct cx_bulk_s *bulk;
    char card_script[41]; /* names of the scripts */
    char set_script[41];
    char run_id[64];
    char epoch[40];
    int64_t started; /* ms of the monotonic clock */
    int stage;
    char *after; /* what the last page ended with */
    long long cards;
    long long tokens;
    long long thumbnails;
} cx_rebuild_t;

/* What Redis says of itself; also makes the projector forget an epoch that
 * has passed. */
cx_projection_state_t cx_projection_state(cx_projector_t *p, TALLOC_CTX *ctx);

/* Empties Redis and opens a new epoch.  NULL: not now, since another process
 * rebuilds (*busy) or Redis or PostgreSQL is away.  `forced`: also when the
 * projection is ready.  Freeing it ends it and lets go of the lock. */
cx_rebuild_t *cx_rebuild_begin(TALLOC_CTX *ctx, cx_projector_t *p, bool forced,
                               bool *busy);

/* One page.  MORE also when PostgreSQL is away. */
cx_rebuild_rc_t cx_rebuild_step(cx_rebuild_t *r);

/* How many cards there will be; -1: not known. */
long long cx_rebuild_total(cx_rebuild_t *r);

#endif
