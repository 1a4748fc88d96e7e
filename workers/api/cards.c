/* The owner's own cards: A1, A2, D3. */

#include "request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cards.h"
#include "cards.sql.h"
#include "cx_jscontact.h"

#define CARDS_MAX 100 /* of one user */


/* jsonb writes 1e99 with a hundred digits, and what it gives back must be read
 * again. */
static bool
numbers_fit(const cx_json_t *json)
{
    size_t i;
    long zeros;
    const char *e;

    if (json->type == CX_JSON_NUMBER) {
        e = strpbrk(json->text, "eE");
        zeros = e != NULL ? strtol(e + 1, NULL, 10) : 0;

        return zeros > -CX_JSON_NUMBER_MAX && zeros < CX_JSON_NUMBER_MAX
               && labs(zeros) + (long) json->len + 2 /* "0." */
                      <= CX_JSON_NUMBER_MAX;
    }

    for (i = 0; i < json->n; i++) {
        if (!numbers_fit(json->items[i])) {
            return false;
        }
    }

    return true;
}


/* The Card as it is to be stored, or NULL: answered.  Without a uid it keeps
 * the one that it has (`old` may be NULL), so that storing the same twice is
 * no change. */
static const char *
checked(cx_request_t *r, cx_json_t *card, const cx_json_t *old)
{
    size_t len;
    char *text;
    const char *why, *uid;

    uid = cx_json_text(old, "uid");

    if (uid != NULL && cx_json_get(card, "uid") == NULL) {
        cx_json_put(card, "uid", cx_json_string(card, uid));
    }

    why = cx_jscontact_check(r, card);

    if (why == NULL && !numbers_fit(card)) {
        why = "A number has too many digits when it is written out.";
    }

    text = cx_json_write(r, card, &len);

    if (len > CX_CARD_BYTES_MAX) {
        cx_problem(r, 413, "too_large", "A card has at most %d bytes.",
                   CX_CARD_BYTES_MAX);
        return NULL;
    }

    if (why != NULL) {
        cx_problem(r, 422, "invalid_card", "%s", why);
        return NULL;
    }

    return text;
}


/* `updated` as PostgreSQL takes it, NULL if it is absent or no such day; of
 * its fraction the microseconds. */
static const char *
time_stamp(cx_request_t *r, const cx_json_t *card)
{
    static const int days[] = {
        31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31
    };
    int year, month, day;
    bool leap;
    const char *text;

    text = cx_json_text(card, "updated");

    if (text == NULL || sscanf(text, "%4d-%2d-%2d", &year, &month, &day) != 3
        || year < 1 || month < 1 || month > 12 || day < 1) {
        return NULL;
    }

    leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    if (day > days[month - 1] + (month == 2 && leap ? 1 : 0)) {
        return NULL;
    }

    return talloc_asprintf(
        r, "%.*sZ",
        (int) strcspn(text, "Z") < 26 ? (int) strcspn(text, "Z") : 26, text);
}


/* A new card in the open transaction, in which the user is locked. */
static void
create(cx_request_t *r, cx_json_t *json)
{
    char *card_id;
    PGresult *result;
    const char *text;
    cx_change_t *change;

    text = checked(r, json, NULL);
    if (text == NULL) {
        return;
    }

    card_id = cx_new_id(r, CX_ID_CARD);

    if (card_id == NULL
        || !cx_query(r, &result, &SQL_CARD_INSERT, card_id, text,
                     time_stamp(r, json),
                     talloc_asprintf(r, "%d", CARDS_MAX))) {
        return;
    }

    if (PQntuples(result) == 0) {
        cx_problem(r, 409, "too_many_cards", "An account has at most %d cards.",
                   CARDS_MAX);
        return;
    }

    change = cx_change_new(r, card_id);
    change->picture = true;

    cx_answer_header(r, "Location", "/v1/cards/%s", card_id);
    cx_change_end(r, change, 201);
}


static void
post_card(cx_request_t *r)
{
    const char *own_card_id;

    if (cx_begin(r) && cx_user_lock(r, &own_card_id)) {
        create(r, r->json);
    }
}


