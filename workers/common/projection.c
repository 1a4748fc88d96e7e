#include "projection.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "card_fields.h"
#include "cx_buf.h"
#include "cx_changes.h"
#include "cx_projection.h"
#include "projection.sql.h"

#define DOUBT_SECONDS 30 /* longer than any statement may take */
#define GONE_CARD_SECONDS 86400
#define GONE_KEY_SECONDS 86400
#define GONE_TERMINAL_SECONDS 1200 /* longer than an access token lives */
#define UNKNOWN_SECONDS 10

/* Scripts that give access begin with this.  ARGV: the epoch's name, which is
 * none of the KEYS since it need not be in their slot, only on their node; the
 * epoch. */
#define IF_EPOCH "if redis.call('GET', ARGV[1]) ~= ARGV[2] then return -1 end\n"

/* A denial is told to a Redis that is full, too: a script that has begun to
 * write, if only by deleting nothing, is let through.  So is what replaces a
 * card that is there: else the old one would stay. */
#define EVEN_IF_FULL "redis.call('HDEL', KEYS[1], '')\n"

/* A card at a revision.  KEYS: card.  ARGV, after the epoch's: "1" if the
 * caller put the card in doubt itself, revision, number of b: and m: pairs,
 * the pairs, then pairs of keys.  1: written; 0: what is there is newer, or in
 * doubt; -1: the epoch has changed.  A denial (x) stays. */
static const char script_card[] = IF_EPOCH
    "local now = tonumber(redis.call('TIME')[1])\n"
    "local h = redis.call('HMGET', KEYS[1], 'v', 'd')\n"
    "if h[1] == 'x' then return 0 end\n"
    "local new, old = tonumber(ARGV[4]), tonumber(h[1] or -1)\n"
    "if new < old then return 0 end\n"
    "local own = ARGV[3] == '1'\n"
    "if h[2] and not own and tonumber(h[2]) > now\n"
    "    and not (h[1] and new > old) then return 0 end\n"
    "local all = redis.call('HLEN', KEYS[1]) > 200\n"
    "if h[1] then redis.call('HDEL', KEYS[1], '') end\n"
    "if new > old or all then\n"
    "    local f = redis.call('HGETALL', KEYS[1])\n"
    "    for i = 1, #f, 2 do\n"
    "        local p = string.sub(f[i], 1, 2)\n"
    "        local t = string.match(f[i + 1], '^[-x]?(%d+)')\n"
    "        if p == 'b:' or p == 'm:' or (p == 'k:' and t\n"
    "            and tonumber(t) <= now) then\n"
    "            redis.call('HDEL', KEYS[1], f[i])\n"
    "        end\n"
    "    end\n"
    "end\n"
    "redis.call('HSET', KEYS[1], 'v', ARGV[4])\n"
    "redis.call('HDEL', KEYS[1], 'd')\n"
    "redis.call('PERSIST', KEYS[1])\n"
    "local n = 5 + 2 * tonumber(ARGV[5])\n"
    "for i = 6, n, 2 do\n"
    "    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])\n"
    "end\n"
    "for i = n + 1, #ARGV, 2 do\n"
    "    local k = redis.call('HGET', KEYS[1], ARGV[i])\n"
    "    local q = k and string.match(k, '^%?(%d+)')\n"
    "    if not (k and string.sub(k, 1, 1) == 'x')\n"
    "        and not (q and tonumber(q) > now and ARGV[i + 1] ~= 'x') then\n"
    "        redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])\n"
    "    end\n"
    "end\n"
    "return 1\n";

/* A card in doubt until a time.  KEYS: card.  ARGV: seconds. */
static const char script_doubt_card[] =
    EVEN_IF_FULL "local until_ = redis.call('TIME')[1] + ARGV[1]\n"
                 "redis.call('HSET', KEYS[1], 'd', until_)\n"
                 "if redis.call('HGET', KEYS[1], 'v') ~= 'x' then\n"
                 "    redis.call('PERSIST', KEYS[1])\n"
                 "end\n"
                 "return 1\n";

/* A deleted card: nothing but that.  KEYS: card.  ARGV: seconds to keep. */
static const char script_deny_card[] =
    "redis.call('DEL', KEYS[1])\n"
    "redis.call('HSET', KEYS[1], 'v', 'x')\n"
    "redis.call('EXPIRE', KEYS[1], ARGV[1])\n"
    "return 1\n";

