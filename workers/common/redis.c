#include "redis.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <openssl/sha.h>

#include "clock.h"
#include "cx_buf.h"
#include "cx_id.h"
#include "log.h"

#define BREAK_MS 200
#define WORDS_MAX 16

struct cx_redis_s {
    const cx_settings_t *settings;
    redisContext *link;
    int64_t closed_until; /* circuit breaker, ms of the monotonic clock */
    bool away;            /* said so in the log */
};

typedef struct {
    redisReply *reply;
} holder_t;


static int
redis_free(cx_redis_t *redis)
{
    if (redis->link != NULL) {
        redisFree(redis->link);
    }

    return 0;
}


cx_redis_t *
cx_redis_open(TALLOC_CTX *ctx, const cx_settings_t *settings)
{
    cx_redis_t *redis;

    redis = cx_must(talloc_zero(ctx, cx_redis_t));
    redis->settings = settings;
    talloc_set_destructor(redis, redis_free);

    return redis;
}


static void
fail(cx_redis_t *redis, const char *why)
{
    if (!redis->away) {
        cx_warn("Redis: away: %s", why);
        redis->away = true;
    }

    if (redis->link != NULL) {
        redisFree(redis->link);
        redis->link = NULL;
    }

    redis->closed_until = cx_monotonic_ms() + BREAK_MS;
}


/* A setup command; whatever but an error reply is good. */
static bool
setup(redisContext *link, const char *format, const char *value)
{
    bool ok;
    redisReply *reply;

    reply = redisCommand(link, format, value);
    ok = reply != NULL && reply->type != REDIS_REPLY_ERROR;

    if (reply != NULL) {
        freeReplyObject(reply);
    }

    return ok;
}


static redisContext *
dial(const char *address, struct timeval timeout)
{
    char host[256];
    const char *colon;

    if (address[0] == '/') {
        return redisConnectUnixWithTimeout(address, timeout);
    }

    colon = strrchr(address, ':');
    snprintf(host, sizeof(host), "%.*s", (int) (colon - address), address);

    return redisConnectWithTimeout(host, atoi(colon + 1), timeout);
}


redisContext *
cx_redis_dial(const cx_settings_t *s, int timeout_ms, char *why, size_t size)
{
    char number[16];
    redisContext *link;
    struct timeval timeout = { timeout_ms / 1000, timeout_ms % 1000 * 1000L };

    link = dial(s->redis, timeout);

    if (link == NULL) {
        snprintf(why, size, "no memory");
        return NULL;
    }

    redisSetTimeout(link, timeout);
    snprintf(number, sizeof(number), "%d", s->redis_database);

    if (link->err != 0) {
        snprintf(why, size, "%s", link->errstr);

    } else if (s->redis_password != NULL
               && !setup(link, "AUTH %s", s->redis_password)) {
        snprintf(why, size, "it refuses the password");

    } else if (!setup(link, "SELECT %s", number)) {
        snprintf(why, size, "the database can't be selected");

    } else {
        return link;
    }

    redisFree(link);

    return NULL;
}


/* Between commands a server has nothing to say: it was restarted, or has cut
 * the connection.  That is no failure, if another can be had. */
static bool
has_hung_up(const redisContext *link)
{
    struct pollfd pfd = { link->fd, POLLIN, 0 };

    return poll(&pfd, 1, 0) != 0;
}


static bool
connected(cx_redis_t *redis)
{
    char why[128];

    if (redis->link != NULL && has_hung_up(redis->link)) {
        redisFree(redis->link);
        redis->link = NULL;
    }

    if (redis->link != NULL) {
        return true;
    }

    if (cx_monotonic_ms() < redis->closed_until) {
        return false;
    }

    redis->link = cx_redis_dial(redis->settings, redis->settings->redis_timeout,
                                why, sizeof(why));

    if (redis->link == NULL) {
        fail(redis, why);
        return false;
    }

    if (redis->away) {
        cx_info("Redis: back");
        redis->away = false;
    }

    return true;
}


static int
holder_free(holder_t *holder)
{
    freeReplyObject(holder->reply);

    return 0;
}


redisReply *
cx_redis_keep(TALLOC_CTX *ctx, redisReply *reply)
{
    holder_t *holder;

    holder = cx_must(talloc(ctx, holder_t));
    holder->reply = reply;
    talloc_set_destructor(holder, holder_free);

    return reply;
}


/* One command from arguments that may hold NULs. */
static redisReply *
command(cx_redis_t *redis, TALLOC_CTX *ctx, int argc, const char **argv,
        const size_t *lengths)
{
    redisReply *reply;

    if (!connected(redis)) {
        return NULL;
    }

    reply = redisCommandArgv(redis->link, argc, argv, lengths);

    if (reply == NULL) {
        fail(redis, redis->link->errstr);
        return NULL;
    }

    return cx_redis_keep(ctx, reply);
}


redisReply *
cx_redis_words(cx_redis_t *redis, TALLOC_CTX *ctx, ...)
{
    int n;
    va_list ap;
    const char *words[WORDS_MAX];

    va_start(ap, ctx);

    for (n = 0; n < WORDS_MAX; n++) {
        words[n] = va_arg(ap, const char *);

        if (words[n] == NULL) {
            break;
        }
    }

    va_end(ap);

    return command(redis, ctx, n, words, NULL);
}


redisReply *
cx_redis_script(cx_redis_t *redis, TALLOC_CTX *ctx, const char *script,
                int argc, const char **argv, const size_t *lengths)
{
    int i;
    size_t *sizes;
    const char **words;
    redisReply *reply;
    char name[2 * SHA_DIGEST_LENGTH + 1];
    unsigned char digest[SHA_DIGEST_LENGTH];

    SHA1((const unsigned char *) script, strlen(script), digest);
    cx_hex(digest, sizeof(digest), name);

    words = talloc_array(ctx, const char *, argc + 2);
    sizes = talloc_array(ctx, size_t, argc + 2);

    words[0] = "EVALSHA";
    words[1] = name;
    sizes[0] = strlen(words[0]);
    sizes[1] = strlen(words[1]);

    for (i = 0; i < argc; i++) {
        words[i + 2] = argv[i];
        sizes[i + 2] = lengths != NULL ? lengths[i] : strlen(argv[i]);
    }

    reply = command(redis, ctx, argc + 2, words, sizes);

    if (reply != NULL && reply->type == REDIS_REPLY_ERROR
        && strncmp(reply->str, "NOSCRIPT", 8) == 0) {
        words[0] = "EVAL";
        words[1] = script;
        sizes[0] = strlen(words[0]);
        sizes[1] = strlen(words[1]);
        reply = command(redis, ctx, argc + 2, words, sizes);
    }

    if (reply != NULL && reply->type == REDIS_REPLY_ERROR) {
        cx_error("Redis: a script failed: %.100s", reply->str);
    }

    return reply;
}
