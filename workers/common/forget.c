#include "forget.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <openssl/rand.h>

#include "clock.h"
#include "cx_buf.h"
#include "cx_projection.h"

#define CONFIRM_MS 100
#define PAUSE_MIN 50000L /* ns between two looks */
#define PAUSE_MAX 2000000L

/* KEYS: zones.  ARGV: channel, message, length of a lease.  Whether all leases
 * are known, and the zones that have one.  A server that was restarted or
 * flushed has forgotten those that it gave; a lease later they have ended.  So
 * it is if one ends too late: the clock was set back since it was noted. */
static const char script_forget[] = CX_SCRIPT_LEASES
    "local out = { now - at >= tonumber(ARGV[3]) and 1 or 0 }\n"
    "local f = redis.call('HGETALL', KEYS[1])\n"
    "for i = 1, #f, 2 do\n"
    "    local ends = f[i] ~= 'since'\n"
    "        and tonumber(string.match(f[i + 1], '^%d+'))\n"
    "    if ends and ends > now + ARGV[3] then\n"
    "        redis.call('DEL', KEYS[1])\n"
    "        redis.call('HSET', KEYS[1], 'since', run .. ' ' .. now)\n"
    "        out = { 0 }\n"
    "        break\n"
    "    elseif ends and ends > now then\n"
    "        out[#out + 1] = f[i]\n"
    "    elseif f[i] ~= 'since' then\n"
    "        redis.call('HDEL', KEYS[1], f[i])\n"
    "    end\n"
    "end\n"
    "redis.call('PUBLISH', ARGV[1], ARGV[2])\n"
    "return out\n";

static const char script_touch[] = CX_SCRIPT_LEASES;


static void
pause_for(long ns)
{
    struct timespec ts = { 0, ns };

    (void) nanosleep(&ts, NULL);
}


/* Until a zone has acknowledged.  Looking is cheaper than it seems: an answer
 * takes Redis a few microseconds, and a connection that blocks can't be given
 * up at an exact time. */
static bool
acknowledged(cx_redis_t *redis, TALLOC_CTX *ctx, const char *nonce,
             const char *zone, int64_t deadline)
{
    long pause;
    redisReply *reply;
    char name[CX_NAME_MAX];

    snprintf(name, sizeof(name), "%s%s:%.32s", CX_ACK_PREFIX, nonce, zone);
    pause = PAUSE_MIN;

    for (;;) {
        reply = cx_redis_words(redis, ctx, "EXISTS", name, NULL);

        if (reply == NULL || reply->type != REDIS_REPLY_INTEGER) {
            return false;
        }

        if (reply->integer == 1) {
            return true;
        }

        if (cx_monotonic_ms() >= deadline) {
            return false;
        }

        pause_for(pause);
        pause = pause < PAUSE_MAX ? 2 * pause : PAUSE_MAX;
    }
}


static bool
confirmed(cx_redis_t *redis, TALLOC_CTX *ctx, const char *nonce,
          const redisReply *zones, int64_t deadline)
{
    size_t i;

    if (zones == NULL || zones->type != REDIS_REPLY_ARRAY
        || zones->elements == 0
        || zones->element[0]->type != REDIS_REPLY_INTEGER) {
        return false;
    }

    for (i = 1; i < zones->elements; i++) {
        if (zones->element[i]->type != REDIS_REPLY_STRING
            || !acknowledged(redis, ctx, nonce, zones->element[i]->str,
                             deadline)) {
            return false;
        }
    }

    return zones->element[0]->integer == 1;
}


static char *
message_of(TALLOC_CTX *ctx, const cx_forgetting_t *f, const char *nonce)
{
    size_t i;
    char *message, *p;

    if (f->n > CX_FORGET_MAX) {
        return cx_must(talloc_asprintf(ctx, "%s *", nonce));
    }

    message = cx_must(
        talloc_size(ctx, CX_NONCE_LEN + 1 + f->n * (CX_OBJECT_LEN + 1)));
    p = message + sprintf(message, "%s", nonce);

    for (i = 0; i < f->n; i++) {
        p += sprintf(p, " %08x", (unsigned) f->objects[i]);
    }

    return message;
}


static bool
tell(cx_forgetting_t *f, cx_redis_t *redis, int patience)
{
    bool ok;
    TALLOC_CTX *ctx;
    int64_t deadline;
    char nonce[CX_NONCE_LEN + 1], lease[16];
    unsigned char random[CX_NONCE_LEN / 2];
    const char *argv[] = { "1", CX_ZONES, CX_FORGET_CHANNEL, NULL, lease };

    if (f->n == 0) {
        return true;
    }

    if (RAND_bytes(random, sizeof(random)) != 1) {
        f->n = 0;
        return false;
    }

    ctx = cx_must(talloc_new(NULL));
    deadline = cx_monotonic_ms() + patience;

    snprintf(lease, sizeof(lease), "%d", CX_LEASE);
    cx_hex(random, sizeof(random), nonce);
    argv[3] = message_of(ctx, f, nonce);
    f->n = 0;

    ok = confirmed(redis, ctx, nonce,
                   cx_redis_script(redis, ctx, script_forget, 5, argv, NULL),
                   deadline);
    talloc_free(ctx);

    return ok;
}


static void
note(cx_forgetting_t *f, const char *name)
{
    if (f->n < CX_FORGET_MAX) {
        f->objects[f->n++] = cx_object(name, strlen(name));

    } else {
        f->n = CX_FORGET_MAX + 1;
    }
}


bool
cx_forget(cx_forgetting_t *f, cx_redis_t *redis, const char *name)
{
    note(f, name);

    return f->held > 0 || tell(f, redis, CONFIRM_MS);
}


bool
cx_forget_patiently(cx_forgetting_t *f, cx_redis_t *redis, const char *name)
{
    note(f, name);

    return f->held > 0 || tell(f, redis, CX_LEASE);
}


bool
cx_forget_all(cx_forgetting_t *f, cx_redis_t *redis)
{
    f->n = CX_FORGET_MAX + 1;

    return f->held > 0 || tell(f, redis, CONFIRM_MS);
}


void
cx_forget_hold(cx_forgetting_t *f)
{
    f->held++;
}


bool
cx_forget_release(cx_forgetting_t *f, cx_redis_t *redis)
{
    f->held--;

    return f->held > 0 || tell(f, redis, CONFIRM_MS);
}


void
cx_forget_ready(cx_redis_t *redis)
{
    TALLOC_CTX *ctx;
    const char *argv[] = { "1", CX_ZONES };

    ctx = cx_must(talloc_new(NULL));
    (void) cx_redis_script(redis, ctx, script_touch, 2, argv, NULL);
    talloc_free(ctx);
}
