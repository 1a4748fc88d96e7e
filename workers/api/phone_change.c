/*
 * POST /v1/me/phone and .../verify: another number for the account (D8).
 * It is proved like that of a registration, and with the password.  In one
 * transaction the account has the new number, the old one is free, and the
 * own cards show the new one instead of it.
 */

#include <string.h>
#include <strings.h>
#include <time.h>

#include "cards.h"
#include "phone.h"
#include "phone_change.sql.h"
#include "proof.h"
#include "sign_in.h"

/* A number on its way to the account. */
typedef struct {
    const char *id;
    const char *code; /* its HMAC, as parameter; or NULL */
    const char *password;
    const char *hash; /* that it was compared with */
    bool start_fresh;

    const char *former; /* number, or NULL */
    const char *phone;  /* the new one */
    char region[3];     /* of the former one */
    bool repeated;
} bind_t;


static void
phone_start(cx_request_t *r)
{
    bool up;
    PGresult *result;
    const char *phone, *present;

    if (!cx_proof_method(r, &up) || !cx_body_phone(r, &phone)
        || !cx_query(r, &result, &SQL_OWN_PHONE)) {
        return;
    }

    present = PQntuples(result) == 1 ? cx_pg_text(result, 0, 0) : NULL;

    if (present != NULL && strcmp(present, phone) == 0) {
        cx_problem(r, 422, "invalid_phone",
                   "`phone` is the account's number already.");
        return;
    }

    cx_proof_start(r, phone, up, "rebind_id");
}


static bool
read_bind(cx_request_t *r, bind_t *b)
{
    b->id = r->params[0];

    if (!cx_body_text(r, "password", CX_PASSWORD_MAX, &b->password)
        || !cx_body_boolean(r, "start_fresh", false, &b->start_fresh)
        || !cx_proof_code(r, b->id, &b->code)) {
        return false;
    }

    if (b->password == NULL) {
        cx_problem(r, 422, "invalid_password", "`password` is missing.");
        return false;
    }

    return true;
}


/* The proof, then the password: each counts its tries by itself.  A proof
 * that was used already may be a call whose answer was lost. */
static bool
prove(cx_request_t *r, bind_t *b)
{
    PGresult *result;
    const char *state, *account;

    if (!cx_query(r, &result, &SQL_PROOF_JUDGE, b->id, b->code)) {
        return false;
    }

    state = cx_pg_text(result, 0, 0);

    if (strcmp(state, "proved") != 0 && strcmp(state, "finished") != 0) {
        cx_proof_refuse(r, state, (int) cx_pg_integer(result, 0, 1),
                        (int) cx_pg_integer(result, 0, 2));
        return false;
    }

    return cx_password_right(r, r->user_id, NULL, b->password, 403, &account,
                             &b->hash);
}


/* False: answered. */
static bool
bind_phone(cx_request_t *r, bind_t *b)
{
    PGresult *result;
    const char *state;

    if (!cx_query(r, &result, &SQL_PHONE_BIND, b->id, b->code, b->hash,
                  b->start_fresh ? "t" : "f", cx_own_terminal(r))) {
        return false;
    }

    state = cx_pg_text(result, 0, 0);
    b->former = cx_pg_text(result, 0, 1);
    b->phone = cx_pg_text(result, 0, 2);
    b->repeated = strcmp(state, "repeated") == 0;

    if (b->repeated || strcmp(state, "bound") == 0) {
        return true;
    }

    if (strcmp(state, "account_exists") == 0) {
        cx_problem(r, 409, "account_exists",
                   "Another account has the number. Repeat the call with "
                   "`start_fresh`, and it keeps everything else, but loses "
                   "the number to yours.");

    } else if (strcmp(state, "changed") == 0) {
        cx_problem(r, 409, "conflict",
                   "The account has changed meanwhile; try again.");

    } else {
        cx_proof_refuse(r, "finished", 0, 0);
    }

    return false;
}


/* The new number in the place of the former one, if that stands there.
 * Blanks stay blanks, and a tel: address stays one. */
