/*
 * Telling the caches at the edge to forget (docs/cache.md).
 *
 * What they know an object by is its name in Redis: a card's, a terminal's, a
 * thumbnail's, a redirect's, a head's.  Told is after Redis has the new state;
 * what is forgotten is read there again.
 */

#ifndef CX_FORGET_H
#define CX_FORGET_H

#include <stdbool.h>
#include <stdint.h>

#include <talloc.h>

#include "redis.h"

/* Objects of one message; more are everything.  A fan-out's chunk fits: its
 * holders and those of the one before it. */
#define CX_FORGET_MAX 8192

typedef struct {
    int held;
    size_t n; /* CX_FORGET_MAX + 1: everything */
    uint32_t objects[CX_FORGET_MAX];
} cx_forgetting_t;

/* True: no cache has the object any more, or can answer with it.  That is
 * confirmed within 100 ms or not at all. */
bool cx_forget(cx_forgetting_t *f, cx_redis_t *redis, const char *name);

/* The same for what can't be taken back: a cache that does not answer is
 * waited for until its lease has ended. */
bool cx_forget_patiently(cx_forgetting_t *f, cx_redis_t *redis,
                         const char *name);

/* Everything, for who has emptied Redis. */
bool cx_forget_all(cx_forgetting_t *f, cx_redis_t *redis);

/* Between these two objects are only noted; release() tells of all and returns
 * what cx_forget() would have. */
void cx_forget_hold(cx_forgetting_t *f);
bool cx_forget_release(cx_forgetting_t *f, cx_redis_t *redis);

/* Denials can be confirmed when Redis has known for the length of a lease who
 * has one; this is from when it counts, if nobody came before. */
void cx_forget_ready(cx_redis_t *redis);

#endif
