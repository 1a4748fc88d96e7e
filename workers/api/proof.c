#include "proof.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <string.h>
#include <openssl/crypto.h>

#include "crypto.h"
#include "proof.sql.h"
#include "sign_in.h"

#define CODE_DIGITS 6
#define TEXT_WORD "cardx" /* what a text that is sent in begins with */
#define TEXT_DRAWN 10     /* characters, of 31: 49 bits */


typedef struct {
    bool up; /* the message comes from the phone */
    const char *id;
    const char *code;   /* what is stored of what proves, as parameter */
    const char *text;   /* that the phone sends */
    const char *sms_id; /* of the message to the phone, and what it holds */
    const char *sealed;
} proof_t;


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


/* What is stored of a code that was sent, as parameter; NULL: answered 503. */
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

    text = strcmp(cx_language(r), "zh") == 0
               ? talloc_asprintf(r,
                                 "您的 cardx 验证码是 %s，10 分钟内有效。"
                                 "请勿告诉他人。",
                                 code)
               : talloc_asprintf(r,
                                 "%s is your cardx code. It is good for 10 "
                                 "minutes. Tell it to nobody.",
                                 code);

    sealed = cx_master_seal(r, r->api->settings, "sms", sms_id, text,
                            strlen(text), &len);

    if (sealed == NULL) {
        cx_try_again(r);
        return NULL;
    }

    return cx_pg_bytea(r, sealed, len);
}


/* Letters and digits alone, in lower case: what phones and gateways add or
 * change on the way does not count. */
static char *
plain_text(TALLOC_CTX *ctx, const char *text)
{
    char *plain, *p;

    plain = talloc_strdup(ctx, text);

    for (p = plain; *text != '\0'; text++) {
        if (isalnum((unsigned char) *text)) {
            *p++ = (char) tolower((unsigned char) *text);
        }
    }

    *p = '\0';

    return plain;
}


const char *
cx_proof_text(cx_request_t *r, const char *text)
{
    const char *plain;
    unsigned char hmac[CX_SECRET_LEN];

    plain = plain_text(r, text);

    if (!cx_hmac(r->api->settings, "text", plain, strlen(plain), hmac)) {
        cx_try_again(r);
        return NULL;
    }

    return cx_pg_bytea(r, hmac, sizeof(hmac));
}


/* NULL: the sender that is set is no number that one can write to. */
static const char *
send_to(const cx_request_t *r)
{
    const char *from = r->api->settings->sms_from;

    return from[strspn(from, "+")] != '\0'
                   && strspn(from, "+0123456789") == strlen(from)
               ? from
               : NULL;
}


bool
cx_proof_method(cx_request_t *r, bool *up)
{
    const char *method;

    if (!cx_body_text(r, "method", 16, &method)) {
        return false;
    }

    *up = method != NULL && strcmp(method, "sms-up") == 0;

    if (!*up && (method == NULL || strcmp(method, "sms-down") != 0)) {
        cx_problem(r, 422, "invalid_method",
                   "`method` must be sms-down or sms-up.");
        return false;
    }

    if (*up && send_to(r) == NULL) {
        cx_problem(r, 422, "method_unavailable",
                   "Messages can't be sent to this server.");
        return false;
    }

    return true;
}


/* Draws what proves the number; false: answered. */
static bool
draw(cx_request_t *r, proof_t *p)
{
    char digits[CODE_DIGITS + 1], drawn[TEXT_DRAWN + 1];

    if ((p->id = cx_new_id(r, CX_ID_REGISTRATION)) == NULL) {
        return false;
    }

    if (p->up) {
        if (!cx_random_readable(drawn, TEXT_DRAWN)) {
            cx_try_again(r);
            return false;
        }

        p->text = talloc_asprintf(r, TEXT_WORD " %s", drawn);
        p->code = cx_proof_text(r, p->text);
        return p->code != NULL;
    }

    if (!cx_random_digits(digits, CODE_DIGITS)) {
        cx_try_again(r);
        return false;
    }

    return (p->sms_id = cx_new_id(r, CX_ID_SMS)) != NULL
           && (p->code = code_hmac(r, p->id, digits)) != NULL
           && (p->sealed = sealed_text(r, p->sms_id, digits)) != NULL;
}


void
cx_proof_start(cx_request_t *r, const char *phone, bool up, const char *id_name)
{
    proof_t *p;
    cx_json_t *json;
    PGresult *result;

    p = talloc_zero(r, proof_t);
    p->up = up;

    if (!draw(r, p)
        || !cx_query(
            r, &result, &SQL_PROOF_START, p->id, phone,
            p->up ? "sms-up" : "sms-down", p->code, network(r),
            talloc_asprintf(r, "%d", r->api->settings->sms_per_address),
            p->sms_id, p->sealed, r->user_id)) {
        return;
    }

    if (cx_pg_text(result, 0, 0) != NULL) {
        cx_too_many(r, "rate_limited", cx_pg_integer(result, 0, 0),
                    "Too many codes were asked for; wait.");
        return;
    }

    json = cx_json_object(r);
    cx_json_put(json, id_name, cx_json_string(json, p->id));
    cx_json_put(json, "method",
                cx_json_string(json, p->up ? "sms-up" : "sms-down"));
    cx_json_put(json, "expires_at",
                cx_json_string(json, cx_pg_text(result, 0, 1)));

    if (p->up) {
        cx_json_put(json, "send_to", cx_json_string(json, send_to(r)));
        cx_json_put(json, "text", cx_json_string(json, p->text));
    }

    cx_answer_json(r, 202, json);

    if (!p->up) {
        cx_wake(r, "deliver-0"); /* the others look by themselves */
    }
}


static void
invalid_code(cx_request_t *r)
{
    cx_problem(r, 422, "invalid_code",
               "`code` must be the %d digits that were sent; there is none "
               "where the phone sends the message.",
               CODE_DIGITS);
}


bool
cx_proof_code(cx_request_t *r, const char *id, const char **code)
{
    const char *text;

    if (!cx_body_text(r, "code", CODE_DIGITS, &text)) {
        return false;
    }

    *code = NULL;

    if (text == NULL) {
        return true;
    }

    if (strlen(text) != CODE_DIGITS
        || strspn(text, "0123456789") != CODE_DIGITS) {
        invalid_code(r);
        return false;
    }

    *code = code_hmac(r, id, text);

    return *code != NULL;
}


void
cx_proof_refuse(cx_request_t *r, const char *state, int tries_left,
                int retry_after)
{
    cx_json_t *members;

    if (strcmp(state, "unknown") == 0) {
        cx_problem(r, 404, "not_found", "There is no such registration.");

    } else if (strcmp(state, "invalid_code") == 0) {
        invalid_code(r);

    } else if (strcmp(state, "not_yet") == 0) {
        cx_problem(r, 409, "not_yet",
                   "The message from the phone has not arrived yet.");

    } else if (strcmp(state, "finished") == 0) {
        cx_problem(r, 409, "registration_finished",
                   "This registration has been used already.");

    } else if (strcmp(state, "expired") == 0) {
        cx_problem(r, 410, "registration_expired",
                   "The proof is too old; ask for another.");

    } else if (strcmp(state, "too_many_tries") == 0) {
        cx_too_many(r, "too_many_tries", retry_after,
                    "Too many wrong codes; ask for another.");

    } else {
        members = cx_json_object(r);
        cx_json_put(members, "tries_left",
                    cx_json_integer(members, tries_left));
        cx_problem_with(r, 422, "wrong_code", "The code is wrong.", members);
    }
}