/* One field of a key.  KEYS: card.  ARGV, after the epoch's: field, value.
 * A denial or a doubt stays, and a deleted card gets nothing. */
static const char script_key[] =
    IF_EPOCH "local h = redis.call('HMGET', KEYS[1], 'v', ARGV[3])\n"
             "if h[1] == 'x' then return 0 end\n"
             "if h[2] and string.match(h[2], '^[x?]') then return 0 end\n"
             "redis.call('HSET', KEYS[1], ARGV[3], ARGV[4])\n"
             "redis.call('PERSIST', KEYS[1])\n"
             "return 1\n";

/* A key that is in doubt until a time.  KEYS: card.  ARGV: field, seconds. */
static const char script_doubt_key[] =
    EVEN_IF_FULL "local k = redis.call('HGET', KEYS[1], ARGV[1])\n"
                 "if k and string.sub(k, 1, 1) == 'x' then return 1 end\n"
                 "local until_ = redis.call('TIME')[1] + ARGV[2]\n"
                 "redis.call('HSET', KEYS[1], ARGV[1], '?' .. until_)\n"
                 "if redis.call('HGET', KEYS[1], 'v') ~= 'x' then\n"
                 "    redis.call('PERSIST', KEYS[1])\n"
                 "end\n"
                 "return 1\n";

/* A revoked key.  KEYS: card.  ARGV: field, seconds that it is remembered: by
 * then nothing that was read before can still arrive.  A hash that has no card
 * is not kept longer than that. */
static const char script_deny_key[] =
    EVEN_IF_FULL "local until_ = redis.call('TIME')[1] + ARGV[2]\n"
                 "redis.call('HSET', KEYS[1], ARGV[1], 'x' .. until_)\n"
                 "if redis.call('HEXISTS', KEYS[1], 'v') == 0 then\n"
                 "    redis.call('EXPIRE', KEYS[1], ARGV[2])\n"
                 "end\n"
                 "return 1\n";

/* A key that nobody drew.  KEYS: card.  ARGV, after the epoch's: field,
 * seconds.  Only where nothing is known, and not without end: anybody may try
 * keys.  A card that is not there is answered as one that is, hence it is
 * remembered the same, for as long. */
static const char script_unknown_key[] =
    IF_EPOCH "local new = redis.call('EXISTS', KEYS[1]) == 0\n"
             "if redis.call('HLEN', KEYS[1]) > 3000 then return 0 end\n"
             "local now = tonumber(redis.call('TIME')[1])\n"
             "local k = redis.call('HGET', KEYS[1], ARGV[3])\n"
             "if k and string.sub(k, 1, 1) ~= '-' then return 0 end\n"
             "redis.call('HSET', KEYS[1], ARGV[3], '-' .. (now + ARGV[4]))\n"
             "if new then redis.call('EXPIRE', KEYS[1], ARGV[4]) end\n"
             "return 1\n";

/* A name with its value that expires at a time (0: never).  KEYS: name.
 * ARGV, after the epoch's: value, expiry, what a denial looks like. */
static const char script_set[] =
    IF_EPOCH "if redis.call('GET', KEYS[1]) == ARGV[5] then return 0 end\n"
             "if ARGV[4] == '0' then redis.call('SET', KEYS[1], ARGV[3])\n"
             "else redis.call('SET', KEYS[1], ARGV[3], 'EXAT', ARGV[4]) end\n"
             "return 1\n";

/* A name that is denied.  KEYS: name.  ARGV: what a denial looks like,
 * seconds.  Deleting lets it through as EVEN_IF_FULL does. */
static const char script_deny[] =
    "redis.call('DEL', KEYS[1])\n"
    "redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])\n"
    "return 1\n";

/* The same for a doubt: what is known already stays. */
static const char script_doubt[] =
    "if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end\n"
    "redis.call('DEL', KEYS[1])\n"
    "redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])\n"
    "return 1\n";


void
cx_projector_init(cx_projector_t *p, cx_settings_t *settings,
                  const char *conninfo)
{
    memset(p, 0, sizeof(*p));
    p->settings = settings;
    p->pg = cx_pg_open(settings, conninfo);
    p->redis = cx_redis_open(settings, settings);
}


static bool
is_integer(const redisReply *reply, long long value)
{
    return reply != NULL && reply->type == REDIS_REPLY_INTEGER
           && reply->integer == value;
}


static bool
is_done(const redisReply *reply)
{
    return reply != NULL && reply->type != REDIS_REPLY_ERROR;
}


