#include "rebuild.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/rand.h>

#include "bulk.h"
#include "card_fields.h"
#include "clock.h"
#include "cx_buf.h"
#include "cx_projection.h"
#include "log.h"
#include "rebuild.sql.h"

/* Rows of a page: what is read, made and written in some 25 ms. */
#define PAGE_CARDS "100"
#define PAGE_TOKENS "500"
#define PAGE_THUMBNAILS "20"

/* A card with its keys.  KEYS: card.  ARGV: the epoch's name, epoch, revision,
 * number of keys; of each key its field and its verdict; then pairs of b: and
 * m:.  Who projects in this epoch knows better: what is there stays. */
static const char script_card[] =
    "if redis.call('GET', ARGV[1]) ~= ARGV[2] then return -1 end\n"
    "local n = 4 + 2 * tonumber(ARGV[4])\n"
    "if redis.call('HSETNX', KEYS[1], 'v', ARGV[3]) == 1 then\n"
    "    for i = n + 1, #ARGV, 2 do\n"
    "        redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])\n"
    "    end\n"
    "end\n"
    "for i = 5, n, 2 do\n"
    "    redis.call('HSETNX', KEYS[1], ARGV[i], ARGV[i + 1])\n"
    "end\n"
    "return 1\n";

/* KEYS: name.  ARGV: the epoch's name, epoch, value, expiry or 0. */
static const char script_set[] =
    "if redis.call('GET', ARGV[1]) ~= ARGV[2] then return -1 end\n"
    "if ARGV[4] == '0' then redis.call('SET', KEYS[1], ARGV[3], 'NX')\n"
    "else redis.call('SET', KEYS[1], ARGV[3], 'NX', 'EXAT', ARGV[4]) end\n"
    "return 1\n";

/* Complete, if the epoch still is the one that was built.  KEYS: epoch,
 * ready.  ARGV: epoch, run_id. */
static const char script_ready[] =
    "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end\n"
    "redis.call('SET', KEYS[2], ARGV[2])\n"
    "return 1\n";

/* Empties the database but for the leases of caches, which go on: without
 * them no denial could be confirmed for a second.  ARGV: the epoch's name,
 * epoch, zones, or nothing if another node has them. */
static const char script_flush[] =
    "local f = {}\n"
    "if ARGV[3] ~= '' then f = redis.call('HGETALL', ARGV[3]) end\n"
    "redis.call('FLUSHDB', 'ASYNC')\n"
    "if #f > 0 then redis.call('HSET', ARGV[3], unpack(f)) end\n"
    "redis.call('SET', ARGV[1], ARGV[2])\n"
    "return 1\n";

/* A page of rows becomes commands; the name of its last row is noted. */
typedef void (*page_t)(cx_rebuild_t *r, TALLOC_CTX *ctx, const PGresult *rows);

typedef struct {
    const cx_statement_t *statement;
    const char *size;
    const char *start;
    page_t page;
} stage_t;


/* The run_id in the answer to INFO server. */
static bool
run_id_of(const redisReply *reply, char *out, size_t size)
{
    size_t len;
    const char *p;

    if (reply == NULL || reply->str == NULL) {
        return false;
    }

    p = strstr(reply->str, "run_id:");
    if (p == NULL) {
        return false;
    }

    p += strlen("run_id:");
    len = strcspn(p, "\r\n");
    if (len == 0 || len >= size) {
        return false;
    }

    memcpy(out, p, len);
    out[len] = '\0';

    return true;
}


static bool
is_text(const redisReply *reply, const char *text)
{
    return reply->type == REDIS_REPLY_STRING && strcmp(reply->str, text) == 0;
}


