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
    CX_PROJECTION_PART, /* a node is not complete, or not of this server */
    CX_PROJECTION_READY
} cx_projection_state_t;

typedef enum {
    CX_REBUILD_MORE,
    CX_REBUILD_DONE,
    CX_REBUILD_BROKEN /* start again: Redis has failed, or was flushed */
} cx_rebuild_rc_t;

/* A node that is built anew, with its names as they were in the beginning: if
 * they change meanwhile, it is not complete when this is done. */
typedef struct {
    cx_redis_node_t *node;
    struct cx_bulk_s *bulk;
    char epoch_name[CX_NAME_MAX];
    char ready_name[CX_NAME_MAX];
    char run_id[64];
} cx_target_t;

typedef struct {
    cx_projector_t *p;
    cx_pg_t *lock;
    cx_target_t *targets;
    size_t n_targets;
    char card_script[41]; /* names of the scripts */
    char set_script[41];
    char epoch[40];
    int64_t started; /* ms of the monotonic clock */
    int stage;
    char *after; /* what the last page ended with */
    long long cards;
    long long tokens;
    long long thumbnails;
} cx_rebuild_t;

/* What Redis says of itself; also makes the projector forget an epoch that
 * has passed.  READY: every node that is there is complete; `whole`: and no
 * node is away. */
cx_projection_state_t cx_projection_state(cx_projector_t *p, TALLOC_CTX *ctx,
                                          bool *whole);

/* Empties the nodes that are not complete and opens a new epoch there.  NULL:
 * not now, since another process rebuilds (*busy) or Redis or PostgreSQL is
 * away.  `forced`: also those that are complete.  Freeing it ends it
 * and lets go of the lock. */
cx_rebuild_t *cx_rebuild_begin(TALLOC_CTX *ctx, cx_projector_t *p, bool forced,
                               bool *busy);

/* One page.  MORE also when PostgreSQL is away. */
cx_rebuild_rc_t cx_rebuild_step(cx_rebuild_t *r);

/* How many cards there will be; -1: not known. */
long long cx_rebuild_total(cx_rebuild_t *r);

#endif