static void
read_epoch(cx_projector_t *p, cx_redis_node_t *node)
{
    TALLOC_CTX *ctx;
    redisReply *reply;

    ctx = talloc_new(NULL);
    reply =
        cx_redis_words_at(p->redis, node, ctx, "GET", node->epoch_name, NULL);

    if (reply != NULL && reply->type == REDIS_REPLY_STRING
        && reply->len < sizeof(node->epoch)) {
        memcpy(node->epoch, reply->str, reply->len);
        node->epoch[reply->len] = '\0';
    }

    talloc_free(ctx);
}


bool
cx_projector_epoch(cx_projector_t *p)
{
    bool any;
    size_t i, n;
    cx_redis_node_t **nodes;

    any = false;
    n = cx_redis_nodes(p->redis, &nodes);

    for (i = 0; i < n; i++) {
        if (nodes[i]->epoch[0] == '\0') {
            read_epoch(p, nodes[i]);
        }

        any = any || nodes[i]->epoch[0] != '\0';
    }

    return any;
}


void
cx_projector_drop_epoch(cx_projector_t *p)
{
    size_t i, n;
    cx_redis_node_t **nodes;

    n = cx_redis_nodes(p->redis, &nodes);

    for (i = 0; i < n; i++) {
        nodes[i]->epoch[0] = '\0';
    }
}


/* Runs a script that begins with IF_EPOCH; an epoch that has passed is read
 * anew before PostgreSQL is. */
static bool
run(cx_projector_t *p, TALLOC_CTX *ctx, const char *script, int argc,
    const char **argv, const size_t *lengths)
{
    redisReply *reply;

    reply = cx_redis_epoch_script(p->redis, ctx, script, argc, argv, lengths);
    p->passed = is_integer(reply, -1);

    return is_integer(reply, 1) || is_integer(reply, 0);
}


/* The arguments of a script while they are gathered. */
typedef struct {
    int n;
    const char **argv;
    size_t *lengths;
} arguments_t;


static void
add(arguments_t *a, const char *text, size_t len)
{
    a->argv[a->n] = text;
    a->lengths[a->n++] = len;
}


static void
add_text(arguments_t *a, const char *text)
{
    add(a, text, strlen(text));
}


static const char *
decimal(char *out, size_t size, int64_t number)
{
    snprintf(out, size, "%" PRId64, number);

    return out;
}


static bool
project_card(cx_projector_t *p, TALLOC_CTX *ctx, const char *card_id,
             bool resolve)
{
    size_t i, n;
    PGresult *row;
    arguments_t a;
    cx_card_fields_t card;
    char name[CX_NAME_MAX], shown[24];

    if (!cx_projector_epoch(p)
        || cx_pg_query(p->pg, ctx, &row, &SQL_CARD_PROJECTION, card_id)
               != CX_PG_OK) {
        return false;
    }

    if (PQntuples(row) == 0 || cx_pg_true(row, 0, 1)) {
        return cx_deny_card(p, card_id);
    }

    if (!cx_card_fields(ctx, p->settings, card_id, row, 0, &card)) {
        return false;
    }

    n = 7 + 2 * (card.n_shown + card.n_keys);
    a.n = 0;
    a.argv = cx_must(talloc_array(ctx, const char *, n));
    a.lengths = cx_must(talloc_array(ctx, size_t, n));

    cx_card_name(name, card_id);
    add_text(&a, "1");
    add_text(&a, name);
    add_text(&a, ""); /* the epoch's name, and the epoch */
    add_text(&a, "");
    add_text(&a, resolve ? "1" : "0");
    add_text(&a, PQgetvalue(row, 0, 0));
    add_text(&a, decimal(shown, sizeof(shown), (int64_t) card.n_shown));

    for (i = 0; i < card.n_shown; i++) {
        add_text(&a, card.shown[i].field);
        add(&a, card.shown[i].value, card.shown[i].len);
    }

    for (i = 0; i < card.n_keys; i++) {
        add_text(&a, card.keys[i].field);
        add_text(&a, card.keys[i].verdict);
    }

    return run(p, ctx, script_card, a.n, a.argv, a.lengths);
}


bool
cx_project_card(cx_projector_t *p, const char *card_id, bool resolve)
{
    bool ok;
    TALLOC_CTX *ctx;

    ctx = talloc_new(NULL);
    p->passed = false;
    ok = project_card(p, ctx, card_id, resolve);

    /* the epoch had passed: once more with the present one */
    if (!ok && p->passed) {
        ok = project_card(p, ctx, card_id, resolve);
    }

    talloc_free(ctx);

    return ok;
}