static cx_projection_state_t
state_of(cx_projector_t *p, TALLOC_CTX *ctx, cx_redis_node_t *node)
{
    char run_id[64];
    redisReply *info, *epoch, *ready;

    /* GETEX counts as writing: a replica is away */
    info = cx_redis_words_at(p->redis, node, ctx, "INFO", "server", NULL);
    epoch =
        cx_redis_words_at(p->redis, node, ctx, "GETEX", node->epoch_name, NULL);
    ready =
        cx_redis_words_at(p->redis, node, ctx, "GET", node->ready_name, NULL);

    if (!run_id_of(info, run_id, sizeof(run_id)) || epoch == NULL
        || ready == NULL) {
        return CX_PROJECTION_AWAY;
    }

    if (epoch->type == REDIS_REPLY_ERROR || ready->type == REDIS_REPLY_ERROR) {
        /* perhaps the map is not what it was */
        cx_redis_doubt(p->redis);
        cx_redis_refused(p->redis,
                         epoch->type == REDIS_REPLY_ERROR ? epoch : ready);
        return CX_PROJECTION_AWAY;
    }

    if (!is_text(epoch, node->epoch)) {
        node->epoch[0] = '\0';
    }

    if (epoch->type != REDIS_REPLY_STRING) {
        return CX_PROJECTION_LOST;
    }

    return is_text(ready, run_id) ? CX_PROJECTION_READY : CX_PROJECTION_PART;
}


cx_projection_state_t
cx_projection_state(cx_projector_t *p, TALLOC_CTX *ctx, bool *whole)
{
    size_t i, n;
    bool epoch, incomplete;
    cx_redis_node_t **nodes;
    cx_projection_state_t state;

    n = cx_redis_nodes(p->redis, &nodes);
    *whole = n > 0;
    epoch = false;
    incomplete = false;

    for (i = 0; i < n; i++) {
        state = state_of(p, ctx, nodes[i]);
        *whole = *whole && state == CX_PROJECTION_READY;
        incomplete = incomplete || state == CX_PROJECTION_LOST
                     || state == CX_PROJECTION_PART;
        epoch = epoch || state == CX_PROJECTION_PART
                || state == CX_PROJECTION_READY;
    }

    if (!epoch) {
        return incomplete ? CX_PROJECTION_LOST : CX_PROJECTION_AWAY;
    }

    return incomplete ? CX_PROJECTION_PART : CX_PROJECTION_READY;
}


static bool
lock(cx_rebuild_t *r, TALLOC_CTX *ctx, bool *busy)
{
    PGresult *row;

    r->lock = cx_pg_open(r, r->p->settings->postgresql_fanout);

    if (cx_pg_query(r->lock, ctx, &row, &SQL_REBUILD_LOCK) != CX_PG_OK) {
        return false;
    }

    *busy = !cx_pg_true(row, 0, 0);

    return !*busy;
}


/* Nothing that was projected there before counts any more: neither what is
 * there, nor what somebody has read and not yet written. */
static bool
new_epoch(cx_rebuild_t *r, TALLOC_CTX *ctx, cx_redis_node_t *node)
{
    cx_target_t *target;

    target = &r->targets[r->n_targets];
    target->bulk =
        cx_bulk_open(r, r->p->settings, node->address, CX_BULK_TIMEOUT);

    if (target->bulk == NULL) {
        return false;
    }

    target->node = node;
    strcpy(target->epoch_name, node->epoch_name);
    strcpy(target->ready_name, node->ready_name);
    node->epoch[0] = '\0';

    cx_bulk_word(target->bulk, "INFO");
    cx_bulk_word(target->bulk, "server");
    cx_bulk_send(target->bulk);

    if (!run_id_of(cx_bulk_answer(target->bulk, ctx), target->run_id,
                   sizeof(target->run_id))) {
        return false;
    }

    cx_bulk_word(target->bulk, "EVAL");
    cx_bulk_word(target->bulk, script_flush);
    cx_bulk_word(target->bulk, "0");
    cx_bulk_word(target->bulk, target->epoch_name);
    cx_bulk_word(target->bulk, r->epoch);
    cx_bulk_word(target->bulk,
                 cx_redis_node(r->p->redis, CX_ZONES) == node ? CX_ZONES : "");
    cx_bulk_send(target->bulk);

    if (!cx_bulk_collect(target->bulk)
        || !cx_bulk_script(target->bulk, script_card, r->card_script)
        || !cx_bulk_script(target->bulk, script_set, r->set_script)) {
        return false;
    }

    r->n_targets++;

    return true;
}


