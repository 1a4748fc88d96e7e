/*
 * Redis for workers: one blocking connection per process, redis_timeout (ms)
 * to connect and to answer, and a circuit breaker: after a failure nothing is
 * tried for 200 ms, so that a Redis that is away costs no request its time.
 */

#ifndef CX_REDIS_H
#define CX_REDIS_H

#include <hiredis/hiredis.h>
#include <talloc.h>

#include "settings.h"

typedef struct cx_redis_s cx_redis_t;

cx_redis_t *cx_redis_open(TALLOC_CTX *ctx, const cx_settings_t *settings);

/* One command from NUL-terminated words, ending with NULL.  NULL: Redis is
 * away (the connection is closed).  An error reply is returned like any
 * other.  The reply belongs to ctx. */
redisReply *cx_redis_words(cx_redis_t *redis, TALLOC_CTX *ctx, ...);

/* EVALSHA, or EVAL when the server does not know the script.  `argv` starts
 * with the number of keys, and may hold NULs if `lengths` is not NULL. */
redisReply *cx_redis_script(cx_redis_t *redis, TALLOC_CTX *ctx,
                            const char *script, int argc, const char **argv,
                            const size_t *lengths);

/* For who needs a connection of its own: connects, gives the password and
 * selects the database.  The time-out holds for answers too.  NULL: `why`. */
redisContext *cx_redis_dial(const cx_settings_t *settings, int timeout_ms,
                            char *why, size_t size);

/* Makes a reply belong to ctx; returns it. */
redisReply *cx_redis_keep(TALLOC_CTX *ctx, redisReply *reply);

#endif