/* A script on one card's name. */
static bool
on_card(cx_projector_t *p, const char *script, const char *card_id,
        const char *first, const char *second)
{
    bool ok;
    TALLOC_CTX *ctx;
    char name[CX_NAME_MAX];
    const char *argv[] = { "1", name, first, second };

    ctx = talloc_new(NULL);
    cx_card_name(name, card_id);
    ok = is_done(cx_redis_script(p->redis, ctx, script, second != NULL ? 4 : 3,
                                 argv, NULL));
    talloc_free(ctx);

    return ok;
}


/* script_deny or script_doubt. */
static bool
on_name(cx_projector_t *p, const char *script, const char *name,
        const char *value, int64_t seconds)
{
    bool ok;
    TALLOC_CTX *ctx;
    char text[24];
    const char *argv[] = { "1", name, value,
                           decimal(text, sizeof(text), seconds) };

    ctx = talloc_new(NULL);
    ok = is_done(cx_redis_script(p->redis, ctx, script, 4, argv, NULL));
    talloc_free(ctx);

    return ok;
}


bool
cx_renew_card(cx_projector_t *p, const char *card_id, bool resolve)
{
    bool ok;
    char name[CX_NAME_MAX];

    ok = cx_project_card(p, card_id, resolve);
    cx_card_name(name, card_id);

    /* whatever of it was written */
    return cx_forget(&p->forget, p->redis, name) && ok;
}


void
cx_projector_hold(cx_projector_t *p)
{
    cx_forget_hold(&p->forget);
}


bool
cx_projector_release(cx_projector_t *p)
{
    return cx_forget_release(&p->forget, p->redis);
}


bool
cx_doubt_card(cx_projector_t *p, const char *card_id)
{
    char seconds[24];

    return on_card(p, script_doubt_card, card_id,
                   decimal(seconds, sizeof(seconds), DOUBT_SECONDS), NULL);
}


/* Caches forget also what could not be denied: in a cluster its node may be
 * away and theirs not, and then it is a worker who is asked. */
bool
cx_deny_card(cx_projector_t *p, const char *card_id)
{
    bool ok;
    char name[CX_NAME_MAX], seconds[24];

    cx_card_name(name, card_id);
    ok = on_card(p, script_deny_card, card_id,
                 decimal(seconds, sizeof(seconds), GONE_CARD_SECONDS), NULL);

    return cx_forget(&p->forget, p->redis, name) && ok;
}


/* The redirect's name is apart from the card's. */
static bool
set_redirect(cx_projector_t *p, TALLOC_CTX *ctx, const unsigned char *key_hash,
             const char *value, int64_t expires)
{
    char name[CX_NAME_MAX], at[24];
    const char *argv[] = { "1",    name,  NULL,
                           NULL,   value, decimal(at, sizeof(at), expires),
                           CX_GONE };

    cx_redirect_name(name, key_hash);

    return run(p, ctx, script_set, 7, argv, NULL);
}


void
cx_project_key(cx_projector_t *p, const char *card_id,
               const unsigned char *key_hash, int64_t expires, const char *view)
{
    TALLOC_CTX *ctx;
    char name[CX_NAME_MAX], field[CX_NAME_MAX];
    const char *argv[] = { "1", name, NULL, NULL, field, NULL };

    ctx = talloc_new(NULL);
    cx_card_name(name, card_id);
    cx_key_field(field, key_hash);
    argv[5] = talloc_asprintf(ctx, "%" PRId64 " %s", expires, view);

    if (run(p, ctx, script_key, 6, argv, NULL)) {
        (void) set_redirect(
            p, ctx, key_hash,
            talloc_asprintf(ctx, "%" PRId64 " %s", expires, card_id), expires);
    }

    talloc_free(ctx);
}


bool
cx_doubt_key(cx_projector_t *p, const char *card_id,
             const unsigned char *key_hash)
{
    char field[CX_NAME_MAX], seconds[24];

    cx_key_field(field, key_hash);

    return on_card(p, script_doubt_key, card_id, field,
                   decimal(seconds, sizeof(seconds), DOUBT_SECONDS));
}


