#include "rewrap.h"

#include <stdio.h>
#include <openssl/crypto.h>

#include "cx_buf.h"
#include "crypto.h"
#include "cx_id.h"
#include "rewrap.sql.h"

#define PAGE 256

typedef struct {
    cx_projector_t *p;
    char after[CX_ID_LEN + 1]; /* the last user that was looked at */
    long long wrapped;
    long long left; /* under the master key already */
    long long lost;
} rewrap_t;


/* False: it can't be asked now. */
static bool
put(rewrap_t *w, TALLOC_CTX *ctx, const char *user_id, const char *was,
    const unsigned char *key, size_t len)
{
    size_t sealed_len;
    PGresult *result;
    unsigned char *sealed;

    sealed = cx_master_seal(ctx, w->p->settings, CX_DATA_KEY, user_id, key, len,
                            &sealed_len);

    if (sealed == NULL
        || cx_pg_query(w->p->pg, ctx, &result, &SQL_DATA_KEY_PUT, user_id, was,
                       cx_pg_bytea(ctx, sealed, sealed_len))
               != CX_PG_OK) {
        return false;
    }

    w->wrapped += cx_pg_true(result, 0, 0);

    return true;
}


static bool
one(rewrap_t *w, TALLOC_CTX *ctx, const PGresult *rows, int i)
{
    bool ok;
    size_t wrapped_len, len;
    const char *user_id;
    unsigned char *wrapped, *key;

    user_id = cx_pg_text(rows, i, 0);
    wrapped = cx_pg_bytes(ctx, rows, i, 1, &wrapped_len);

    if (cx_master_is_ours(w->p->settings, CX_DATA_KEY, user_id, wrapped,
                          wrapped_len)) {
        w->left++;
        return true;
    }

    key = cx_master_open(ctx, w->p->settings, CX_DATA_KEY, user_id, wrapped,
                         wrapped_len, &len);

    if (key == NULL) {
        printf("the data key of %s is under neither master key\n", user_id);
        w->lost++;
        return true;
    }

    ok = put(w, ctx, user_id, cx_pg_text(rows, i, 1), key, len);
    OPENSSL_cleanse(key, len);

    return ok;
}


/* The next users: how many, -1 if it can't go on. */
static int
page(rewrap_t *w, TALLOC_CTX *ctx)
{
    int i, n;
    char size[16];
    PGresult *rows;

    snprintf(size, sizeof(size), "%d", PAGE);

    if (cx_pg_query(w->p->pg, ctx, &rows, &SQL_DATA_KEYS, w->after, size)
        != CX_PG_OK) {
        return -1;
    }

    n = PQntuples(rows);

    for (i = 0; i < n; i++) {
        if (!one(w, ctx, rows, i)) {
            return -1;
        }
    }

    if (n > 0) {
        snprintf(w->after, sizeof(w->after), "%s", cx_pg_text(rows, n - 1, 0));
    }

    return n;
}


int
cx_rewrap(cx_projector_t *p)
{
    int n;
    TALLOC_CTX *ctx;
    rewrap_t w = { .p = p };

    do {
        ctx = cx_must(talloc_new(NULL));
        n = page(&w, ctx);
        talloc_free(ctx);
    } while (n > 0);

    printf("data keys: %lld wrapped anew, %lld were, %lld can't be opened\n",
           w.wrapped, w.left, w.lost);

    return n < 0 ? 2 : w.lost > 0 ? 1 : 0;
}