void
cx_card_replace(cx_request_t *r, cx_change_t *change, cx_json_t *card,
                const cx_json_t *old)
{
    PGresult *result;
    const char *text;

    text = checked(r, card, old);

    if (text == NULL
        || !cx_query(r, &result, &SQL_CARD_UPDATE, change->card_id, text,
                     time_stamp(r, card))) {
        return;
    }

    /* storing the same again is how a caller who was told "not yet in force"
     * learns that it is now */
    if (cx_pg_true(result, 0, 0)) {
        change->narrower = true;

    } else {
        change->narrower = cx_pg_true(result, 0, 1);
        change->picture = cx_pg_true(result, 0, 2);
        change->forget =
            cx_pg_true(result, 0, 3) ? CX_FORGET_ALL : CX_FORGET_NONE;
    }

    cx_change_end(r, change, 200);
}


cx_json_t *
cx_card_stored(cx_request_t *r, const cx_change_t *change)
{
    const char *why;
    cx_json_t *card;

    card = cx_json_read(r, change->text, strlen(change->text), &why);

    if (card == NULL) {
        cx_alert("card %s can't be read: %s", change->card_id, why);
        cx_try_again(r);
    }

    return card;
}


static void
put_card(cx_request_t *r)
{
    cx_json_t *old;
    cx_change_t *change;

    change = cx_change_begin(r, r->params[0]);
    if (change == NULL) {
        return;
    }

    old = cx_card_stored(r, change);
    if (old != NULL) {
        cx_card_replace(r, change, r->json, old);
    }
}


static void
patch_card(cx_request_t *r)
{
    cx_json_t *old, *card;
    cx_change_t *change;

    change = cx_change_begin(r, r->params[0]);
    if (change == NULL) {
        return;
    }

    old = cx_card_stored(r, change);
    if (old == NULL) {
        return;
    }

    card = cx_json_merge_patch(r, cx_json_copy(r, old), r->json);
    cx_card_replace(r, change, card, old);
}


/* The terminal's copy of the own card: the newer one stays (D3). */
static void
put_own_card(cx_request_t *r)
{
    cx_json_t *old;
    PGresult *result;
    cx_change_t *change;
    const char *own_card_id, *stamp;

    if (!cx_begin(r) || !cx_user_lock(r, &own_card_id)) {
        return;
    }

    if (own_card_id == NULL) {
        create(r, r->json);
        return;
    }

    change = cx_change_begin(r, own_card_id);
    if (change == NULL) {
        return;
    }

    stamp = time_stamp(r, r->json);

    if (stamp == NULL) {
        cx_problem(r, 422, "invalid_card",
                   "`updated` must tell when the card was changed.");
        return;
    }

    old = cx_card_stored(r, change);

    if (old == NULL || checked(r, r->json, old) == NULL
        || !cx_query(r, &result, &SQL_CARD_IS_OLDER, own_card_id, stamp)) {
        return;
    }

    if (!cx_pg_true(result, 0, 0)) {
        cx_card_replace(r, change, r->json, old);
        return;
    }

    cx_card_answer(r, 200, own_card_id);

    if (r->status == 200) {
        cx_answer_text(
            r, 200,
            talloc_asprintf(r, "{\"unchanged\": true, %s", r->answer + 1));
    }
}


static void
get_card(cx_request_t *r)
{
    cx_card_answer(r, 200, r->params[0]);
}


static void
get_cards(cx_request_t *r)
{
    int limit;
    const char *cursor;
    PGresult *result;

    if (cx_page(r, CARDS_MAX, CX_ID_CARD, &limit, &cursor)
        && cx_query(r, &result, &SQL_CARD_LIST, talloc_asprintf(r, "%d", limit),
                    cursor)) {
        cx_answer_text(r, 200, cx_pg_text(result, 0, 0));
    }
}


/* Deleting what is deleted confirms that it is gone everywhere. */
static void
delete_card(cx_request_t *r)
{
    cx_change_t *change;
    const char *own_card_id;

    if (!cx_begin(r) || !cx_user_lock(r, &own_card_id)) {
        return;
    }

    change = cx_change_begin_any(r, r->params[0]);

    if (change != NULL) {
        (void) cx_change_erase(r, change);
    }
}


const cx_route_t cx_routes_cards[] = {
    { "GET", "/v1/cards/{c}", get_card, 0, 0 },
    { "PUT", "/v1/cards/{c}", put_card, CX_CARD_BODY, 0 },
    { "PATCH", "/v1/cards/{c}", patch_card, CX_PATCH_BODY, 0 },
    { "DELETE", "/v1/cards/{c}", delete_card, 0, 0 },
    { "POST", "/v1/cards", post_card, CX_CARD_BODY, 0 },
    { "GET", "/v1/cards", get_cards, 0, 0 },
    { "PUT", "/v1/me/card", put_own_card, CX_CARD_BODY, 0 },
    { NULL, NULL, NULL, 0, 0 }
};