bool
cx_deny_key(cx_projector_t *p, const char *card_id,
            const unsigned char *key_hash)
{
    bool ok;
    char name[CX_NAME_MAX], field[CX_NAME_MAX], redirect[CX_NAME_MAX];
    char seconds[24];

    cx_card_name(name, card_id);
    decimal(seconds, sizeof(seconds), GONE_KEY_SECONDS);
    cx_key_field(field, key_hash);
    cx_redirect_name(redirect, key_hash);

    ok = on_card(p, script_deny_key, card_id, field, seconds);
    ok = on_name(p, script_deny, redirect, CX_GONE, GONE_KEY_SECONDS) && ok;

    cx_projector_hold(p);
    (void) cx_forget(&p->forget, p->redis, name);
    (void) cx_forget(&p->forget, p->redis, redirect);

    return cx_projector_release(p) && ok;
}


void
cx_project_unknown_key(cx_projector_t *p, const char *card_id,
                       const unsigned char *key_hash)
{
    TALLOC_CTX *ctx;
    char name[CX_NAME_MAX], field[CX_NAME_MAX], seconds[24];
    const char *argv[] = {
        "1",  name,  NULL,
        NULL, field, decimal(seconds, sizeof(seconds), UNKNOWN_SECONDS)
    };

    ctx = talloc_new(NULL);
    cx_card_name(name, card_id);
    cx_key_field(field, key_hash);
    (void) run(p, ctx, script_unknown_key, 6, argv, NULL);
    talloc_free(ctx);
}


void
cx_project_token(cx_projector_t *p, const cx_token_t *token, int64_t expires)
{
    TALLOC_CTX *ctx;
    char name[CX_NAME_MAX], at[24];
    const char *argv[] = { "1", name, NULL, NULL, at, at, CX_GONE };

    ctx = talloc_new(NULL);
    decimal(at, sizeof(at), expires);
    cx_token_name(name, token);
    (void) run(p, ctx, script_set, 7, argv, NULL);
    talloc_free(ctx);
}


static void
terminal_name(char *out, const char *user_id, uint32_t terminal_id)
{
    cx_token_t token;

    snprintf(token.user_id, sizeof(token.user_id), "%s", user_id);
    token.terminal_id = terminal_id;
    cx_terminal_name(out, &token);
}


bool
cx_doubt_terminal(cx_projector_t *p, const char *user_id, uint32_t terminal_id)
{
    char name[CX_NAME_MAX];

    terminal_name(name, user_id, terminal_id);

    return on_name(p, script_doubt, name, CX_DOUBT, DOUBT_SECONDS);
}


/* Streams that are open hear of it; one that does not, since its link is
 * down, looks at the mark when it is up again. */
bool
cx_deny_terminal(cx_projector_t *p, const char *user_id, uint32_t terminal_id)
{
    bool ok;
    TALLOC_CTX *ctx;
    const char *message;
    char name[CX_NAME_MAX], channel[CX_NAME_MAX];

    ctx = talloc_new(NULL);
    terminal_name(name, user_id, terminal_id);
    ok = on_name(p, script_deny, name, CX_GONE, GONE_TERMINAL_SECONDS);

    if (ok) {
        cx_wake_name(channel, cx_wake_channel(user_id));
        message = cx_must(talloc_asprintf(
            ctx, CX_NO_EPOCH "\n%s !%" PRIu32 "\n", user_id, terminal_id));
        ok = is_done(
            cx_redis_words(p->redis, ctx, "PUBLISH", channel, message, NULL));
    }

    talloc_free(ctx);

    return cx_forget(&p->forget, p->redis, name) && ok;
}


void
cx_project_thumbnail(cx_projector_t *p, const char *thumbnail_id,
                     const unsigned char *webp, size_t len)
{
    TALLOC_CTX *ctx;
    char name[CX_NAME_MAX];
    const char *argv[] = {
        "1", name, NULL, NULL, (const char *) webp, "0", ""
    };
    size_t lengths[] = { 1, 0, 0, 0, len, 1, 0 };

    ctx = talloc_new(NULL);
    lengths[1] = cx_thumb_name(name, thumbnail_id);
    (void) run(p, ctx, script_set, 7, argv, lengths);
    talloc_free(ctx);
}


bool
cx_deny_thumbnail(cx_projector_t *p, const char *thumbnail_id)
{
    bool ok;
    char name[CX_NAME_MAX];

    cx_thumb_name(name, thumbnail_id);
    ok = on_name(p, script_deny, name, "", GONE_CARD_SECONDS);

    return cx_forget(&p->forget, p->redis, name) && ok;
}
