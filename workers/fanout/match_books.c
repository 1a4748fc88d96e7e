#include "match_books.h"

#include <stdio.h>
#include <string.h>
#include <openssl/crypto.h>

#include "clock.h"
#include "match_keys.h"
#include "cx_buf.h"
#include "log.h"
#include "match_books.sql.h"

#define TURN 100  /* ms for one user, then it is the others' */
#define PAGE 2000 /* numbers that are hashed anew at once */

/* Numbers on their way back into the database; arrays as parameters. */
typedef struct {
    char **contacts;
    char **tags;
    char **pairs;
    char **sides;
} pairs_t;


/* NULL: there is no such user any more (*gone), or it can't be had now. */
static cx_match_keys_t *
keys_of(cx_pg_t *pg, const cx_settings_t *settings, TALLOC_CTX *ctx,
        const char *user_id, bool *gone)
{
    size_t len;
    PGresult *row;
    unsigned char *wrapped;
    cx_match_keys_t *keys;

    *gone = false;

    if (cx_pg_query(pg, ctx, &row, &SQL_MATCH_ACCOUNT, user_id) != CX_PG_OK) {
        return NULL;
    }

    if (PQntuples(row) == 0) {
        *gone = true;
        return NULL;
    }

    wrapped = cx_pg_bytes(ctx, row, 0, 3, &len);
    keys = cx_match_keys(ctx, settings, user_id, cx_pg_text(row, 0, 0),
                         cx_pg_text(row, 0, 1), cx_pg_text(row, 0, 2), wrapped,
                         len);

    if (keys == NULL) {
        cx_error("match: the data key of %s can't be opened: another master "
                 "key?",
                 user_id);
    }

    return keys;
}


/* One number, under the user's present one. */
static bool
hash_again(const cx_match_keys_t *keys, TALLOC_CTX *ctx, const PGresult *rows,
           int i, pairs_t *pairs)
{
    bool side;
    size_t sealed_len, len;
    unsigned char *sealed, *number, pair[CX_MATCH_HASH];

    sealed = cx_pg_bytes(ctx, rows, i, 2, &sealed_len);
    number =
        cx_open(ctx, keys->number_key, keys->user_id, sealed, sealed_len, &len);

    if (number == NULL) {
        cx_error("match: a number of %s can't be opened", keys->user_id);
        return false;
    }

    len = cx_match_pair(keys, (const char *) number, pair, &side) ? sizeof(pair)
                                                                  : 0;
    OPENSSL_cleanse(number, strlen((const char *) number));

    pairs->contacts[i] = (char *) cx_pg_text(rows, i, 0);
    pairs->tags[i] = (char *) cx_pg_text(rows, i, 1);
    pairs->pairs[i] = cx_must(cx_pg_bytea(ctx, pair, len));
    pairs->sides[i] = side ? "t" : "f";

    return true;
}


/* What is hashed with another number of the user's, or under another key, a
 * page of it.  *n: how many it were. */
static bool
rehash(cx_pg_t *pg, TALLOC_CTX *ctx, const cx_match_keys_t *keys, int *n)
{
    int i;
    char key_id[16], page[16];
    pairs_t pairs;
    PGresult *rows, *result;

    snprintf(key_id, sizeof(key_id), "%d", keys->key_id);
    snprintf(page, sizeof(page), "%d", PAGE);

    if (cx_pg_query(pg, ctx, &rows, &SQL_MATCH_STALE, keys->user_id, key_id,
                    page)
        != CX_PG_OK) {
        return false;
    }

    *n = PQntuples(rows);

    if (*n == 0) {
        return true;
    }

    pairs.contacts = cx_must(talloc_zero_array(ctx, char *, *n + 1));
    pairs.tags = cx_must(talloc_zero_array(ctx, char *, *n + 1));
    pairs.pairs = cx_must(talloc_zero_array(ctx, char *, *n + 1));
    pairs.sides = cx_must(talloc_zero_array(ctx, char *, *n + 1));

    for (i = 0; i < *n; i++) {
        if (!hash_again(keys, ctx, rows, i, &pairs)) {
            return false;
        }
    }

    return cx_pg_query(pg, ctx, &result, &SQL_MATCH_REHASH, keys->user_id,
                       keys->epoch, key_id, cx_pg_array(ctx, pairs.contacts),
                       cx_pg_array(ctx, pairs.tags),
                       cx_pg_array(ctx, pairs.pairs),
                       cx_pg_array(ctx, pairs.sides))
           == CX_PG_OK;
}


bool
cx_match_user(cx_pg_t *pg, const cx_settings_t *settings, TALLOC_CTX *ctx,
              const char *user_id)
{
    int n;
    bool gone;
    int64_t end;
    PGresult *result;
    const char *state;
    cx_match_keys_t *keys;

    end = cx_monotonic_ms() + TURN;
    keys = keys_of(pg, settings, ctx, user_id, &gone);

    if (keys == NULL) {
        return gone;
    }

    do {
        if (!rehash(pg, ctx, keys, &n)) {
            return false;
        }
    } while (n > 0 && cx_monotonic_ms() < end);

    if (n == 0
        && cx_pg_query(pg, ctx, &result, &SQL_MATCH_LOOK, user_id)
               != CX_PG_OK) {
        return false;
    }

    while (cx_monotonic_ms() < end) {
        if (cx_pg_query(pg, ctx, &result, &SQL_MATCH_NEXT, user_id)
            != CX_PG_OK) {
            return false;
        }

        state = cx_pg_text(result, 0, 0);

        if (strcmp(state, "done") != 0) {
            return strcmp(state, "none") == 0;
        }
    }

    return cx_pg_query(pg, ctx, &result, &SQL_MATCH_MORE, user_id) == CX_PG_OK;
}


bool
cx_match_sweep(cx_pg_t *pg, TALLOC_CTX *ctx)
{
    PGresult *row;

    return cx_pg_query(pg, ctx, &row, &SQL_MATCH_SWEEP) == CX_PG_OK
           && cx_pg_integer(row, 0, 0) > 0;
}