/* Those nodes are built anew that are there and not complete; forced: all that
 * are there.  A node that fails now is one of the next rebuild. */
static bool
aim(cx_rebuild_t *r, TALLOC_CTX *ctx, bool forced)
{
    size_t i, n;
    unsigned char random[16];
    cx_redis_node_t **nodes;
    cx_projection_state_t state;

    if (RAND_bytes(random, sizeof(random)) != 1) {
        return false;
    }

    cx_hex(random, sizeof(random), r->epoch);

    /* the array is another one when the map was asked for meanwhile */
    n = cx_redis_nodes(r->p->redis, &nodes);
    nodes = cx_must(talloc_memdup(ctx, nodes, n * sizeof(*nodes)));
    r->targets = cx_must(talloc_zero_array(r, cx_target_t, (unsigned) n + 1));

    for (i = 0; i < n; i++) {
        state = state_of(r->p, ctx, nodes[i]);

        if (state == CX_PROJECTION_LOST || state == CX_PROJECTION_PART
            || (state == CX_PROJECTION_READY && forced)) {
            (void) new_epoch(r, ctx, nodes[i]);
        }
    }

    return r->n_targets > 0;
}


cx_rebuild_t *
cx_rebuild_begin(TALLOC_CTX *ctx, cx_projector_t *p, bool forced, bool *busy)
{
    cx_rebuild_t *r;
    TALLOC_CTX *work;

    *busy = false;
    r = cx_must(talloc_zero(ctx, cx_rebuild_t));
    work = cx_must(talloc_new(r));
    r->p = p;
    r->started = cx_monotonic_ms();
    r->after = cx_must(talloc_strdup(r, ""));

    if (!lock(r, work, busy)) {
        talloc_free(r);
        return NULL;
    }

    /* the one who held the lock until now may have done it */
    if (!aim(r, work, forced)) {
        talloc_free(r);
        return NULL;
    }

    talloc_free(work);

    /* it may have been wrong, or nobody would rebuild it */
    (void) cx_forget_all(&p->forget, p->redis);

    return r;
}


static void
note_last(cx_rebuild_t *r, const PGresult *rows)
{
    talloc_free(r->after);
    r->after =
        cx_must(talloc_strdup(r, cx_pg_text(rows, PQntuples(rows) - 1, 0)));
}


static const char *
decimal(TALLOC_CTX *ctx, int64_t number)
{
    return cx_must(talloc_asprintf(ctx, "%" PRId64, number));
}


/* Where a name is to be built; NULL: its node is none that is built. */
static cx_target_t *
target_of(cx_rebuild_t *r, const char *name)
{
    size_t i;
    cx_redis_node_t *node;

    node = cx_redis_node(r->p->redis, name);

    for (i = 0; i < r->n_targets; i++) {
        if (r->targets[i].node == node) {
            return &r->targets[i];
        }
    }

    return NULL;
}


static void
begin_script(cx_rebuild_t *r, cx_target_t *target, const char *script,
             const char *name)
{
    cx_bulk_word(target->bulk, "EVALSHA");
    cx_bulk_word(target->bulk, script);
    cx_bulk_word(target->bulk, "1");
    cx_bulk_word(target->bulk, name);
    cx_bulk_word(target->bulk, target->epoch_name);
    cx_bulk_word(target->bulk, r->epoch);
}


