#include "sign_in.h"

#include <string.h>
#include <openssl/rand.h>

#include "crypto.h"
#include "cx_line.h"
#include "phone.h"
#include "sign_in.sql.h"

#define TERMINAL_MIN 100000000u
#define TERMINALS (CX_TERMINAL_MAX - TERMINAL_MIN + 1)
#define TERMINAL_NAME_MAX 200 /* bytes */
#define PHONE_MAX 64          /* bytes, as people write it */


void
cx_too_many(cx_request_t *r, const char *code, long long seconds,
            const char *detail)
{
    cx_answer_header(r, "Retry-After", "%lld", seconds);
    cx_problem(r, 429, code, "%s", detail);
}


bool
cx_body_terminal(cx_request_t *r, const char **name)
{
    const cx_json_t *json;

    json = cx_json_get(cx_json_get(r->json, "terminal"), "name");

    if (json == NULL || json->type != CX_JSON_STRING || json->len == 0
        || json->len > TERMINAL_NAME_MAX || !cx_line_shows(json->text)) {
        cx_problem(r, 422, "invalid_terminal",
                   "`terminal` must be {\"name\": a line of 1 to %d bytes, "
                   "all of which show}.",
                   TERMINAL_NAME_MAX);
        return false;
    }

    *name = json->text;

    return true;
}


bool
cx_body_phone(cx_request_t *r, const char **phone)
{
    char *e164;
    const char *text;

    if (!cx_body_text(r, "phone", PHONE_MAX, &text)) {
        return false;
    }

    e164 = talloc_array(r, char, CX_PHONE_SIZE);

    if (text == NULL
        || cx_phone_normalise(text, r->api->settings->default_region, e164)
               != 0) {
        cx_problem(r, 422, "invalid_phone",
                   "`phone` must be a phone number, as +8613800138000.");
        return false;
    }

    *phone = e164;

    return true;
}


void
cx_password_wrong(cx_request_t *r, int status)
{
    if (status == 401) {
        cx_answer_header(r, "WWW-Authenticate", "Bearer");
    }

    cx_problem(r, status, "wrong_password",
               status == 401 ? "The number or the password is wrong."
                             : "The password is wrong.");
}


const char *
cx_own_terminal(cx_request_t *r)
{
    return r->user_id == NULL
               ? NULL
               : cx_must(talloc_asprintf(r, "%u", r->terminal_id));
}


bool
cx_password_right(cx_request_t *r, const char *user_id, const char *phone,
                  const char *password, int refused, const char **account,
                  const char **hash)
{
    PGresult *result;

    if (!cx_query(r, &result, &SQL_PASSWORD_TRY, user_id, phone,
                  cx_own_terminal(r))) {
        return false;
    }

    if (cx_pg_text(result, 0, 2) != NULL) {
        cx_too_many(r, "too_many_tries", cx_pg_integer(result, 0, 2),
                    "Too many wrong passwords; wait.");
        return false;
    }

    *account = cx_pg_text(result, 0, 0);
    *hash = cx_pg_text(result, 0, 1);

    if (!cx_password_check(password, *hash)) {
        cx_password_wrong(r, refused);
        return false;
    }

    return true;
}


/* Evenly over all numbers of nine digits: what is above the last whole
 * multiple is drawn again. */
static bool
draw_terminal(uint32_t *terminal_id)
{
    uint32_t number;

    do {
        if (RAND_bytes((unsigned char *) &number, sizeof(number)) != 1) {
            return false;
        }
    } while (number >= UINT32_MAX / TERMINALS * TERMINALS);

    *terminal_id = TERMINAL_MIN + number % TERMINALS;

    return true;
}


cx_sign_in_t *
cx_sign_in_again(cx_request_t *r, const char *user_id, uint32_t terminal_id,
                 const unsigned char *refresh)
{
    cx_token_t token;
    cx_sign_in_t *s;
    const cx_id_key_t *key = &r->api->settings->id_key;

    s = talloc_zero(r, cx_sign_in_t);

    if (s == NULL
        || cx_token_new(key, CX_TOKEN_ACCESS, user_id, terminal_id, NULL,
                        s->access, &s->token)
               != 0
        || cx_token_new(key, CX_TOKEN_REFRESH, user_id, terminal_id, refresh,
                        s->refresh, &token)
               != 0) {
        cx_try_again(r);
        return NULL;
    }

    s->user_id = user_id;
    s->terminal_id = terminal_id;
    s->terminal = talloc_asprintf(s, "%u", terminal_id);
    s->access_hash = cx_pg_bytea(s, s->token.hash, sizeof(s->token.hash));
    s->refresh_hash = cx_pg_bytea(s, token.hash, sizeof(token.hash));

    return s;
}


cx_sign_in_t *
cx_sign_in_draw(cx_request_t *r, const char *user_id)
{
    uint32_t terminal_id;

    if (!draw_terminal(&terminal_id)) {
        cx_try_again(r);
        return NULL;
    }

    return cx_sign_in_again(r, user_id, terminal_id, NULL);
}


typedef struct {
    cx_token_t token;
    int64_t expires;
} access_t;


static void
project(cx_request_t *r, void *data)
{
    access_t *access = data;

    cx_project_token(&r->api->projector, &access->token, access->expires);
}


void
cx_sign_in_answer(cx_request_t *r, const cx_sign_in_t *s, int64_t expires,
                  bool new_account, const char *initial_password)
{
    access_t *access;
    cx_json_t *json;

    json = cx_json_object(r);
    cx_json_put(json, "user_id", cx_json_string(json, s->user_id));
    cx_json_put(json, "terminal_id", cx_json_string(json, s->terminal));
    cx_json_put(json, "access_token", cx_json_string(json, s->access));
    cx_json_put(json, "refresh_token", cx_json_string(json, s->refresh));
    cx_json_put(json, "token_type", cx_json_string(json, "Bearer"));
    cx_json_put(json, "expires_in", cx_json_integer(json, CX_ACCESS_SECONDS));
    cx_json_put(json, "new_account", cx_json_boolean(json, new_account));

    if (initial_password != NULL) {
        cx_json_put(json, "initial_password",
                    cx_json_string(json, initial_password));
    }

    cx_answer_json(r, 200, json);

    access = talloc(r, access_t);
    access->token = s->token;
    access->expires = expires;
    cx_after(r, project, access);
}


void
cx_sign_in_refuse(cx_request_t *r, const char *state)
{
    if (strcmp(state, "too_many_terminals") == 0) {
        cx_problem(r, 409, "too_many_terminals",
                   "The account has 20 terminals; sign one out first.");

    } else if (strcmp(state, CX_SIGN_IN_TAKEN) == 0) {
        cx_try_again(r);

    } else {
        cx_problem(r, 409, "conflict",
                   "The account has changed meanwhile; try again.");
    }
}
