/*
 * The kinds of names that are compared: one entry in cx_check_kinds, one
 * function in check_kinds.c.
 */

#ifndef CX_CHECK_KINDS_H
#define CX_CHECK_KINDS_H

#include "projection.h"

typedef enum {
    CX_CHECK_SAME,
    CX_CHECK_MISSING, /* a miss: a worker is asked */
    CX_CHECK_WRONG,
    CX_CHECK_AWAY /* PostgreSQL or Redis could not be asked */
} cx_check_rc_t;

typedef struct {
    cx_projector_t *p;
    const char *why;   /* what is wrong or missing; of the context of a look */
    bool again;        /* not the first look: it may take its time */
    char **signed_out; /* users that have a mark, as far as seen */
    size_t n_signed_out;
} cx_look_t;

typedef struct {
    const char *prefix;
    const char *what;
    /* Looks at one name; `rest` is what is behind the prefix.  NULL: nothing
     * to compare. */
    cx_check_rc_t (*look)(cx_look_t *look, TALLOC_CTX *ctx, const char *name,
                          const char *rest);
} cx_check_kind_t;

/* Ends with a prefix of NULL.  The first that fits is the one. */
extern const cx_check_kind_t cx_check_kinds[];

#define CX_CURSOR 24

/* One page of SCAN: names of a node that match.  The cursor is "0" before the
 * first and after the last.  NULL: Redis is away. */
redisReply *cx_check_scan(cx_projector_t *p, cx_redis_node_t *node,
                          TALLOC_CTX *ctx, char cursor[CX_CURSOR],
                          const char *match);

#endif
