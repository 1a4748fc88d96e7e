/*
 * POST /v1/sessions: signing in with number and password; and
 * POST /v1/sessions/refresh: staying so.
 */

#include <string.h>
#include <openssl/crypto.h>

#include "crypto.h"
#include "request.h"
#include "sessions.sql.h"
#include "sign_in.h"


static void
session_start(cx_request_t *r)
{
    int draws;
    cx_sign_in_t *s;
    PGresult *result;
    const char *phone, *password, *name, *account, *hash, *state;

    if (!cx_body_phone(r, &phone)
        || !cx_body_text(r, "password", CX_PASSWORD_MAX, &password)
        || !cx_body_terminal(r, &name)) {
        return;
    }

    if (password == NULL) {
        cx_problem(r, 422, "invalid_password", "`password` is missing.");
        return;
    }

    if (!cx_password_right(r, NULL, phone, password, 401, &account, &hash)) {
        return;
    }

    state = NULL;

    for (draws = 0; draws < CX_SIGN_IN_DRAWS; draws++) {
        s = cx_sign_in_draw(r, account);

        if (s == NULL
            || !cx_query(r, &result, &SQL_SESSION_OPEN, account, hash,
                         s->terminal, name, s->access_hash, s->refresh_hash)) {
            return;
        }

        state = cx_pg_text(result, 0, 0);

        if (strcmp(state, CX_SIGN_IN_OPEN) == 0) {
            cx_sign_in_answer(r, s, cx_pg_integer(result, 0, 1), false, NULL);
            return;
        }

        if (strcmp(state, CX_SIGN_IN_TAKEN) != 0) {
            break;
        }
    }

    cx_sign_in_refuse(r, state);
}


static void
refuse_token(cx_request_t *r)
{
    cx_answer_header(r, "WWW-Authenticate", "Bearer");
    cx_problem(r, 401, "unauthorized",
               "The refresh token is not, or no longer, good; sign in again.");
}


static void
deny(cx_request_t *r, void *data)
{
    const cx_token_t *token = data;

    /* the caller gets 401 in any case; what could not be confirmed here is
     * in the outbox */
    (void) cx_deny_terminal(&r->api->projector, token->user_id,
                            token->terminal_id);
}


/* Two have the same token, and one of them should not: the terminal is signed
 * out, whoever it is that asks (RFC 9700, 4.14.2). */
static void
end_family(cx_request_t *r, cx_token_t *token)
{
    PGresult *result;

    cx_warn("a refresh token was used again: terminal %u is signed out",
            token->terminal_id);

    (void) cx_doubt_terminal(&r->api->projector, token->user_id,
                             token->terminal_id);

    if (!cx_query(r, &result, &SQL_SESSION_END, token->user_id,
                  talloc_asprintf(r, "%u", token->terminal_id))) {
        return;
    }

    refuse_token(r);
    cx_wake(r, "fanout");
    cx_after(r, deny, token);
}


/* A token's successor is derived from it, so that whoever asks again within a
 * minute, since the answer was lost, gets the same one. */
static cx_sign_in_t *
draw_successor(cx_request_t *r, const char *text, const cx_token_t *token)
{
    int len;
    bool ok;
    cx_sign_in_t *s;
    unsigned char raw[CX_TOKEN_RAW], secret[CX_SECRET_LEN];

    len = cx_base64url_read(text, CX_TOKEN_LEN, raw);
    ok = len == CX_TOKEN_RAW
         && cx_hmac(r->api->settings, "refresh", raw, sizeof(raw), secret);

    if (ok) {
        s = cx_sign_in_again(r, token->user_id, token->terminal_id, secret);

    } else {
        cx_try_again(r);
        s = NULL;
    }

    OPENSSL_cleanse(raw, sizeof(raw));
    OPENSSL_cleanse(secret, sizeof(secret));

    return s;
}


static void
session_refresh(cx_request_t *r)
{
    cx_token_t *token;
    cx_sign_in_t *s;
    PGresult *result;
    const char *text, *state;

    if (!cx_body_text(r, "refresh_token", 256, &text)) {
        return;
    }

    if (text == NULL) {
        cx_problem(r, 422, "invalid_refresh_token",
                   "`refresh_token` is missing.");
        return;
    }

    token = talloc(r, cx_token_t);

    if (cx_token_parse(&r->api->settings->id_key, CX_TOKEN_REFRESH, text,
                       strlen(text), token)
        != 0) {
        refuse_token(r);
        return;
    }

    s = draw_successor(r, text, token);

    if (s == NULL
        || !cx_query(r, &result, &SQL_SESSION_REFRESH, token->user_id,
                     s->terminal, cx_pg_bytea(r, token->hash, CX_SECRET_LEN),
                     s->refresh_hash, s->access_hash)) {
        return;
    }

    state = cx_pg_text(result, 0, 0);

    if (strcmp(state, CX_SIGN_IN_OPEN) == 0) {
        cx_sign_in_answer(r, s, cx_pg_integer(result, 0, 1), false, NULL);

    } else if (strcmp(state, "reused") == 0) {
        end_family(r, token);

    } else {
        refuse_token(r);
    }
}


const cx_route_t cx_routes_sessions[] = {
    { "POST", "/v1/sessions", session_start, CX_ANONYMOUS | CX_JSON_BODY, 0 },
    { "POST", "/v1/sessions/refresh", session_refresh,
      CX_ANONYMOUS | CX_JSON_BODY, 0 },
    { NULL, NULL, NULL, 0, 0 },
};