static bool
replace_number(const bind_t *b, cx_json_t *object, const char *name,
               const char *text)
{
    bool uri;
    char *number, e164[CX_PHONE_SIZE], readable[CX_PHONE_READ_SIZE];

    uri = text != NULL && strncasecmp(text, "tel:", 4) == 0;

    if (text == NULL
        || cx_phone_normalise(text, b->region[0] != '\0' ? b->region : NULL,
                              e164)
               != 0
        || strcmp(e164, b->former) != 0) {
        return false;
    }

    if (uri) {
        number = talloc_asprintf(object, "tel:%s", b->phone);

    } else if (strcmp(text, e164) != 0
               && cx_phone_international(b->phone, readable) == 0) {
        number = talloc_strdup(object, readable);

    } else {
        number = talloc_strdup(object, b->phone);
    }

    /* the name may be part of what is replaced */
    cx_json_put(object, talloc_strdup(number, name),
                cx_json_string(object, number));

    return true;
}


static bool
replace_in_phones(const bind_t *b, cx_json_t *phones)
{
    size_t i;
    bool changed = false;

    if (phones == NULL || phones->type != CX_JSON_OBJECT) {
        return false;
    }

    for (i = 0; i < phones->n; i++) {
        if (phones->items[i]->type == CX_JSON_OBJECT) {
            changed = replace_number(b, phones->items[i], "number",
                                     cx_json_text(phones->items[i], "number"))
                      || changed;
        }
    }

    return changed;
}


/* A localisation is a patch (RFC 9553, 2.7.1): of all phones, of one, or of
 * a number. */
static bool
replace_in_patch(const bind_t *b, cx_json_t *patch)
{
    size_t i;
    bool changed;
    cx_json_t *item;
    const char *last;

    changed = replace_in_phones(b, cx_json_get(patch, "phones"));

    for (i = 0; i < patch->n; i++) {
        item = patch->items[i];

        if (strncmp(item->name, "phones/", 7) != 0) {
            continue;
        }

        last = strrchr(item->name, '/');

        if (item->type == CX_JSON_OBJECT) {
            changed =
                replace_number(b, item, "number", cx_json_text(item, "number"))
                || changed;

        } else if (strcmp(last, "/number") == 0) {
            changed = replace_number(b, patch, item->name,
                                     cx_json_text(patch, item->name))
                      || changed;
        }
    }

    return changed;
}


/* Whether the Card shows something else now. */
static bool
replace_in_card(const bind_t *b, cx_json_t *card)
{
    size_t i;
    time_t now;
    struct tm tm;
    bool changed;
    char stamp[32];
    cx_json_t *languages;

    changed = replace_in_phones(b, cx_json_get(card, "phones"));
    languages = cx_json_get(card, "localizations");

    for (i = 0; languages != NULL && i < languages->n; i++) {
        changed = replace_in_patch(b, languages->items[i]) || changed;
    }

    /* the terminal's copy is older from now on (D3) */
    if (changed && cx_json_get(card, "updated") != NULL) {
        now = time(NULL);
        strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%SZ",
                 gmtime_r(&now, &tm));
        cx_json_put(card, "updated", cx_json_string(card, stamp));
    }

    return changed;
}


/* A card of the user's in the open transaction; false: answered.  Of a call
 * that is repeated nothing is left to change, but to learn whether what was
 * changed is in force. */
static bool
renew_card(cx_request_t *r, bind_t *b, const char *card_id)
{
    cx_json_t *old, *card;
    cx_change_t *change;

    change = cx_change_begin(r, card_id);

    if (change == NULL || (old = cx_card_stored(r, change)) == NULL) {
        return false;
    }

    card = cx_json_copy(r, old);

    if (!b->repeated && !replace_in_card(b, card)) {
        return true;
    }

    cx_card_replace(r, change, card, old);

    return r->status < 400;
}


static void
phone_verify(cx_request_t *r)
{
    int i;
    bind_t *b;
    PGresult *cards;

    b = talloc_zero(r, bind_t);

    if (!read_bind(r, b) || !prove(r, b) || !cx_begin(r) || !bind_phone(r, b)
        || !cx_query(r, &cards, &SQL_OWN_CARDS)) {
        return;
    }

    if (b->former != NULL) {
        (void) cx_phone_region(b->former, b->region);
    }

    for (i = 0; i < PQntuples(cards) && (b->former != NULL || b->repeated);
         i++) {
        if (!renew_card(r, b, cx_pg_text(cards, i, 0))) {
            return;
        }
    }

    r->headers = NULL; /* of the cards' answers */
    cx_me_answer(r);
}


const cx_route_t cx_routes_phone[] = {
    { "POST", "/v1/me/phone", phone_start, CX_JSON_BODY, 0 },
    { "POST", "/v1/me/phone/{r}/verify", phone_verify, CX_JSON_BODY, 0 },
    { NULL, NULL, NULL, 0, 0 },
};
