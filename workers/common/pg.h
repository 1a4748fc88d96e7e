/*
 * PostgreSQL through libpq's pipeline mode: one connection per process, each
 * statement prepared once, blocking.
 *
 * A query outside a transaction is sent as set_config(user), statement, Sync
 * in one write: it is a transaction of its own, and an error leaves nothing
 * to clean up.  cx_pg_begin() opens an explicit one, which goes out with its
 * first query; queries until cx_pg_commit() belong to it.
 */

#ifndef CX_PG_H
#define CX_PG_H

#include <stdarg.h>
#include <stdbool.h>
#include <libpq-fe.h>
#include <talloc.h>

typedef struct {
    const char *name;
    const char *text;
    int n_params;
} cx_statement_t;

typedef enum {
    CX_PG_OK,
    CX_PG_CONFLICT, /* 23505, unique violation */
    CX_PG_REFUSED,  /* other 22xxx, 23xxx, 54xxx: it can't be stored */
    CX_PG_AWAY      /* no connection, time-out, full, read only: try later;
                     * a commit's outcome may be unknown */
} cx_pg_rc_t;

typedef struct cx_pg_s cx_pg_t;

/* Does not connect: the first query does. */
cx_pg_t *cx_pg_open(TALLOC_CTX *ctx, const char *conninfo);

/* Whose rows the next queries see (row-level security): a user id, or NULL
 * for nobody.  Not copied: must live until it is set again. */
void cx_pg_user(cx_pg_t *pg, const char *user_id);

/* Runs a statement with its n_params text parameters (NULL: SQL null).  The
 * result belongs to ctx and is cleared with it; NULL unless CX_PG_OK.  What
 * went wrong is logged (without parameters) where it is no CONFLICT. */
cx_pg_rc_t cx_pg_query(cx_pg_t *pg, TALLOC_CTX *ctx, PGresult **result,
                       const cx_statement_t *statement, ...);

/* The same from a list, for who has parameters of its own. */
cx_pg_rc_t cx_pg_query_list(cx_pg_t *pg, TALLOC_CTX *ctx, PGresult **result,
                            const cx_statement_t *statement,
                            va_list parameters);

/* The same from arrays, for parameters with NULs: lengths and formats as
 * PQsendQueryPrepared() takes them (1: binary). */
cx_pg_rc_t cx_pg_query_array(cx_pg_t *pg, TALLOC_CTX *ctx, PGresult **result,
                             const cx_statement_t *statement,
                             const char *const *values, const int *lengths,
                             const int *formats);

/* An explicit transaction.  After any rc but OK the transaction is lost:
 * only cx_pg_rollback() may follow (it is harmless without one). */
cx_pg_rc_t cx_pg_begin(cx_pg_t *pg);
cx_pg_rc_t cx_pg_commit(cx_pg_t *pg);
void cx_pg_rollback(cx_pg_t *pg);
bool cx_pg_in_transaction(const cx_pg_t *pg);
bool cx_pg_is_lost(const cx_pg_t *pg);

/* Reading results: text of a column (by number), NULL when it is null. */
const char *cx_pg_text(const PGresult *result, int row, int column);
bool cx_pg_true(const PGresult *result, int row, int column);
long long cx_pg_integer(const PGresult *result, int row, int column);

/* A bytea column's bytes (hex output form), owned by ctx. */
unsigned char *cx_pg_bytes(TALLOC_CTX *ctx, const PGresult *result, int row,
                           int column, size_t *len);

/* Bytes as a text parameter of type bytea ("\x..."), owned by ctx. */
char *cx_pg_bytea(TALLOC_CTX *ctx, const void *bytes, size_t len);

/* Strings as a text parameter of type text[]; NULL-terminated list, NULL for
 * SQL null.  Owned by ctx. */
char *cx_pg_array(TALLOC_CTX *ctx, char *const *strings);

#endif