static bool
add_value(cx_rebuild_t *r, const char *name, const void *value, size_t len,
          const char *expires)
{
    cx_target_t *target;

    target = target_of(r, name);

    if (target == NULL) {
        return false;
    }

    begin_script(r, target, r->set_script, name);
    cx_bulk_bytes(target->bulk, value, len);
    cx_bulk_word(target->bulk, expires);
    cx_bulk_send(target->bulk);

    return true;
}


static bool
add_card(cx_rebuild_t *r, TALLOC_CTX *ctx, const char *card_id,
         const char *revision, const cx_card_fields_t *card)
{
    size_t i;
    cx_bulk_t *bulk;
    cx_target_t *target;
    char name[CX_NAME_MAX];

    cx_card_name(name, card_id);
    target = target_of(r, name);

    if (target == NULL) {
        return false;
    }

    bulk = target->bulk;
    begin_script(r, target, r->card_script, name);
    cx_bulk_word(bulk, revision);
    cx_bulk_word(bulk, decimal(ctx, (int64_t) card->n_keys));

    for (i = 0; i < card->n_keys; i++) {
        cx_bulk_word(bulk, card->keys[i].field);
        cx_bulk_word(bulk, card->keys[i].verdict);
    }

    for (i = 0; i < card->n_shown; i++) {
        cx_bulk_word(bulk, card->shown[i].field);
        cx_bulk_bytes(bulk, card->shown[i].value, card->shown[i].len);
    }

    cx_bulk_send(bulk);

    return true;
}


/* Redirects stand apart from their card: by key alone.  One that was revoked
 * leads nowhere. */
static void
add_redirects(cx_rebuild_t *r, TALLOC_CTX *ctx, const char *card_id,
              const cx_card_fields_t *card)
{
    size_t i;
    const char *value, *expires;

    for (i = 0; i < card->n_keys; i++) {
        if (card->keys[i].expires == 0) {
            continue;
        }

        expires = decimal(ctx, card->keys[i].expires);
        value = cx_must(talloc_asprintf(ctx, "%s %s", expires, card_id));
        (void) add_value(r, card->keys[i].redirect, value, strlen(value),
                         expires);
    }
}


static void
page_cards(cx_rebuild_t *r, TALLOC_CTX *ctx, const PGresult *rows)
{
    int i;
    TALLOC_CTX *row;
    const char *card_id;
    cx_card_fields_t card;

    for (i = 0; i < PQntuples(rows); i++) {
        if (PQgetisnull(rows, i, 2)) {
            continue;
        }

        row = cx_must(talloc_new(ctx));
        card_id = cx_pg_text(rows, i, 0);

        if (cx_card_fields(row, r->p->settings, card_id, rows, i, &card)) {
            r->cards +=
                add_card(r, row, card_id, cx_pg_text(rows, i, 1), &card);
            add_redirects(r, row, card_id, &card);
        }

        talloc_free(row);
    }
}


static void
page_tokens(cx_rebuild_t *r, TALLOC_CTX *ctx, const PGresult *rows)
{
    int i;
    size_t len;
    cx_token_t token;
    unsigned char *hash;
    const char *expires;
    char name[CX_NAME_MAX];

    for (i = 0; i < PQntuples(rows); i++) {
        hash = cx_pg_bytes(ctx, rows, i, 0, &len);
        if (hash == NULL || len != sizeof(token.hash)) {
            continue;
        }

        memcpy(token.hash, hash, len);
        snprintf(token.user_id, sizeof(token.user_id), "%s",
                 cx_pg_text(rows, i, 1));
        token.terminal_id = (uint32_t) cx_pg_integer(rows, i, 2);
        expires = cx_pg_text(rows, i, 3);

        cx_token_name(name, &token);
        r->tokens += add_value(r, name, expires, strlen(expires), expires);
    }
}


static void
page_thumbnails(cx_rebuild_t *r, TALLOC_CTX *ctx, const PGresult *rows)
{
    int i;
    size_t len;
    unsigned char *webp;
    char name[CX_NAME_MAX];

    for (i = 0; i < PQntuples(rows); i++) {
        webp = cx_must(cx_pg_bytes(ctx, rows, i, 1, &len));
        cx_thumb_name(name, cx_pg_text(rows, i, 0));
        r->thumbnails += add_value(r, name, webp, len, "0");
    }
}


