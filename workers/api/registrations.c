/*
 * POST /v1/registrations and .../verify: a number is proved (proof.h),
 * and becomes an account or opens one (D1, D2).  Until the proof nothing
 * is looked up that depends on who is registered.
 */

#include <string.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>

#include "crypto.h"
#include "proof.h"
#include "request.h"
#include "registrations.sql.h"
#include "sign_in.h"

#define INITIAL_PASSWORD 10 /* characters, of 31: 49 bits */
#define DATA_KEY_LEN 32

/* A proved number on its way to a terminal that is signed in. */
typedef struct {
    const char *id;
    const char *code; /* its HMAC, as parameter */
    const char *terminal;
    const char *password; /* as given, or NULL */
    bool start_fresh;

    const char *owner; /* of the number, or NULL */
    bool approved;
    bool refused; /* by a terminal of the owner */

    const char *way; /* as the database calls it */
    const char *user_id;
    const char *hash;     /* of the account's password */
    const char *data_key; /* of a new account, wrapped */
    const char *initial;  /* password of a new account */
} verify_t;


/* No circle sends people here yet; false: answered. */
static bool
right_way(cx_request_t *r)
{
    if (cx_json_get(r->json, "via") != NULL) {
        cx_problem(r, 422, "invalid_via", "`via` names no circle.");
        return false;
    }

    return true;
}


static void
registration_start(cx_request_t *r)
{
    bool up;
    const char *phone;

    if (cx_proof_method(r, &up) && right_way(r) && cx_body_phone(r, &phone)) {
        cx_proof_start(r, phone, up, "registration_id");
    }
}


/* Everything that can be wrong without being a try. */
static bool
read_verify(cx_request_t *r, verify_t *v)
{
    v->id = r->params[0];

    if (!cx_body_terminal(r, &v->terminal)
        || !cx_body_text(r, "password", CX_PASSWORD_MAX, &v->password)
        || !cx_body_boolean(r, "start_fresh", false, &v->start_fresh)
        || !cx_proof_code(r, v->id, &v->code)) {
        return false;
    }

    if (v->start_fresh && v->password != NULL) {
        cx_problem(r, 422, "invalid_start_fresh",
                   "Either `password`, for the account of the number, or "
                   "`start_fresh`, for a new one.");
        return false;
    }

    return true;
}


/* Who gives neither password nor wish to start fresh asks the account's
 * terminals; whether there is an account is only found out together. */
static bool
prove(cx_request_t *r, verify_t *v)
{
    PGresult *result;
    const char *approval, *state, *approved;

    approval = NULL;

    if (v->password == NULL && !v->start_fresh
        && (approval = cx_new_id(r, CX_ID_APPROVAL)) == NULL) {
        return false;
    }

    if (!cx_query(r, &result, &SQL_REGISTRATION_PROVE, v->id, v->code, approval,
                  v->terminal)) {
        return false;
    }

    state = cx_pg_text(result, 0, 0);

    if (strcmp(state, "proved") != 0) {
        cx_proof_refuse(r, state, (int) cx_pg_integer(result, 0, 1),
                        (int) cx_pg_integer(result, 0, 2));
        return false;
    }

    v->owner = cx_pg_text(result, 0, 3);
    approved = cx_pg_text(result, 0, 4);
    v->approved = approved != NULL && approved[0] == 't';
    v->refused = approved != NULL && !v->approved;

    return true;
}


/* A new account: id, initial password, data key. */
static bool
make_account(cx_request_t *r, verify_t *v)
{
    size_t len;
    char *initial;
    unsigned char *wrapped;
    unsigned char data_key[DATA_KEY_LEN];

    v->user_id = cx_new_id(r, CX_ID_USER);
    if (v->user_id == NULL) {
        return false;
    }

    initial = talloc_array(r, char, INITIAL_PASSWORD + 1);
    wrapped = NULL;

    if (cx_random_readable(initial, INITIAL_PASSWORD)
        && (v->hash = cx_password_hash(r, initial)) != NULL
        && RAND_bytes(data_key, sizeof(data_key)) == 1) {
        wrapped = cx_master_seal(r, r->api->settings, CX_DATA_KEY, v->user_id,
                                 data_key, sizeof(data_key), &len);
    }

    OPENSSL_cleanse(data_key, sizeof(data_key));

    if (wrapped == NULL) {
        cx_try_again(r);
        return false;
    }

    v->data_key = cx_pg_bytea(r, wrapped, len);
    v->initial = initial;

    return true;
}


/* How the proved number is opened; false: answered. */
static bool
choose_way(cx_request_t *r, verify_t *v)
{
    const char *account;

    if (v->owner == NULL || v->start_fresh) {
        v->way = v->start_fresh ? "fresh" : "new";
        return make_account(r, v);
    }

    v->user_id = v->owner;

    if (v->password != NULL) {
        v->way = "password";
        return cx_password_right(r, v->owner, NULL, v->password, 403, &account,
                                 &v->hash);
    }

    if (v->approved) {
        v->way = "approved";
        return true;
    }

    if (v->refused) {
        cx_problem(r, 403, "approval_refused",
                   "A terminal of the account has refused this sign-in; the "
                   "password opens it, or `start_fresh` makes a new one.");
        return false;
    }

    cx_problem(r, 409, "account_exists",
               "The number has an account. Repeat the call with its "
               "`password`, or once one of its terminals has approved, or "
               "with `start_fresh` for a new account.");

    return false;
}


static void
registration_verify(cx_request_t *r)
{
    int draws;
    verify_t *v;
    cx_sign_in_t *s;
    const char *state;
    PGresult *result;

    v = talloc_zero(r, verify_t);

    if (!read_verify(r, v) || !prove(r, v) || !choose_way(r, v)) {
        return;
    }

    state = NULL;

    for (draws = 0; draws < CX_SIGN_IN_DRAWS; draws++) {
        s = cx_sign_in_draw(r, v->user_id);

        if (s == NULL
            || !cx_query(r, &result, &SQL_REGISTRATION_FINISH, v->id, v->code,
                         v->way, v->user_id, v->hash, v->data_key, s->terminal,
                         v->terminal, s->access_hash, s->refresh_hash)) {
            return;
        }

        state = cx_pg_text(result, 0, 0);

        if (strcmp(state, CX_SIGN_IN_OPEN) == 0) {
            cx_sign_in_answer(r, s, cx_pg_integer(result, 0, 1),
                              v->initial != NULL, v->initial);
            return;
        }

        if (strcmp(state, CX_SIGN_IN_TAKEN) != 0) {
            break;
        }
    }

    if (strcmp(state, "finished") == 0) {
        cx_proof_refuse(r, state, 0, 0);
        return;
    }

    cx_sign_in_refuse(r, state);
}


const cx_route_t cx_routes_registrations[] = {
    { "POST", "/v1/registrations", registration_start,
      CX_ANONYMOUS | CX_JSON_BODY, 0 },
    { "POST", "/v1/registrations/{r}/verify", registration_verify,
      CX_ANONYMOUS | CX_JSON_BODY, 0 },
    { NULL, NULL, NULL, 0, 0 },
};
