/*
 * Redis for workers: one blocking connection per process and node,
 * redis_timeout (ms) to connect and to answer, and a circuit breaker: after a
 * failure nothing is tried for 200 ms, so that a Redis that is away costs no
 * request its time.
 *
 * There is one server, or a cluster (redis_cluster): then each command goes
 * to the node that has its key, wherever that has gone, and a node that is
 * lost takes only its keys with it.
 */

#ifndef CX_REDIS_H
#define CX_REDIS_H

#include <stdbool.h>
#include <stdint.h>

#include <hiredis/hiredis.h>
#include <talloc.h>

#include "cx_projection.h"
#include "settings.h"

typedef struct cx_redis_s cx_redis_t;

typedef struct {
    const char *address;
    char epoch[40]; /* as last read; empty: not known */
    char epoch_name[CX_NAME_MAX];
    char ready_name[CX_NAME_MAX];

    /* redis.c's own */
    redisContext *link;
    int64_t closed_until; /* circuit breaker, ms of the monotonic clock */
    bool away;            /* said so in the log */
    unsigned mark;
} cx_redis_node_t;

cx_redis_t *cx_redis_open(TALLOC_CTX *ctx, const cx_settings_t *settings);

/* One command from NUL-terminated words, ending with NULL, to the node of its
 * key; one that has no key, to any.  NULL: Redis is away (the connection is
 * closed).  An error reply is returned like any other.  The reply belongs to
 * ctx. */
redisReply *cx_redis_words(cx_redis_t *redis, TALLOC_CTX *ctx, ...);

/* Logs an error reply, once a minute while it is the same. */
void cx_redis_refused(cx_redis_t *redis, const redisReply *reply);

/* EVALSHA, or EVAL when the server does not know the script.  `argv` starts
 * with the number of keys, 1 or more that have one tag, and may hold NULs if
 * `lengths` is not NULL. */
redisReply *cx_redis_script(cx_redis_t *redis, TALLOC_CTX *ctx,
                            const char *script, int argc, const char **argv,
                            const size_t *lengths);

/* A script with one key that compares the epoch of the node where it runs:
 * ARGV[1] is the epoch's name, ARGV[2] the epoch; both are put in here, at
 * argv[2] and argv[3].  An answer of -1 makes the epoch forgotten; NULL also
 * means that none is known. */
redisReply *cx_redis_epoch_script(cx_redis_t *redis, TALLOC_CTX *ctx,
                                  const char *script, int argc,
                                  const char **argv, const size_t *lengths);

/* The nodes that have slots, or the one server.  What is pointed at lives as
 * long as `redis`, the array until the next call of anything here. */
size_t cx_redis_nodes(cx_redis_t *redis, cx_redis_node_t ***nodes);

/* Whether a node did not answer when it was asked last. */
bool cx_redis_is_away(const cx_redis_node_t *node);

/* The node that has a name; NULL: none, or Redis is away. */
cx_redis_node_t *cx_redis_node(cx_redis_t *redis, const char *name);

/* What is known of the nodes may be wrong: it is asked for again soon. */
void cx_redis_doubt(cx_redis_t *redis);

/* One command to a node. */
redisReply *cx_redis_words_at(cx_redis_t *redis, cx_redis_node_t *node,
                              TALLOC_CTX *ctx, ...);

/* For who needs a connection of its own: connects, gives the password and
 * selects the database.  The time-out holds for answers too.  `address`: a
 * node's, or NULL for any that is configured.  NULL: `why`. */
redisContext *cx_redis_dial(const cx_settings_t *settings, const char *address,
                            int timeout_ms, char *why, size_t size);

/* Makes a reply belong to ctx; returns it. */
redisReply *cx_redis_keep(TALLOC_CTX *ctx, redisReply *reply);

#endif
