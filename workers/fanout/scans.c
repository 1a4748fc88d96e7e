#include "scans.h"

#include <string.h>
#include <openssl/rand.h>

#include "cx_buf.h"
#include "cx_projection.h"
#include "log.h"
#include "scans.sql.h"

/* Beside each hash of counts, the batch in hand of it: its counts, and its own
 * name under "batch".  It is there from when it is taken until it is known to
 * be added; who finds one adds it, if PostgreSQL does not name it as added.
 * Its name begins with the digit of its hash: PostgreSQL names one batch, and
 * before another one is added, that one is dropped. */
#define BATCH ":batch"

static const char digits[] = "0123456789abcdef";

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


static void
names_of(char digit, char counts[CX_NAME_MAX], char taken[CX_NAME_MAX])
{
    size_t len;

    len = cx_scans_name(counts, digit);
    memcpy(taken, counts, len);
    memcpy(taken + len, BATCH, sizeof(BATCH));
}


static bool
take(cx_projector_t *p, TALLOC_CTX *ctx, char digit, batch_t *batch)
{
    size_t i;
    const char *field;
    redisReply *reply;
    unsigned char random[16];
    char counts[CX_NAME_MAX], taken[CX_NAME_MAX];
    char name[2 * sizeof(random) + 2];
    const char *argv[] = { "2", counts, taken, name };

    if (RAND_bytes(random, sizeof(random)) != 1) {
        return false;
    }

    name[0] = digit;
    cx_hex(random, sizeof(random), name + 1);
    names_of(digit, counts, taken);
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
                   && strspn(field, digits) == CX_HASH_NAME) {
            batch->keys[batch->n] =
                cx_must(talloc_asprintf(ctx, "\\x%s", field));
            batch->counts[batch->n++] = reply->element[i + 1]->str;
        }
    }

    return batch->name != NULL;
}


/* True: the batch of that name is not there, or not any more. */
static bool
drop(cx_projector_t *p, TALLOC_CTX *ctx, const char *name)
{
    redisReply *reply;
    char counts[CX_NAME_MAX], taken[CX_NAME_MAX];
    const char *argv[] = { "1", taken, name };

    if (name[0] == '\0' || strchr(digits, name[0]) == NULL) {
        return true;
    }

    names_of(name[0], counts, taken);
    reply = cx_redis_script(p->redis, ctx, script_drop, 3, argv, NULL);

    return reply != NULL && reply->type == REDIS_REPLY_INTEGER;
}


/* The row of fanout_state is locked all the while: a second process neither
 * takes nor adds. */
static bool
add(cx_projector_t *p, TALLOC_CTX *ctx, char digit, batch_t *batch)
{
    PGresult *row;
    const char *noted;

    if (cx_pg_begin(p->pg) != CX_PG_OK
        || cx_pg_query(p->pg, ctx, &row, &SQL_SCANS_BATCH) != CX_PG_OK
        || PQntuples(row) == 0) {
        return false;
    }

    noted = cx_pg_text(row, 0, 0);

    /* another digit's may still be in hand: its name is about to be lost */
    if ((noted[0] != digit && !drop(p, ctx, noted))
        || !take(p, ctx, digit, batch)) {
        return false;
    }

    if (strcmp(noted, batch->name) != 0
        && cx_pg_query(p->pg, ctx, &row, &SQL_SCANS_ADD, batch->name,
                       cx_must(cx_pg_array(ctx, batch->keys)),
                       cx_must(cx_pg_array(ctx, batch->counts)))
               != CX_PG_OK) {
        return false;
    }

    return cx_pg_commit(p->pg) == CX_PG_OK;
}


static void
drain(cx_projector_t *p, TALLOC_CTX *ctx, char digit)
{
    batch_t batch;
    redisReply *reply;
    char counts[CX_NAME_MAX], taken[CX_NAME_MAX];

    names_of(digit, counts, taken);
    reply = cx_redis_words(p->redis, ctx, "EXISTS", counts, taken, NULL);

    if (reply == NULL || reply->type != REDIS_REPLY_INTEGER
        || reply->integer == 0) {
        return;
    }

    if (add(p, ctx, digit, &batch)) {
        (void) drop(p, ctx, batch.name);
    }

    cx_pg_rollback(p->pg);
}


void
cx_scans_drain(cx_projector_t *p, TALLOC_CTX *ctx)
{
    const char *digit;

    for (digit = digits; *digit != '\0'; digit++) {
        drain(p, ctx, *digit);
    }
}
