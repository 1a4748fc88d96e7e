/*
 * POST /v1/registrations and .../verify: a number is proved by a code sent to
 * it, and becomes an account or opens one (D1, D2).  Until the proof nothing
 * is looked up that depends on who is registered.
 */

#include <arpa/inet.h>
#include <string.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>

#include "crypto.h"
#include "request.h"
#include "registrations.sql.h"
#include "sign_in.h"

#define CODE_DIGITS 6
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


/* The network that counts as one address: an IPv4 address, or the /64 that
 * one subscriber of IPv6 has.  NULL: none is known. */
static const char *
network(cx_request_t *r)
{
    char text[INET6_ADDRSTRLEN];
    struct in_addr v4;
    struct in6_addr v6;

    if (inet_pton(AF_INET, r->address, &v4) == 1) {
        return r->address;
    }

    if (inet_pton(AF_INET6, r->address, &v6) != 1) {
        return NULL;
    }

    if (IN6_IS_ADDR_V4MAPPED(&v6)) {
        inet_ntop(AF_INET, &v6.s6_addr[12], text, sizeof(text));
        return talloc_strdup(r, text);
    }

    memset(&v6.s6_addr[8], 0, 8);
    inet_ntop(AF_INET6, &v6, text, sizeof(text));

    return talloc_asprintf(r, "%s/64", text);
}


/* What is stored of a code, as parameter; NULL: answered 503. */
static const char *
code_hmac(cx_request_t *r, const char *registration_id, const char *code)
{
    const char *text;
    unsigned char hmac[CX_SECRET_LEN];

    text = talloc_asprintf(r, "%s%s", registration_id, code);

    if (!cx_hmac(r->api->settings, "code", text, strlen(text), hmac)) {
        cx_try_again(r);
        return NULL;
    }

    return cx_pg_bytea(r, hmac, sizeof(hmac));
}


/* The SMS with the code, sealed, as parameter; NULL: answered 503. */
static const char *
sealed_text(cx_request_t *r, const char *sms_id, const char *code)
{
    size_t len;
    const char *text;
    unsigned char *sealed;
    unsigned char key[CX_SECRET_LEN];

    text = strcmp(cx_language(r), "zh") == 0
               ? talloc_asprintf(r,
                                 "您的 cardx 验证码是 %s，10 分钟内有效。"
                                 "请勿告诉他人。",
                                 code)
               : talloc_asprintf(r,
                                 "%s is your cardx code. It is good for 10 "
                                 "minutes. Tell it to nobody.",
                                 code);

    sealed = cx_derive(r->api->settings, "sms", key)
                 ? cx_seal(r, key, sms_id, text, strlen(text), &len)
                 : NULL;
    OPENSSL_cleanse(key, sizeof(key));

    if (sealed == NULL) {
        cx_try_again(r);
        return NULL;
    }

    return cx_pg_bytea(r, sealed, len);
}


/* Only the proof by a message to the phone is there; false: answered. */
static bool
right_method(cx_request_t *r)
{
    const char *method;

    if (!cx_body_text(r, "method", 16, &method)) {
        return false;
    }

    if (method != NULL && strcmp(method, "sms-up") == 0) {
        cx_problem(r, 422, "method_unavailable",
                   "Proof by a message from the phone is not offered here.");
        return false;
    }

    if (method == NULL || strcmp(method, "sms-down") != 0) {
        cx_problem(r, 422, "invalid_method", "`method` must be sms-down.");
        return false;
    }

    if (cx_json_get(r->json, "via") != NULL) {
        cx_problem(r, 422, "invalid_via", "`via` names no circle.");
        return false;
    }

    return true;
}


