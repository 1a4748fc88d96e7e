/* DELETE /v1/me: the account is erased (F8). */

#include "request.h"

#include <stdlib.h>

#include "card_change.h"
#include "me_delete.sql.h"
#include "sign_in.h"


/* The edge refuses every terminal when 204 is answered (A8). */
static void
deny_terminals(cx_request_t *r, void *data)
{
    int i;
    PGresult *result = data;
    const char *terminal_id;

    for (i = 0; i < PQntuples(result); i++) {
        terminal_id = cx_pg_text(result, i, 1);

        if (terminal_id != NULL
            && !cx_deny_terminal(&r->api->projector, r->user_id,
                                 (uint32_t) strtoul(terminal_id, NULL, 10))) {
            cx_problem_not_yet(r);
            return;
        }
    }
}


/* As each of them is deleted by its owner, in one transaction. */
static bool
erase_cards(cx_request_t *r, const PGresult *things)
{
    int i;
    const char *card_id;
    cx_change_t *change;

    for (i = 0; i < PQntuples(things); i++) {
        card_id = cx_pg_text(things, i, 0);

        if (card_id == NULL) {
            continue;
        }

        change = cx_change_new(r, card_id);

        if (change == NULL || !cx_change_erase(r, change)) {
            return false;
        }
    }

    return true;
}


static void
doubt_terminals(cx_request_t *r, const PGresult *things)
{
    int i;
    const char *terminal_id;

    for (i = 0; i < PQntuples(things); i++) {
        terminal_id = cx_pg_text(things, i, 1);

        if (terminal_id != NULL) {
            (void) cx_doubt_terminal(&r->api->projector, r->user_id,
                                     (uint32_t) strtoul(terminal_id, NULL, 10));
        }
    }
}


/* False: answered, 401. */
static bool
is_there(cx_request_t *r)
{
    PGresult *result;

    if (!cx_query(r, &result, &SQL_ACCOUNT_THERE)) {
        return false;
    }

    if (PQntuples(result) == 0) {
        cx_problem_gone(r);
        return false;
    }

    return true;
}


static void
me_delete(cx_request_t *r)
{
    PGresult *things, *result;
    const char *password, *account, *hash;

    if (!cx_body_text(r, "password", CX_PASSWORD_MAX, &password)) {
        return;
    }

    if (password == NULL) {
        cx_problem(r, 422, "invalid_password", "`password` is missing.");
        return;
    }

    /* repeated while its first answer was lost, or beside another one: a
     * password can't be compared with what is erased */
    if (!is_there(r)
        || !cx_password_right(r, r->user_id, NULL, password, 403, &account,
                              &hash)) {
        return;
    }

    if (!cx_begin(r) || !cx_query(r, &things, &SQL_ACCOUNT_ERASE_BEGIN, hash)) {
        return;
    }

    if (PQntuples(things) == 0) {
        if (is_there(r)) {
            cx_password_wrong(r, 403);
        }

        return;
    }

    if (!erase_cards(r, things)
        || !cx_query(r, &result, &SQL_ACCOUNT_ERASE_END)) {
        return;
    }

    doubt_terminals(r, things);

    cx_answer_empty(r, 204);
    cx_after(r, deny_terminals, things);
}


const cx_route_t cx_routes_me_delete[] = { { "DELETE", "/v1/me", me_delete,
                                             CX_JSON_BODY, 0 },
                                           { NULL, NULL, NULL, 0, 0 } };
