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

/* A card with its keys and their redirects.  KEYS: card, epoch, redirects.
 * ARGV: epoch, revision, card_id, number of keys; of each key its field, its
 * verdict, and when it expires (0: revoked); then pairs of b: and m:.  Who
 * projects in this epoch knows better: what is there stays. */
static const char script_card[] =
    "if redis.call('GET', KEYS[2]) ~= ARGV[1] then return -1 end\n"
    "local n = 4 + 3 * tonumber(ARGV[4])\n"
    "if redis.call('HSETNX', KEYS[1], 'v', ARGV[2]) == 1 then\n"
    "    for i = n + 1, #ARGV, 2 do\n"
    "        redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])\n"
    "    end\n"
    "end\n"
    "for i = 5, n, 3 do\n"
    "    redis.call('HSETNX', KEYS[1], ARGV[i], ARGV[i + 1])\n"
    "    if ARGV[i + 2] ~= '0' then\n"
    "        redis.call('SET', KEYS[3 + (i - 5) / 3],\n"
    "            ARGV[i + 2] .. ' ' .. ARGV[3], 'NX', 'EXAT', ARGV[i + 2])\n"
    "    end\n"
    "end\n"
    "return 1\n";

/* KEYS: name, epoch.  ARGV: epoch, value, expiry or 0. */
static const char script_set[] =
    "if redis.call('GET', KEYS[2]) ~= ARGV[1] then return -1 end\n"
    "if ARGV[3] == '0' then redis.call('SET', KEYS[1], ARGV[2], 'NX')\n"
    "else redis.call('SET', KEYS[1], ARGV[2], 'NX', 'EXAT', ARGV[3]) end\n"
    "return 1\n";

/* Complete, if the epoch still is the one that was built.  KEYS: epoch,
 * ready.  ARGV: epoch, run_id. */
static const char script_ready[] =
    "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end\n"
    "redis.call('SET', KEYS[2], ARGV[2])\n"
    "return 1\n";

/* Empties the database but for the leases of caches, which go on: without
 * them no denial could be confirmed for a second.  KEYS: zones, epoch.
 * ARGV: epoch. */
static const char script_flush[] =
    "local f = redis.call('HGETALL', KEYS[1])\n"
    "redis.call('FLUSHDB', 'ASYNC')\n"
    "if #f > 0 then redis.call('HSET', KEYS[1], unpack(f)) end\n"
    "redis.call('SET', KEYS[2], ARGV[1])\n"
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


