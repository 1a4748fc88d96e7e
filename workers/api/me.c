/*
 * /v1/me: the account of who asks, its terminals (A8), its password, and the
 * sign-ins that wait for its approval.
 */

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "crypto.h"
#include "cx_line.h"
#include "me.sql.h"
#include "request.h"
#include "sign_in.h"

#define NICKNAME_MAX 200 /* bytes */
#define LOCALE_MAX 35    /* RFC 5646, 4.4.1 */

static const char *const writable[] = { "nickname", "own_card_id", "locale",
                                        "match", NULL };


const char *
cx_me_text(cx_request_t *r)
{
    PGresult *result;

    if (!cx_query(r, &result, &SQL_ME_GET)) {
        return NULL;
    }

    if (PQntuples(result) == 0) {
        /* a token that outlived its account */
        cx_answer_header(r, "WWW-Authenticate", "Bearer");
        cx_problem(r, 401, "unauthorized", "There is no such account.");
        return NULL;
    }

    return cx_pg_text(result, 0, 0);
}


void
cx_me_answer(cx_request_t *r)
{
    const char *text;

    text = cx_me_text(r);

    if (text != NULL) {
        cx_answer_text(r, 200, text);
    }
}


/* The form of a language tag (RFC 5646, 2.1): parts of one to eight letters
 * and digits. */
static bool
is_locale(const char *text)
{
    size_t len, parts;

    for (parts = 0;; parts++) {
        for (len = 0; isalnum((unsigned char) text[len]); len++) {
            if (parts == 0 && isdigit((unsigned char) text[len])) {
                return false;
            }
        }

        if (len == 0 || len > 8 || (parts == 0 && len < 2)) {
            return false;
        }

        text += len;

        if (*text == '\0') {
            return true;
        }

        if (*text++ != '-') {
            return false;
        }
    }
}


/* For a statement: whether the patch (RFC 7396) names a member. */
static const char *
names(const cx_request_t *r, const char *name)
{
    return cx_json_get(r->json, name) != NULL ? "t" : "f";
}


/* What of `match` is to be another; as parameters. */
typedef struct {
    const char *names_on;
    const char *on;
    const char *names_fields;
    const char *fields;
} match_patch_t;


/* Who is known by address books, and by which fields (D5).  `null` is what an
 * account begins with.  False: answered. */
static bool
read_match(cx_request_t *r, match_patch_t *m)
{
    size_t i;
    char **fields;
    const cx_json_t *match, *on;

    match = cx_json_get(r->json, "match");
    on = cx_json_get(match, "on");
    m->names_on = m->names_fields = "f";
    m->on = m->fields = NULL;

    if (match == NULL) {
        return true;
    }

    if (match->type == CX_JSON_NULL) {
        m->names_on = m->names_fields = m->on = "t";
        return true;
    }

    for (i = 0; match->type == CX_JSON_OBJECT && i < match->n
                && (strcmp(match->items[i]->name, "on") == 0
                    || strcmp(match->items[i]->name, "fields") == 0);
         i++) {
        /* void */
    }

    if (match->type != CX_JSON_OBJECT || i < match->n
        || (on != NULL && on->type != CX_JSON_BOOLEAN
            && on->type != CX_JSON_NULL)) {
        cx_problem(r, 422, "invalid_match",
                   "`match` must be {\"on\": true or false, \"fields\": a "
                   "list}, or a part of that.");
        return false;
    }

    if (!cx_take_fields(r, cx_json_get(match, "fields"), &fields)) {
        return false;
    }

    if (on != NULL) {
        m->names_on = "t";
        m->on = on->type == CX_JSON_NULL || on->boolean ? "t" : "f";
    }

    if (cx_json_get(match, "fields") != NULL) {
        m->names_fields = "t";
        m->fields = cx_pg_array(r, fields);
    }

    return true;
}


static void
me_patch(cx_request_t *r)
{
    PGresult *result;
    match_patch_t match;
    const char *nickname, *card_id, *locale;

    if (!cx_body_only(
            r, writable, "not_writable",
            "Only `nickname`, `own_card_id`, `locale` and `match` can "
            "be changed here.")
        || !cx_body_text(r, "nickname", NICKNAME_MAX, &nickname)
        || !cx_body_text(r, "own_card_id", CX_ID_LEN, &card_id)
        || !cx_body_text(r, "locale", LOCALE_MAX, &locale)
        || !read_match(r, &match)) {
        return;
    }

    if (nickname != NULL && !cx_line_shows(nickname)) {
        cx_problem(r, 422, "invalid_nickname",
                   "`nickname` must be one line of text, without characters "
                   "that do not show or that turn its direction.");
        return;
    }

    if (locale != NULL && !is_locale(locale)) {
        cx_problem(r, 422, "invalid_locale",
                   "`locale` must be a language tag, as zh-Hans-CN.");
        return;
    }

    if (card_id != NULL
        && cx_id_check(&r->api->settings->id_key, CX_ID_CARD, card_id,
                       strlen(card_id))
               != 0) {
        goto no_card;
    }

    if (!cx_query(r, &result, &SQL_ME_PATCH, names(r, "nickname"), nickname,
                  names(r, "own_card_id"), card_id, names(r, "locale"), locale,
                  match.names_on, match.on, match.names_fields, match.fields)) {
        return;
    }

    if (PQntuples(result) == 0 && card_id != NULL) {
        goto no_card;
    }

    cx_me_answer(r);

    return;

no_card:

    cx_problem(r, 422, "invalid_own_card_id",
               "`own_card_id` must be one of your cards.");
}