static const stage_t stages[] = {
    { &SQL_REBUILD_CARDS, PAGE_CARDS, "", page_cards },
    { &SQL_REBUILD_TOKENS, PAGE_TOKENS, "\\x", page_tokens },
    { &SQL_REBUILD_THUMBNAILS, PAGE_THUMBNAILS, "", page_thumbnails },
};

#define STAGES ((int) (sizeof(stages) / sizeof(stages[0])))


/* Does something to the bulk of each target. */
static bool
each(cx_rebuild_t *r, bool (*act)(cx_bulk_t *bulk))
{
    size_t i;
    bool ok;

    ok = true;

    for (i = 0; i < r->n_targets; i++) {
        ok = act(r->targets[i].bulk) && ok;
    }

    return ok;
}


static cx_rebuild_rc_t
finish(cx_rebuild_t *r)
{
    size_t i;
    int64_t ms;
    cx_target_t *target;

    if (!each(r, cx_bulk_collect)) {
        return CX_REBUILD_BROKEN;
    }

    for (i = 0; i < r->n_targets; i++) {
        target = &r->targets[i];
        cx_bulk_word(target->bulk, "EVAL");
        cx_bulk_word(target->bulk, script_ready);
        cx_bulk_word(target->bulk, "2");
        cx_bulk_word(target->bulk, target->epoch_name);
        cx_bulk_word(target->bulk, target->ready_name);
        cx_bulk_word(target->bulk, r->epoch);
        cx_bulk_word(target->bulk, target->run_id);
        cx_bulk_send(target->bulk);
    }

    if (!each(r, cx_bulk_collect)) {
        return CX_REBUILD_BROKEN;
    }

    ms = cx_monotonic_ms() - r->started;
    cx_info("projection: ready: %lld cards, %lld tokens, %lld thumbnails in "
            "%" PRId64 ".%03d s",
            r->cards, r->tokens, r->thumbnails, ms / 1000, (int) (ms % 1000));

    return CX_REBUILD_DONE;
}


cx_rebuild_rc_t
cx_rebuild_step(cx_rebuild_t *r)
{
    PGresult *rows;
    TALLOC_CTX *ctx;
    const stage_t *stage;

    if (r->stage == STAGES) {
        return finish(r);
    }

    stage = &stages[r->stage];
    ctx = cx_must(talloc_new(r));

    if (cx_pg_query(r->p->pg, ctx, &rows, stage->statement,
                    r->after[0] != '\0' ? r->after : stage->start, stage->size)
        != CX_PG_OK) {
        talloc_free(ctx);
        return CX_REBUILD_MORE;
    }

    /* Redis has worked on the last page meanwhile */
    if (!each(r, cx_bulk_collect)) {
        talloc_free(ctx);
        return CX_REBUILD_BROKEN;
    }

    if (PQntuples(rows) > 0) {
        stage->page(r, ctx, rows);
        note_last(r, rows);
    }

    if (PQntuples(rows) < atoi(stage->size)) {
        r->stage++;
        r->after[0] = '\0';
    }

    talloc_free(ctx);

    return each(r, cx_bulk_flush) ? CX_REBUILD_MORE : CX_REBUILD_BROKEN;
}


long long
cx_rebuild_total(cx_rebuild_t *r)
{
    long long total;
    PGresult *row;
    TALLOC_CTX *ctx;

    total = -1;
    ctx = cx_must(talloc_new(r));

    if (cx_pg_query(r->p->pg, ctx, &row, &SQL_REBUILD_CARDS_TOTAL)
        == CX_PG_OK) {
        total = cx_pg_integer(row, 0, 0);
    }

    talloc_free(ctx);

    return total;
}
