/*
 * pg_try CONNINFO: what a connection still does after PostgreSQL refused a
 * statement, as TAP (t/pg.t).
 */

#include <stdio.h>

#include "log.h"
#include "pg.h"

static const cx_statement_t one = { "one", "select 1", 0 };
static const cx_statement_t number = { "number", "select $1::text::integer",
                                       1 };

static int tests;


static void
is(cx_pg_rc_t rc, cx_pg_rc_t expected, const char *what)
{
    printf("%sok %d - %s\n", rc == expected ? "" : "not ", ++tests, what);
}


int
main(int argc, char **argv)
{
    int i;
    cx_pg_t *pg;
    PGresult *result;
    TALLOC_CTX *ctx;

    if (argc != 2) {
        fprintf(stderr, "usage: pg_try CONNINFO\n");
        return 2;
    }

    cx_log_open("pg_try", CX_LOG_ALERT);
    ctx = talloc_new(NULL);

    pg = cx_pg_open(ctx, argv[1]);
    is(cx_pg_query(pg, ctx, &result, &number, "x"), CX_PG_REFUSED,
       "the first statement of a connection is refused");
    is(cx_pg_query(pg, ctx, &result, &number, "1"), CX_PG_OK,
       "the same with other values is not");
    is(cx_pg_query(pg, ctx, &result, &one), CX_PG_OK, "nor is another one");

    pg = cx_pg_open(ctx, argv[1]);

    for (i = 0; i < 2; i++) {
        is(cx_pg_begin(pg), CX_PG_OK, "a transaction");
        is(cx_pg_query(pg, ctx, &result, &number, "x"), CX_PG_REFUSED,
           "refused in it");
        is(cx_pg_query(pg, ctx, &result, &one), CX_PG_AWAY, "which ends it");
        cx_pg_rollback(pg);

        is(cx_pg_begin(pg), CX_PG_OK, "one without a statement");
        is(i ? cx_pg_commit(pg) : (cx_pg_rollback(pg), CX_PG_OK), CX_PG_OK,
           "ended");
        is(cx_pg_query(pg, ctx, &result, &one), CX_PG_OK, "is none");

        is(cx_pg_begin(pg), CX_PG_OK, "the next transaction");
        is(cx_pg_query(pg, ctx, &result, &number, "1"), CX_PG_OK,
           "the same statement in it");
        is(cx_pg_commit(pg), CX_PG_OK, "committed");
    }

    printf("1..%d\n", tests);
    talloc_free(ctx);

    return 0;
}