cx_projection_state_t
cx_projection_state(cx_projector_t *p, TALLOC_CTX *ctx)
{
    char run_id[64];
    redisReply *info, *marks;

    info = cx_redis_words(p->redis, ctx, "INFO", "server", NULL);
    marks = cx_redis_words(p->redis, ctx, "MGET", CX_EPOCH, CX_READY, NULL);

    if (!run_id_of(info, run_id, sizeof(run_id)) || marks == NULL
        || marks->type != REDIS_REPLY_ARRAY || marks->elements != 2) {
        return CX_PROJECTION_AWAY;
    }

    if (!is_text(marks->element[0], p->epoch)) {
        p->epoch[0] = '\0';
    }

    if (marks->element[0]->type != REDIS_REPLY_STRING) {
        return CX_PROJECTION_LOST;
    }

    return is_text(marks->element[1], run_id) ? CX_PROJECTION_READY
                                              : CX_PROJECTION_PART;
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


/* Nothing that was projected before counts any more: neither what is there,
 * nor what somebody has read and not yet written. */
static bool
new_epoch(cx_rebuild_t *r, TALLOC_CTX *ctx)
{
    unsigned char random[16];

    r->bulk = cx_bulk_open(r, r->p->settings);
    if (r->bulk == NULL || RAND_bytes(random, sizeof(random)) != 1) {
        return false;
    }

    cx_bulk_word(r->bulk, "INFO");
    cx_bulk_word(r->bulk, "server");
    cx_bulk_send(r->bulk);

    if (!run_id_of(cx_bulk_answer(r->bulk, ctx), r->run_id,
                   sizeof(r->run_id))) {
        return false;
    }

    cx_hex(random, sizeof(random), r->epoch);
    r->p->epoch[0] = '\0';

    cx_bulk_word(r->bulk, "EVAL");
    cx_bulk_word(r->bulk, script_flush);
    cx_bulk_word(r->bulk, "2");
    cx_bulk_word(r->bulk, CX_ZONES);
    cx_bulk_word(r->bulk, CX_EPOCH);
    cx_bulk_word(r->bulk, r->epoch);
    cx_bulk_send(r->bulk);

    return cx_bulk_collect(r->bulk)
           && cx_bulk_script(r->bulk, script_card, r->card_script)
           && cx_bulk_script(r->bulk, script_set, r->set_script);
}


cx_rebuild_t *
cx_rebuild_begin(TALLOC_CTX *ctx, cx_projector_t *p, bool forced, bool *busy)
{
    cx_rebuild_t *r;
    TALLOC_CTX *work;
    cx_projection_state_t state;

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
    state = cx_projection_state(p, work);

    if (state == CX_PROJECTION_AWAY || (state == CX_PROJECTION_READY && !forced)
        || !new_epoch(r, work)) {
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


static void
add_card(cx_rebuild_t *r, TALLOC_CTX *ctx, const char *card_id,
         const char *revision, const cx_card_fields_t *card)
{
    size_t i;
    char name[CX_NAME_MAX];

    cx_card_name(name, card_id);

    cx_bulk_word(r->bulk, "EVALSHA");
    cx_bulk_word(r->bulk, r->card_script);
    cx_bulk_word(r->bulk, decimal(ctx, 2 + (int64_t) card->n_keys));
    cx_bulk_word(r->bulk, name);
    cx_bulk_word(r->bulk, CX_EPOCH);

    for (i = 0; i < card->n_keys; i++) {
        cx_bulk_word(r->bulk, card->keys[i].redirect);
    }

    cx_bulk_word(r->bulk, r->epoch);
    cx_bulk_word(r->bulk, revision);
    cx_bulk_word(r->bulk, card_id);
    cx_bulk_word(r->bulk, decimal(ctx, (int64_t) card->n_keys));

    for (i = 0; i < card->n_keys; i++) {
        cx_bulk_word(r->bulk, card->keys[i].field);
        cx_bulk_word(r->bulk, card->keys[i].verdict);
        cx_bulk_word(r->bulk, decimal(ctx, card->keys[i].expires));
    }

    for (i = 0; i < card->n_shown; i++) {
        cx_bulk_word(r->bulk, card->shown[i].field);
        cx_bulk_bytes(r->bulk, card->shown[i].value, card->shown[i].len);
    }

    cx_bulk_send(r->bulk);
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
            add_card(r, row, card_id, cx_pg_text(rows, i, 1), &card);
            r->cards++;
        }

        talloc_free(row);
    }
}


static void
add_value(cx_rebuild_t *r, const char *name, const void *value, size_t len,
          const char *expires)
{
    cx_bulk_word(r->bulk, "EVALSHA");
    cx_bulk_word(r->bulk, r->set_script);
    cx_bulk_word(r->bulk, "2");
    cx_bulk_word(r->bulk, name);
    cx_bulk_word(r->bulk, CX_EPOCH);
    cx_bulk_word(r->bulk, r->epoch);
    cx_bulk_bytes(r->bulk, value, len);
    cx_bulk_word(r->bulk, expires);
    cx_bulk_send(r->bulk);
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
        add_value(r, name, expires, strlen(expires), expires);
        r->tokens++;
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
        add_value(r, name, webp, len, "0");
        r->thumbnails++;
    }
}


static const stage_t stages[] = {
    { &SQL_REBUILD_CARDS, PAGE_CARDS, "", page_cards },
    { &SQL_REBUILD_TOKENS, PAGE_TOKENS, "\\x", page_tokens },
    { &SQL_REBUILD_THUMBNAILS, PAGE_THUMBNAILS, "", page_thumbnails },
};

#define STAGES ((int) (sizeof(stages) / sizeof(stages[0])))


static cx_rebuild_rc_t
finish(cx_rebuild_t *r)
{
    int64_t ms;

    if (!cx_bulk_collect(r->bulk)) {
        return CX_REBUILD_BROKEN;
    }

    cx_bulk_word(r->bulk, "EVAL");
    cx_bulk_word(r->bulk, script_ready);
    cx_bulk_word(r->bulk, "2");
    cx_bulk_word(r->bulk, CX_EPOCH);
    cx_bulk_word(r->bulk, CX_READY);
    cx_bulk_word(r->bulk, r->epoch);
    cx_bulk_word(r->bulk, r->run_id);
    cx_bulk_send(r->bulk);

    if (!cx_bulk_collect(r->bulk)) {
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
    if (!cx_bulk_collect(r->bulk)) {
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

    return cx_bulk_flush(r->bulk) ? CX_REBUILD_MORE : CX_REBUILD_BROKEN;
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
