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
#define REDIRECTS_MAX 4
#define REFUSED_MS 60000 /* until the same refusal is told again */

struct cx_redis_s {
    const cx_settings_t *settings;
    cx_redis_node_t **known; /* every node that there ever was */
    size_t n_known;

    /* where the slots are; of one server, nodes[0] is it */
    cx_cluster_t *map;
    cx_redis_node_t *nodes[CX_NODES_MAX];
    size_t n;
    bool stale;    /* a node has failed, or said that a slot has gone */
    int64_t asked; /* when the map was, ms of the monotonic clock */

    char refusal[16]; /* the last one's code, and when it was told */
    int64_t told;
};

typedef struct {
    redisReply *reply;
} holder_t;

/* A command, or with `script` EVALSHA in words[0] and its name in [1]. */
typedef struct {
    int argc;
    const char **words;
    size_t *lengths;
    const char *script;
    bool epoch;
} call_t;


static int
redis_free(cx_redis_t *redis)
{
    size_t i;

    for (i = 0; i < redis->n_known; i++) {
        if (redis->known[i]->link != NULL) {
            redisFree(redis->known[i]->link);
        }
    }

    return 0;
}


/* A node's own names change with its mark; what was read of it then says
 * nothing of the new ones. */
static void
set_mark(cx_redis_node_t *node, unsigned mark)
{
    if (node->mark != mark) {
        node->mark = mark;
        node->epoch[0] = '\0';
        cx_own_name(node->epoch_name, CX_EPOCH, mark);
        cx_own_name(node->ready_name, CX_READY, mark);
    }
}


static cx_redis_node_t *
known(cx_redis_t *redis, const char *address)
{
    size_t i;

    for (i = 0; i < redis->n_known; i++) {
        if (strcmp(redis->known[i]->address, address) == 0) {
            return redis->known[i];
        }
    }

    return NULL;
}


static cx_redis_node_t *
add_node(cx_redis_t *redis, const char *address, unsigned mark)
{
    cx_redis_node_t *node;

    node = known(redis, address);

    if (node == NULL) {
        node = cx_must(talloc_zero(redis, cx_redis_node_t));
        node->address = cx_must(talloc_strdup(node, address));
        node->mark = CX_SLOTS + 1;

        redis->known =
            cx_must(talloc_realloc(redis, redis->known, cx_redis_node_t *,
                                   (unsigned) redis->n_known + 1));
        redis->known[redis->n_known++] = node;
    }

    set_mark(node, mark);

    return node;
}


cx_redis_t *
cx_redis_open(TALLOC_CTX *ctx, const cx_settings_t *settings)
{
    cx_redis_t *redis;

    redis = cx_must(talloc_zero(ctx, cx_redis_t));
    redis->settings = settings;
    talloc_set_destructor(redis, redis_free);

    if (settings->redis_cluster) {
        redis->stale = true;
        redis->asked = -BREAK_MS;

    } else {
        redis->nodes[0] = add_node(redis, settings->redis, CX_SLOTS);
        redis->n = 1;
    }

    return redis;
}


static void
hang_up(cx_redis_node_t *node)
{
    if (node->link != NULL) {
        redisFree(node->link);
        node->link = NULL;
    }
}


