#include "scans.h"

#include <string.h>
#include <openssl/rand.h>

#include "cx_buf.h"
#include "cx_projection.h"
#include "log.h"
#include "scans.sql.h"

/* The batch in hand: its counts, and its own name under "batch".  It is there
 * from when it is taken until it is known to be added; who finds one adds it,
 * if PostgreSQL does not name it as added. */
#define BATCH CX_SCANS ":batch"

/* Takes up to 1 000 keys' counts unless a batch is in hand already, and gives
 * it.  KEYS: scans, batch.  ARGV: a name for a new one. */
static const char script_take[] =
    "if redis.call('EXISTS', KEYS[2]) == 0 then\n"
    "    local f = redis.call('HRANDFIELD', KEYS[1], 1000, 'WITHVALUES')\n"
    "    if #f == 0 then return f end\n"
    "    for i = 1, #f, 2 do\n"
    "        redis.call('HSET', KEYS[2], f[i], f[i + 1])\n"
    "        redis.call('HDEL', KEYS[1], f[i])\n"
    "    end\n"
    "    redis.call('HSET', KEYS[2], 'batch', ARGV[1])\n"
    "end\n"
    "return redis.call('HGETALL', KEYS[2])\n";

/* KEYS: batch.  ARGV: its name. */
static const char script_drop[] =
    "if redis.call('HGET', KEYS[1], 'batch') == ARGV[1] then\n"
    "    redis.call('DEL', KEYS[1])\n"
    "end\n"
    "return 1\n";

typedef struct {
    const char *name;
    char **keys; /* as bytea, NULL-terminated */
    char **counts;
    size_t n;
} batch_t;


static bool
take(cx_projector_t *p, TALLOC_CTX *ctx, batch_t *batch)
{
    size_t i;
    const char *field;
    redisReply *reply;
    unsigned char random[16];
    char name[2 * sizeof(random) + 1];
    const char *argv[] = { "2", CX_SCANS, BATCH, name };

    if (RAND_bytes(random, sizeof(random)) != 1) {
        return false;
    }

    cx_hex(random, sizeof(random), name);
    reply = cx_redis_script(p->redis, ctx, script_take, 4, argv, NULL);

    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY) {
        return false;
    }

    batch->name = NULL;
    batch->n = 0;
    batch->keys = cx_must(talloc_zero_array(ctx, char *, reply->elements + 1));
    batch->counts =
        cx_must(talloc_zero_array(ctx, char *, reply->elements + 1));

    for (i = 0; i + 1 < reply->elements; i += 2) {
        field = reply->element[i]->str;

        if (strcmp(field, "batch") == 0) {
            batch->name = reply->element[i + 1]->str;

        } else if (strlen(field) == CX_HASH_NAME
                   && strspn(field, "0123456789abcdef") == CX_HASH_NAME) {
            batch->keys[batch->n] =
                cx_must(talloc_asprintf(ctx, "\\x%s", field));
            batch->counts[batch->n++] = reply->element[i + 1]->str;
        }
    }

    return batch->name != NULL;
}


/* The row of fanout_state is locked all the while: a second process neither
 * takes nor adds. */
static bool
add(cx_projector_t *p, TALLOC_CTX *ctx, batch_t *batch)
{
    PGresult *row;

    if (cx_pg_begin(p->pg) != CX_PG_OK
        || cx_pg_query(p->pg, ctx, &row, &SQL_SCANS_BATCH) != CX_PG_OK
        || PQntuples(row) == 0 || !take(p, ctx, batch)) {
        return false;
    }

    if (strcmp(cx_pg_text(row, 0, 0), batch->name) != 0
        && cx_pg_query(p->pg, ctx, &row, &SQL_SCANS_ADD, batch->name,
                       cx_must(cx_pg_array(ctx, batch->keys)),
                       cx_must(cx_pg_array(ctx, batch->counts)))
               != CX_PG_OK) {
        return false;
    }

    return cx_pg_commit(p->pg) == CX_PG_OK;
}


void
cx_scans_drain(cx_projector_t *p, TALLOC_CTX *ctx)
{
    batch_t batch;
    redisReply *reply;

    reply = cx_redis_words(p->redis, ctx, "EXISTS", CX_SCANS, BATCH, NULL);

    if (reply == NULL || reply->type != REDIS_REPLY_INTEGER
        || reply->integer == 0) {
        return;
    }

    if (add(p, ctx, &batch)) {
        const char *argv[] = { "1", BATCH, batch.name };

        (void) cx_redis_script(p->redis, ctx, script_drop, 3, argv, NULL);
    }

    cx_pg_rollback(p->pg);
}