static void
registration_start(cx_request_t *r)
{
    char digits[CODE_DIGITS + 1];
    cx_json_t *json;
    PGresult *result;
    const char *phone, *id, *sms_id, *code, *text;

    if (!right_method(r) || !cx_body_phone(r, &phone)) {
        return;
    }

    if (!cx_random_digits(digits, CODE_DIGITS)) {
        cx_try_again(r);
        return;
    }

    if ((id = cx_new_id(r, CX_ID_REGISTRATION)) == NULL
        || (sms_id = cx_new_id(r, CX_ID_SMS)) == NULL
        || (code = code_hmac(r, id, digits)) == NULL
        || (text = sealed_text(r, sms_id, digits)) == NULL) {
        return;
    }

    if (!cx_query(r, &result, &SQL_REGISTRATION_START, id, phone, code,
                  network(r),
                  talloc_asprintf(r, "%d", r->api->settings->sms_per_address),
                  sms_id, text)) {
        return;
    }

    if (cx_pg_text(result, 0, 0) != NULL) {
        cx_too_many(r, "rate_limited", cx_pg_integer(result, 0, 0),
                    "Too many codes were asked for; wait.");
        return;
    }

    json = cx_json_object(r);
    cx_json_put(json, "registration_id", cx_json_string(json, id));
    cx_json_put(json, "method", cx_json_string(json, "sms-down"));
    cx_json_put(json, "expires_at",
                cx_json_string(json, cx_pg_text(result, 0, 1)));
    cx_answer_json(r, 202, json);
    cx_wake(r, "deliver");
}


/* Everything that can be wrong without being a try. */
static bool
read_verify(cx_request_t *r, verify_t *v)
{
    const char *code;

    if (!cx_body_terminal(r, &v->terminal)
        || !cx_body_text(r, "password", CX_PASSWORD_MAX, &v->password)
        || !cx_body_boolean(r, "start_fresh", false, &v->start_fresh)
        || !cx_body_text(r, "code", CODE_DIGITS, &code)) {
        return false;
    }

    if (code == NULL || strlen(code) != CODE_DIGITS
        || strspn(code, "0123456789") != CODE_DIGITS) {
        cx_problem(r, 422, "invalid_code", "`code` must be %d digits.",
                   CODE_DIGITS);
        return false;
    }

    if (v->start_fresh && v->password != NULL) {
        cx_problem(r, 422, "invalid_start_fresh",
                   "Either `password`, for the account of the number, or "
                   "`start_fresh`, for a new one.");
        return false;
    }

    v->id = r->params[0];
    v->code = code_hmac(r, v->id, code);

    return v->code != NULL;
}


/* Answers for a code that is not right, or no longer. */
static void
refuse_code(cx_request_t *r, const char *state, const PGresult *result)
{
    cx_json_t *members;

    if (strcmp(state, "unknown") == 0) {
        cx_problem(r, 404, "not_found", "There is no such registration.");

    } else if (strcmp(state, "finished") == 0) {
        cx_problem(r, 409, "registration_finished",
                   "This registration has signed a terminal in already.");

    } else if (strcmp(state, "expired") == 0) {
        cx_problem(r, 410, "registration_expired",
                   "The code is too old; ask for another.");

    } else if (strcmp(state, "too_many_tries") == 0) {
        cx_too_many(r, "too_many_tries", cx_pg_integer(result, 0, 2),
                    "Too many wrong codes; ask for another.");

    } else {
        members = cx_json_object(r);
        cx_json_put(members, "tries_left",
                    cx_json_integer(members, cx_pg_integer(result, 0, 1)));
        cx_problem_with(r, 422, "wrong_code", "The code is wrong.", members);
    }
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
        refuse_code(r, state, result);
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
    unsigned char key[CX_SECRET_LEN], data_key[DATA_KEY_LEN];

    v->user_id = cx_new_id(r, CX_ID_USER);
    if (v->user_id == NULL) {
        return false;
    }

    initial = talloc_array(r, char, INITIAL_PASSWORD + 1);
    wrapped = NULL;

    if (cx_random_readable(initial, INITIAL_PASSWORD)
        && (v->hash = cx_password_hash(r, initial)) != NULL
        && RAND_bytes(data_key, sizeof(data_key)) == 1
        && cx_derive(r->api->settings, "data-key", key)) {
        wrapped = cx_seal(r, key, v->user_id, data_key, sizeof(data_key), &len);
    }

    OPENSSL_cleanse(key, sizeof(key));
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
        refuse_code(r, state, result);
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