static void
fail(cx_redis_t *redis, cx_redis_node_t *node, const char *why)
{
    if (!node->away) {
        cx_warn("Redis: away: %s: %s", node->address, why);
        node->away = true;
    }

    hang_up(node);
    node->closed_until = cx_monotonic_ms() + BREAK_MS;
    redis->stale = true;
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
dial(const char *address, size_t len, struct timeval timeout)
{
    char host[256];
    const char *colon;

    snprintf(host, sizeof(host), "%.*s", (int) len, address);

    if (host[0] == '/') {
        return redisConnectUnixWithTimeout(host, timeout);
    }

    colon = strrchr(host, ':');
    host[colon - host] = '\0';

    return redisConnectWithTimeout(host, atoi(colon + 1), timeout);
}


static redisContext *
dial_one(const cx_settings_t *s, const char *address, size_t len,
         int timeout_ms, char *why, size_t size)
{
    char number[16];
    redisContext *link;
    struct timeval timeout = { timeout_ms / 1000, timeout_ms % 1000 * 1000L };

    link = dial(address, len, timeout);

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


redisContext *
cx_redis_dial(const cx_settings_t *s, const char *address, int timeout_ms,
              char *why, size_t size)
{
    size_t len;
    redisContext *link;

    if (address != NULL) {
        return dial_one(s, address, strlen(address), timeout_ms, why, size);
    }

    link = NULL;

    for (address = s->redis; *address != '\0' && link == NULL;
         address += len + strspn(address + len, " \t")) {
        len = strcspn(address, " \t");
        link = dial_one(s, address, len, timeout_ms, why, size);
    }

    return link;
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
connected(cx_redis_t *redis, cx_redis_node_t *node)
{
    char why[128];

    if (node->link != NULL && has_hung_up(node->link)) {
        hang_up(node);
    }

    if (node->link != NULL) {
        return true;
    }

    if (cx_monotonic_ms() < node->closed_until) {
        return false;
    }

    node->link =
        cx_redis_dial(redis->settings, node->address,
                      redis->settings->redis_timeout, why, sizeof(why));

    if (node->link == NULL) {
        fail(redis, node, why);
        return false;
    }

    if (node->away) {
        cx_info("Redis: back: %s", node->address);
        node->away = false;
    }

    return true;
}


/* Which nodes there are, and what they have. */
static bool
learn(cx_redis_t *redis, const redisReply *reply, const char *host)
{
    size_t i;
    cx_cluster_t *map;
    char address[CX_HOST_MAX + 8];

    map = cx_must(talloc(redis, cx_cluster_t));

    if (reply == NULL || reply->type != REDIS_REPLY_STRING
        || cx_cluster_read(map, reply->str, reply->len, host) != 0) {
        talloc_free(map);
        return false;
    }

    talloc_free(redis->map);
    redis->map = map;
    redis->n = map->n;
    redis->stale = false;

    for (i = 0; i < map->n; i++) {
        snprintf(address, sizeof(address), "%s:%d", map->nodes[i].host,
                 map->nodes[i].port);
        redis->nodes[i] = add_node(redis, address, map->nodes[i].mark);
    }

    return true;
}


static bool
learn_from(cx_redis_t *redis, redisContext *link)
{
    bool ok;
    redisReply *reply;

    reply = redisCommand(link, "CLUSTER NODES");
    ok = learn(redis, reply, link->tcp.host);

    if (reply != NULL) {
        freeReplyObject(reply);
    }

    return ok;
}


/* Asks for the map: first whoever is connected, then by the addresses that
 * are configured. */
static void
refresh(cx_redis_t *redis)
{
    size_t i;
    char why[128];
    redisContext *link;

    redis->asked = cx_monotonic_ms();

    for (i = 0; i < redis->n_known; i++) {
        if (redis->known[i]->link != NULL
            && connected(redis, redis->known[i])) {
            if (learn_from(redis, redis->known[i]->link)) {
                return;
            }

            fail(redis, redis->known[i], "it does not say where the slots are");
        }
    }

    link = cx_redis_dial(redis->settings, NULL, redis->settings->redis_timeout,
                         why, sizeof(why));

    if (link == NULL) {
        return;
    }

    if (!learn_from(redis, link)) {
        cx_warn("Redis: %s:%d is not part of a cluster that has slots",
                link->tcp.host, link->tcp.port);
    }

    redisFree(link);
}


static void
look(cx_redis_t *redis)
{
    if (redis->settings->redis_cluster && redis->stale
        && cx_monotonic_ms() - redis->asked >= BREAK_MS) {
        refresh(redis);
    }
}


size_t
cx_redis_nodes(cx_redis_t *redis, cx_redis_node_t ***nodes)
{
    look(redis);
    *nodes = redis->nodes;

    return redis->n;
}


void
cx_redis_doubt(cx_redis_t *redis)
{
    redis->stale = true;
}


bool
cx_redis_is_away(const cx_redis_node_t *node)
{
    return node->away;
}


static cx_redis_node_t *
node_of(const cx_redis_t *redis, unsigned slot)
{
    unsigned i;

    if (redis->map == NULL) {
        return NULL;
    }

    i = redis->map->owner[slot];

    return i < redis->map->n ? redis->nodes[i] : NULL;
}


cx_redis_node_t *
cx_redis_node(cx_redis_t *redis, const char *name)
{
    if (!redis->settings->redis_cluster) {
        return redis->nodes[0];
    }

    look(redis);

    return node_of(redis, cx_slot(name, strlen(name)));
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


/* One command to one node; `asking`: about a slot that is on its way there. */
static redisReply *
command(cx_redis_t *redis, cx_redis_node_t *node, bool asking, TALLOC_CTX *ctx,
        const call_t *call)
{
    redisReply *reply;

    if (!connected(redis, node)) {
        return NULL;
    }

    if (asking && !setup(node->link, "ASKING", NULL)) {
        fail(redis, node, "it does not know ASKING");
        return NULL;
    }

    reply =
        redisCommandArgv(node->link, call->argc, call->words, call->lengths);

    if (reply == NULL) {
        fail(redis, node, node->link->errstr);
        return NULL;
    }

    return cx_redis_keep(ctx, reply);
}


static bool
is_error(const redisReply *reply, const char *code)
{
    return reply != NULL && reply->type == REDIS_REPLY_ERROR
           && strncmp(reply->str, code, strlen(code)) == 0;
}


static redisReply *
send_call(cx_redis_t *redis, cx_redis_node_t *node, bool asking,
          TALLOC_CTX *ctx, call_t *call)
{
    redisReply *reply;
    const char *name;

    if (call->epoch) {
        if (node->epoch[0] == '\0') {
            return NULL;
        }

        call->words[4] = node->epoch_name;
        call->words[5] = node->epoch;
        call->lengths[4] = strlen(node->epoch_name);
        call->lengths[5] = strlen(node->epoch);
    }

    reply = command(redis, node, asking, ctx, call);

    if (call->script != NULL && is_error(reply, "NOSCRIPT")) {
        name = call->words[1];
        call->words[0] = "EVAL";
        call->words[1] = call->script;
        call->lengths[0] = 4;
        call->lengths[1] = strlen(call->script);

        reply = command(redis, node, asking, ctx, call);

        call->words[0] = "EVALSHA";
        call->words[1] = name;
        call->lengths[0] = 7;
        call->lengths[1] = strlen(name);
    }

    if (call->epoch && reply != NULL && reply->type == REDIS_REPLY_INTEGER
        && reply->integer == -1) {
        node->epoch[0] = '\0';
    }

    return reply;
}


/* Where a reply says that the key has gone; NULL: it says nothing of the
 * kind, or somewhere that the cluster does not know. */
static cx_redis_node_t *
redirected(cx_redis_t *redis, const cx_redis_node_t *from,
           const redisReply *reply, bool *asking)
{
    cx_redirect_t r;
    char address[CX_HOST_MAX + 8];
    cx_redis_node_t *node;

    if (is_error(reply, "CLUSTERDOWN")) {
        redis->stale = true;
        return NULL;
    }

    if (reply == NULL || reply->type != REDIS_REPLY_ERROR) {
        return NULL;
    }

    cx_redirect_error_read(reply->str, reply->len, &r);

    if (r.kind == CX_REDIRECT_NONE) {
        return NULL;
    }

    *asking = r.kind == CX_REDIRECT_ASK;

    if (r.kind == CX_REDIRECT_MOVED) {
        redis->stale = true;
        refresh(redis);
    }

    snprintf(address, sizeof(address), "%.*s:%d",
             r.host[0] != '\0'
                 ? (int) strlen(r.host)
                 : (int) (strrchr(from->address, ':') - from->address),
             r.host[0] != '\0' ? r.host : from->address, r.port);
    node = known(redis, address);

    /* who moved it may not have told the one that was asked for the map */
    return node != NULL || *asking ? node : node_of(redis, r.slot);
}


/* A command to where its key is.  Nodes that send it around in a circle are
 * believed so often and no more. */
static redisReply *
follow(cx_redis_t *redis, TALLOC_CTX *ctx, call_t *call, const char *key)
{
    int i;
    bool asking;
    redisReply *reply;
    cx_redis_node_t *node, *next;

    reply = NULL;
    asking = false;
    node = cx_redis_node(redis, key);

    for (i = 0; i <= REDIRECTS_MAX && node != NULL; i++) {
        reply = send_call(redis, node, asking, ctx, call);

        if (!redis->settings->redis_cluster) {
            break;
        }

        next = redirected(redis, node, reply, &asking);

        if (next == NULL) {
            break;
        }

        node = next;
    }

    return reply;
}


/* A command without a key: any node's answer will do. */
static redisReply *
anywhere(cx_redis_t *redis, TALLOC_CTX *ctx, call_t *call)
{
    size_t i;
    redisReply *reply;

    look(redis);
    reply = NULL;

    for (i = 0; i < redis->n && reply == NULL; i++) {
        reply = send_call(redis, redis->nodes[i], false, ctx, call);
    }

    return reply;
}


static int
gather(const char **words, va_list ap)
{
    int n;

    for (n = 0; n < WORDS_MAX; n++) {
        words[n] = va_arg(ap, const char *);

        if (words[n] == NULL) {
            break;
        }
    }

    return n;
}


redisReply *
cx_redis_words(cx_redis_t *redis, TALLOC_CTX *ctx, ...)
{
    int key;
    va_list ap;
    call_t call = { 0 };
    const char *words[WORDS_MAX];

    va_start(ap, ctx);
    call.words = words;
    call.argc = gather(words, ap);
    va_end(ap);

    key = cx_command_key(words[0], strlen(words[0]));

    return key > 0 ? follow(redis, ctx, &call, words[key])
                   : anywhere(redis, ctx, &call);
}


redisReply *
cx_redis_words_at(cx_redis_t *redis, cx_redis_node_t *node, TALLOC_CTX *ctx,
                  ...)
{
    va_list ap;
    call_t call = { 0 };
    const char *words[WORDS_MAX];

    va_start(ap, ctx);
    call.words = words;
    call.argc = gather(words, ap);
    va_end(ap);

    return send_call(redis, node, false, ctx, &call);
}


void
cx_redis_refused(cx_redis_t *redis, const redisReply *reply)
{
    size_t len;
    int64_t now;

    if (reply == NULL || reply->type != REDIS_REPLY_ERROR) {
        return;
    }

    now = cx_monotonic_ms();
    len = strcspn(reply->str, " ");

    if (redis->told != 0 && now - redis->told < REFUSED_MS
        && strncmp(redis->refusal, reply->str, len) == 0) {
        return;
    }

    redis->told = now;
    snprintf(redis->refusal, sizeof(redis->refusal), "%.*s", (int) len,
             reply->str);
    cx_error("Redis: refuses: %.100s", reply->str);
}


static redisReply *
script_call(cx_redis_t *redis, TALLOC_CTX *ctx, const char *script, int argc,
            const char **argv, const size_t *lengths, bool epoch)
{
    int i;
    call_t call;
    redisReply *reply;
    char name[2 * SHA_DIGEST_LENGTH + 1];
    unsigned char digest[SHA_DIGEST_LENGTH];

    SHA1((const unsigned char *) script, strlen(script), digest);
    cx_hex(digest, sizeof(digest), name);

    call.argc = argc + 2;
    call.words = cx_must(talloc_array(ctx, const char *, call.argc));
    call.lengths = cx_must(talloc_array(ctx, size_t, call.argc));
    call.script = script;
    call.epoch = epoch;

    call.words[0] = "EVALSHA";
    call.words[1] = name;
    call.lengths[0] = 7;
    call.lengths[1] = strlen(name);

    for (i = 0; i < argc; i++) {
        call.words[i + 2] = argv[i];
        call.lengths[i + 2] = lengths != NULL   ? lengths[i]
                              : argv[i] != NULL ? strlen(argv[i])
                                                : 0;
    }

    reply = follow(redis, ctx, &call, argv[1]);

    cx_redis_refused(redis, reply);

    return reply;
}


redisReply *
cx_redis_script(cx_redis_t *redis, TALLOC_CTX *ctx, const char *script,
                int argc, const char **argv, const size_t *lengths)
{
    return script_call(redis, ctx, script, argc, argv, lengths, false);
}


redisReply *
cx_redis_epoch_script(cx_redis_t *redis, TALLOC_CTX *ctx, const char *script,
                      int argc, const char **argv, const size_t *lengths)
{
    return script_call(redis, ctx, script, argc, argv, lengths, true);
}
