/* Who holds a card, and taking it back: F5. */

#include "request.h"

#include <string.h>

#include "holders.sql.h"

#define HOLDERS_PAGE 100


static void
list(cx_request_t *r, const cx_statement_t *statement)
{
    int limit;
    const char *cursor;
    PGresult *result;

    if (!cx_page(r, HOLDERS_PAGE, CX_ID_USER, &limit, &cursor)
        || !cx_query(r, &result, statement, r->params[0],
                     talloc_asprintf(r, "%d", limit), cursor)) {
        return;
    }

    if (PQntuples(result) == 0) {
        cx_problem_no_such(r, "card");
        return;
    }

    cx_answer_text(r, 200, cx_pg_text(result, 0, 0));
}


static void
get_holders(cx_request_t *r)
{
    list(r, &SQL_HOLDER_LIST);
}


static void
get_blocks(cx_request_t *r)
{
    list(r, &SQL_BLOCK_LIST);
}


/* Holders see cards through PostgreSQL alone, so what is committed is in
 * force. */
static void
delete_holder(cx_request_t *r)
{
    PGresult *result;

    if (!cx_query(r, &result, &SQL_HOLDER_TAKE_BACK, r->params[0],
                  r->params[1])) {
        return;
    }

    if (!cx_pg_true(result, 0, 0)) {
        cx_problem(r, 404, "not_found",
                   "You have no such card, or this user does not hold it.");
        return;
    }

    cx_answer_empty(r, 204);
}


static void
delete_block(cx_request_t *r)
{
    PGresult *result;

    if (!cx_query(r, &result, &SQL_BLOCK_LIFT, r->params[0], r->params[1])) {
        return;
    }

    if (!cx_pg_true(result, 0, 0)) {
        cx_problem_no_such(r, "card");
        return;
    }

    cx_answer_empty(r, 204);
}


const cx_route_t cx_routes_holders[] = {
    { "GET", "/v1/cards/{c}/holders", get_holders, 0, 0 },
    { "DELETE", "/v1/cards/{c}/holders/{u}", delete_holder, 0, 0 },
    { "GET", "/v1/cards/{c}/blocks", get_blocks, 0, 0 },
    { "DELETE", "/v1/cards/{c}/blocks/{u}", delete_block, 0, 0 },
    { NULL, NULL, NULL, 0, 0 }
};
