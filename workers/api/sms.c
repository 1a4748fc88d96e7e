/*
 * What the SMS gateway calls, on the port of operation: /sms/in, a message
 * that a person sent in (D1), and /sms/report, what became of one of ours.
 *
 * A gateway sends an answer's body back to the person as a message, so there
 * is none, and what a stranger writes is answered like everything else.
 */

#include <ctype.h>
#include <string.h>
#include <openssl/crypto.h>

#include "phone.h"
#include "proof.h"
#include "request.h"
#include "sms.sql.h"

#define NUMBER_MAX 64 /* bytes, as gateways write it */
#define TEXT_MAX 1600 /* ten messages in one */


static bool
secret_right(cx_request_t *r)
{
    const char *given, *secret = r->api->settings->sms_secret;

    given = cx_argument(r, "secret");

    if (given != NULL && strlen(given) == strlen(secret)
        && CRYPTO_memcmp(given, secret, strlen(secret)) == 0) {
        return true;
    }

    cx_problem(r, 403, "wrong_secret", "`secret` is not that of the gateway.");

    return false;
}


/* An argument that must be there; NULL: answered. */
static const char *
argument(cx_request_t *r, const char *name, size_t max)
{
    const char *value;

    value = cx_argument(r, name);

    if (value != NULL && value[0] != '\0' && strlen(value) <= max) {
        return value;
    }

    cx_problem(r, 422, talloc_asprintf(r, "invalid_%s", name),
               "`%s` must be 1 to %zu bytes of text.", name, max);

    return NULL;
}


/* A sender as gateways write it, in E.164: +49170..., 49170... (the plus sign
 * may have become a blank), 0049170..., or 0170... in our own country.  No
 * country code begins with 0, so each can be read in one way only: what could
 * be two people's number proves neither.  False: no number, as a name. */
static bool
sender(const cx_request_t *r, const char *text, char e164[CX_PHONE_SIZE])
{
    char number[NUMBER_MAX + 2], *p;
    const char *region = NULL;

    p = number;
    *p++ = '+';

    for (; *text != '\0'; text++) {
        if (isdigit((unsigned char) *text)) {
            *p++ = *text;

        } else if (strchr("+ -()./", *text) == NULL) {
            return false;
        }
    }

    *p = '\0';
    p = number;

    if (strncmp(number, "+00", 3) == 0) {
        p = number + 2;
        *p = '+';

        return cx_phone_normalise(p, NULL, e164) == 0;
    }

    if (number[1] == '0') {
        region = r->api->settings->default_region;
        p++;
    }

    return cx_phone_normalise(p, region, e164) == 0;
}


/* Whether the message was sent to us: digit by digit, without what stands
 * for "international". */
static bool
is_ours(const cx_request_t *r, const char *to)
{
    const char *ours = r->api->settings->sms_from;

    to += strspn(to, "+ ");
    to += strncmp(to, "00", 2) == 0 ? 2 : 0;
    ours += strspn(ours, "+");
    ours += strncmp(ours, "00", 2) == 0 ? 2 : 0;

    return strcmp(to, ours) == 0;
}


static void
message_in(cx_request_t *r)
{
    bool proved;
    char phone[CX_PHONE_SIZE];
    const char *from, *to, *text, *hmac;
    PGresult *result;

    if (!secret_right(r) || (from = argument(r, "from", NUMBER_MAX)) == NULL
        || (to = argument(r, "to", NUMBER_MAX)) == NULL
        || (text = argument(r, "text", TEXT_MAX)) == NULL) {
        return;
    }

    proved = false;

    if (is_ours(r, to) && sender(r, from, phone)) {
        if ((hmac = cx_proof_text(r, text)) == NULL
            || !cx_query(r, &result, &SQL_PROOF_MESSAGE, phone, hmac)) {
            return;
        }

        proved = cx_pg_true(result, 0, 0);
    }

    cx_info("sms: a message came in that proves %s",
            proved ? "a number" : "nothing");
    cx_answer(r, 200, "text/plain", "", 0);
}


/* Kannel's types of reports (User's Guide, "SMS Delivery Reports"). */
static bool
outcome_of(cx_request_t *r, const char **outcome)
{
    size_t i;
    const char *type;
    static const struct {
        const char *type;
        const char *outcome; /* NULL: says nothing yet */
    } types[] = {
        { "1", "delivered" }, { "2", "failed" },  { "4", NULL },
        { "8", "sent" },      { "16", "failed" },
    };

    if ((type = argument(r, "type", 8)) == NULL) {
        return false;
    }

    for (i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (strcmp(type, types[i].type) == 0) {
            *outcome = types[i].outcome;
            return true;
        }
    }

    cx_problem(r, 422, "invalid_type", "`type` must be 1, 2, 4, 8 or 16.");

    return false;
}


static void
report(cx_request_t *r)
{
    PGresult *result;
    const char *id, *outcome;

    if (!secret_right(r) || (id = argument(r, "id", CX_ID_LEN)) == NULL
        || !outcome_of(r, &outcome)) {
        return;
    }

    if (cx_id_check(&r->api->settings->id_key, CX_ID_SMS, id, strlen(id))
        != 0) {
        goto not_found;
    }

    if (outcome != NULL) {
        if (!cx_query(r, &result, &SQL_SMS_REPORT, id, outcome)) {
            return;
        }

        if (!cx_pg_true(result, 0, 0)) {
            goto not_found;
        }

        cx_info("sms %s: reported %s", id, outcome);
    }

    cx_answer(r, 200, "text/plain", "", 0);

    return;

not_found:

    cx_problem(r, 404, "not_found", "There is no such message.");
}


const cx_route_t cx_routes_sms[] = {
    { "GET", "/sms/in", message_in, CX_ANONYMOUS, 0 },
    { "GET", "/sms/report", report, CX_ANONYMOUS, 0 },
    { NULL, NULL, NULL, 0, 0 },
};