/* Passwords are compared byte for byte, so that what was set can be typed. */
static bool
new_password(cx_request_t *r, const char **password)
{
    if (!cx_body_text(r, "new", CX_PASSWORD_MAX, password)) {
        return false;
    }

    if (*password == NULL || strlen(*password) < CX_PASSWORD_MIN) {
        cx_problem(r, 422, "invalid_new", "`new` must have %d to %d bytes.",
                   CX_PASSWORD_MIN, CX_PASSWORD_MAX);
        return false;
    }

    return true;
}


static void
password_change(cx_request_t *r)
{
    PGresult *result;
    const char *old, *new, *account, *old_hash, *new_hash;

    if (!cx_body_text(r, "old", CX_PASSWORD_MAX, &old)
        || !new_password(r, &new)) {
        return;
    }

    if (old == NULL) {
        cx_problem(r, 422, "invalid_old", "`old` is missing.");
        return;
    }

    if (!cx_password_right(r, r->user_id, NULL, old, 403, &account,
                           &old_hash)) {
        return;
    }

    new_hash = cx_password_hash(r, new);

    if (new_hash == NULL) {
        cx_try_again(r);
        return;
    }

    if (!cx_query(r, &result, &SQL_PASSWORD_CHANGE, cx_own_terminal(r),
                  old_hash, new_hash)) {
        return;
    }

    if (!cx_pg_true(result, 0, 0)) {
        cx_password_wrong(r, 403);
        return;
    }

    cx_answer_empty(r, 204);
}


/* A terminal number: 9 digits, the first not 0.  0: it is none. */
static uint32_t
terminal_number(const char *text)
{
    if (strlen(text) != 9 || strspn(text, "0123456789") != 9
        || text[0] == '0') {
        return 0;
    }

    return (uint32_t) strtoul(text, NULL, 10);
}


static void
terminal_list(cx_request_t *r)
{
    int limit;
    const char *cursor;
    PGresult *result;

    if (!cx_page(r, 100, 0, &limit, &cursor)) {
        return;
    }

    if (cursor != NULL && terminal_number(cursor) == 0) {
        cx_problem(r, 422, "invalid_cursor",
                   "`cursor` is not one that a list has given.");
        return;
    }

    if (cx_query(r, &result, &SQL_TERMINAL_LIST, cursor,
                 talloc_asprintf(r, "%d", limit),
                 talloc_asprintf(r, "%u", r->terminal_id))) {
        cx_answer_text(r, 200, cx_pg_text(result, 0, 0));
    }
}


/* A8: the edge asks workers from the moment the terminal is in doubt, they
 * refuse from the commit on, and 204 is answered once the edge refuses by
 * itself.  May be repeated, as long as it is not known to be in force. */
static void
terminal_sign_out(cx_request_t *r)
{
    uint32_t terminal_id;
    PGresult *result;

    terminal_id = terminal_number(r->params[0]);

    if (terminal_id == 0) {
        goto not_found;
    }

    if (!cx_query(r, &result, &SQL_TERMINAL_IS_OWN, r->params[0])) {
        return;
    }

    if (!cx_pg_true(result, 0, 0)) {
        goto not_found;
    }

    (void) cx_doubt_terminal(&r->api->projector, r->user_id, terminal_id);

    if (!cx_query(r, &result, &SQL_TERMINAL_SIGN_OUT, r->params[0])) {
        return;
    }

    if (!cx_deny_terminal(&r->api->projector, r->user_id, terminal_id)) {
        cx_problem_not_yet(r);
        return;
    }

    cx_answer_empty(r, 204);

    return;

not_found:

    cx_problem(r, 404, "not_found", "There is no such terminal.");
}


static void
approval_answer(cx_request_t *r)
{
    bool approve;
    cx_json_t *json;
    PGresult *result;
    const char *approved;

    json = cx_json_get(r->json, "approve");

    if (json == NULL || json->type != CX_JSON_BOOLEAN) {
        cx_problem(r, 422, "invalid_approve",
                   "`approve` must be true or false.");
        return;
    }

    approve = json->boolean;

    if (!cx_query(r, &result, &SQL_APPROVAL_ANSWER, r->params[0],
                  approve ? "t" : "f",
                  talloc_asprintf(r, "%u", r->terminal_id))) {
        return;
    }

    if (PQntuples(result) == 0) {
        cx_problem(r, 404, "not_found", "Nothing asks for this approval.");
        return;
    }

    approved = cx_pg_text(result, 0, 0);

    if (approved == NULL || (approved[0] == 't') != approve) {
        cx_problem(r, 409, "approval_closed",
                   approved == NULL ? "It is too late to answer."
                                    : "It has been answered otherwise.");
        return;
    }

    cx_answer_empty(r, 204);
}


const cx_route_t cx_routes_me[] = {
    { "GET", "/v1/me", cx_me_answer, 0, 0 },
    { "PATCH", "/v1/me", me_patch, CX_PATCH_BODY, 0 },
    { "POST", "/v1/me/password", password_change, CX_JSON_BODY, 0 },
    { "GET", "/v1/me/terminals", terminal_list, 0, 0 },
    { "DELETE", "/v1/me/terminals/{*}", terminal_sign_out, 0, 0 },
    { "POST", "/v1/me/approvals/{p}", approval_answer, CX_JSON_BODY, 0 },
    { NULL, NULL, NULL, 0, 0 },
};
