/* What changed in a contact, and taking it back: E6, F7. */

#include "contact_book.h"

#include <string.h>

#include "contact_history.sql.h"
#include "cx_buf.h"
#include "cx_jscontact.h"

#define PAGE_MAX 100


/* What the live card has shown is shown for as long as the grants show it:
 * what they leave out stays out of the history too. */
static bool
path_shows(TALLOC_CTX *ctx, char *const *fields, const char *path)
{
    char *head;

    head = cx_must(talloc_strndup(ctx, path, strcspn(path, "/")));

    return cx_fields_show(fields, path) || cx_fields_show(fields, head);
}


static cx_json_t *
shown_changes(TALLOC_CTX *ctx, const cx_json_t *all, bool whole, bool live,
              char *const *fields)
{
    size_t i;
    cx_json_t *changes;

    changes = cx_json_array(ctx);

    for (i = 0; all != NULL && i < all->n; i++) {
        if (whole
            || (live
                && path_shows(changes, fields,
                              cx_json_text(all->items[i], "path")))) {
            cx_json_append(changes, cx_json_copy(changes, all->items[i]));
        }
    }

    return changes;
}


static cx_json_t *
read_entry(cx_book_t *book, TALLOC_CTX *ctx, const char *contact_id,
           const PGresult *rows, int row, int column)
{
    size_t len;
    const char *why;
    unsigned char *text;

    if (cx_pg_text(rows, row, column) == NULL) {
        return cx_json_object(ctx);
    }

    text = cx_book_open_bytes(
        book, ctx, cx_must(talloc_asprintf(ctx, "history %s", contact_id)),
        rows, row, column, &len);

    return text != NULL ? cx_json_read(ctx, (char *) text, len, &why) : NULL;
}


cx_json_t *
cx_history_item(cx_book_t *book, TALLOC_CTX *ctx, const char *contact_id,
                const PGresult *rows, int row, int column, const char *card_id,
                char *const *fields)
{
    bool whole, live;
    const char *what, *about;
    cx_json_t *entry, *item;

    entry = read_entry(book, ctx, contact_id, rows, row, column + 2);

    if (entry == NULL) {
        cx_alert("history of %s can't be read", contact_id);
        cx_try_again(book->r);
        return NULL;
    }

    what = cx_pg_text(rows, row, column);
    whole = strcmp(what, "live") != 0;
    about = cx_json_text(entry, "card_id");
    live = card_id != NULL && about != NULL && strcmp(about, card_id) == 0;
    item = cx_json_object(ctx);
    cx_json_put(item, "at",
                cx_json_string(item, cx_pg_text(rows, row, column + 1)));
    cx_json_put(item, "what", cx_json_string(item, what));
    cx_json_put(item, "changes",
                shown_changes(item, cx_json_get(entry, "changes"), whole, live,
                              fields));

    return item;
}


static void
get_history(cx_request_t *r)
{
    int i, limit;
    cx_contact_t c;
    cx_book_t *book;
    PGresult *rows;
    const char *cursor;
    cx_json_t *answer, *items, *item;

    if (!cx_page(r, PAGE_MAX, 0, &limit, &cursor)) {
        return;
    }

    book = cx_book_open(r);

    if (book == NULL || !cx_book_get(book, r->params[0], &c)
        || !cx_book_note_live(book, &c)
        || !cx_query(r, &rows, &SQL_HISTORY_LIST, r->params[0], cursor,
                     talloc_asprintf(r, "%d", limit + 1))) {
        return;
    }

    answer = cx_json_object(r);
    items = cx_json_put(answer, "items", cx_json_array(answer));

    for (i = 0; i < PQntuples(rows) && i < limit; i++) {
        item = cx_history_item(book, r, r->params[0], rows, i, 1,
                               c.live != NULL ? c.card_id : NULL, c.fields);

        if (item == NULL) {
            return;
        }

        cx_json_append(items, item);
    }

    if (PQntuples(rows) > limit) {
        cx_json_put(answer, "next",
                    cx_json_string(answer, cx_pg_text(rows, limit - 1, 0)));
    }

    cx_answer_header(r, "Cache-Control", "private, no-cache");
    cx_answer_json(r, 200, answer);
}


/* Texts of both lists, none twice, at most `most`. */
static void
join_lists(cx_json_t *layer, const cx_json_t *other, const char *name,
           size_t most)
{
    size_t i, j;
    cx_json_t *list;
    const cx_json_t *more;

    list = cx_json_get(layer, name);
    more = cx_json_get(other, name);

    if (more == NULL) {
        return;
    }

    if (list == NULL) {
        list = cx_json_put(layer, name, cx_json_array(layer));
    }

    for (i = 0; i < more->n && list->n < most; i++) {
        for (j = 0; j < list->n; j++) {
            if (strcmp(list->items[j]->text, more->items[i]->text) == 0) {
                break;
            }
        }

        if (j == list->n) {
            cx_json_append(list, cx_json_copy(list, more->items[i]));
        }
    }
}


/* Both notes, the one that stays first. */
static void
join_notes(cx_json_t *layer, const cx_json_t *other)
{
    const char *note, *more;

    note = cx_json_text(layer, "note");
    more = cx_json_text(other, "note");

    if (more == NULL || (note != NULL && strcmp(note, more) == 0)) {
        return;
    }

    more = note != NULL ? cx_must(talloc_asprintf(layer, "%s\n%s", note, more))
                        : more;
    cx_json_put(layer, "note", cx_json_string(layer, more));
}


/* Two entries of one person: nothing of either is lost.  Where both have
 * another value in the same place, both stay, under ids of their own. */
static cx_json_t *
joined(cx_book_t *book, const cx_contact_t *c, const cx_contact_t *other)
{
    size_t i, j;
    char *uid;
    cx_json_t *layer, *own, *items, *copy, *uids, *loose;
    const cx_json_t *property;
    cx_request_t *r = book->r;

    layer = cx_json_copy(r, c->layer);
    loose = cx_json_copy(r, other->own);

    /* a label of its own for each item makes each place its own */
    for (i = 0; i < loose->n; i++) {
        property = loose->items[i];

        for (j = 0; cx_is_items(property) && j < property->n; j++) {
            copy = property->items[j];

            if (cx_json_get(copy, "label") == NULL) {
                cx_json_put(copy, "label", cx_json_string(copy, "\x01"));
            }
        }
    }

    own = cx_merge(r, &book->rules, loose, NULL, NULL);
    own = cx_merge(r, &book->rules, c->own, own, NULL);

    for (i = 0; i < own->n; i++) {
        items = own->items[i];
        property = cx_json_get(c->own, items->name);

        for (j = 0; cx_is_items(items) && j < items->n; j++) {
            copy = items->items[j];

            if (cx_json_text(copy, "label") != NULL
                && strcmp(cx_json_text(copy, "label"), "\x01") == 0) {
                cx_json_remove(copy, "label");
            }
        }
    }

    /* of what there is only one of, the entry that stays has its own; an
     * empty collection is none */
    for (i = 0; i < c->own->n; i++) {
        property = c->own->items[i];

        if (property->type == CX_JSON_OBJECT && property->n == 0) {
            continue;
        }

        if (!cx_is_items(property) && property->type != CX_JSON_ARRAY
            && cx_json_get(own, property->name) != NULL
            && strcmp(property->name, "keywords") != 0) {
            cx_json_put(own, property->name, cx_json_copy(own, property));
        }
    }

    cx_json_put(layer, "own", own);
    join_notes(layer, other->layer);
    join_lists(layer, other->layer, "tags", SIZE_MAX);
    join_lists(layer, other->layer, "uids", 20);
    uid = (char *) cx_json_text(other->own, "uid");
    uids = cx_json_get(layer, "uids");

    if (uid != NULL && (uids == NULL || uids->n < 20)) {
        uids = uids != NULL ? uids
                            : cx_json_put(layer, "uids", cx_json_array(layer));
        cx_json_append(uids, cx_json_string(uids, uid));
    }

    return layer;
}


static void
post_merge(cx_request_t *r)
{
    const char *with, *why;
    PGresult *result;
    cx_book_t *book;
    cx_contact_t c, other;
    cx_json_t *layer, *undo;

    if (!cx_body_text(r, "with", 100, &with)) {
        return;
    }

    if (with == NULL
        || cx_id_check(&r->api->settings->id_key, CX_ID_CONTACT, with,
                       strlen(with))
               != 0
        || strcmp(with, r->params[0]) == 0) {
        cx_problem(r, 422, "invalid_with",
                   "`with` is the id of another contact of yours.");
        return;
    }

    book = cx_book_open(r);

    if (book == NULL || !cx_begin(r)
        || !cx_query(r, &result, &SQL_CONTACT_LOCK_BOTH, r->params[0], with)
        || !cx_book_lock(book, r->params[0], &c)
        || !cx_book_get(book, with, &other)) {
        return;
    }

    if (c.deleted) {
        cx_problem_no_such(r, "contact");
        return;
    }

    layer = joined(book, &c, &other);

    if (!cx_own_check(r, cx_json_get(layer, "own"))) {
        return;
    }

    why = cx_layer_wrong(layer);

    if (why != NULL) {
        cx_problem(r, 409, "too_much_together", "%s", why);
        return;
    }

    undo = cx_json_object(r);
    cx_json_put(undo, "layer", cx_json_copy(undo, c.layer));
    cx_json_put(undo, "with", cx_json_string(undo, with));

    if (!cx_query(r, &result, &SQL_CONTACT_JOIN, r->params[0], with)) {
        return;
    }

    if (PQntuples(result) == 0) {
        cx_problem(r, 409, "two_cards",
                   "Each of the two follows a card of its own.");
        return;
    }

    if (!PQgetisnull(result, 0, 0)) {
        cx_json_put(undo, "card_id",
                    cx_json_string(undo, cx_pg_text(result, 0, 0)));
    }

    if (!cx_book_note(book, with, "deleted", NULL, NULL)
        || !cx_book_match(book, with, NULL)
        || !cx_book_write(book, &c, layer, "merged", undo)) {
        return;
    }

    cx_book_answer(book, 200, r->params[0]);
}


static void
nothing_to_restore(cx_request_t *r)
{
    cx_problem(r, 409, "nothing_to_restore",
               "There is nothing to take back, or it was more than 30 days "
               "ago.");
}


/* The last merge that has not been undone; NULL: answered. */
static cx_json_t *
last_merge(cx_book_t *book, const char *contact_id)
{
    int i, undone;
    PGresult *rows;
    cx_json_t *entry;
    cx_request_t *r = book->r;

    if (!cx_query(r, &rows, &SQL_HISTORY_MERGES, contact_id)) {
        return NULL;
    }

    undone = 0;

    for (i = 0; i < PQntuples(rows); i++) {
        if (strcmp(cx_pg_text(rows, i, 0), "unmerged") == 0) {
            undone++;

        } else if (undone > 0) {
            undone--;

        } else {
            entry = read_entry(book, r, contact_id, rows, i, 1);

            if (entry != NULL && cx_json_get(entry, "undo") != NULL) {
                return cx_json_get(entry, "undo");
            }

            break;
        }
    }

    nothing_to_restore(r);

    return NULL;
}


/* Takes the last merge back: both are as they were.  What was edited since
 * is in the history. */
static void
unmerge(cx_book_t *book, const char *contact_id)
{
    cx_contact_t c, other;
    PGresult *result;
    const char *with;
    cx_json_t *undo, *layer;
    cx_request_t *r = book->r;

    undo = last_merge(book, contact_id);

    if (undo == NULL || !cx_book_get(book, contact_id, &c)) {
        return;
    }

    with = cx_json_text(undo, "with");
    layer = cx_json_get(undo, "layer");

    if (!cx_query(r, &result, &SQL_CONTACT_PART, contact_id, with,
                  cx_json_text(undo, "card_id"))) {
        return;
    }

    if (!cx_pg_true(result, 0, 0)) {
        nothing_to_restore(r);
        return;
    }

    if (!cx_book_note(book, with, "restored", NULL, NULL)
        || !cx_book_get(book, with, &other)
        || !cx_book_match(book, with, other.own)
        || !cx_book_write(book, &c, layer, "unmerged", NULL)) {
        return;
    }

    cx_book_answer(book, 200, contact_id);
}


static void
post_restore(cx_request_t *r)
{
    cx_contact_t c;
    cx_book_t *book;
    PGresult *result;

    book = cx_book_open(r);

    if (book == NULL || !cx_book_lock(book, r->params[0], &c)) {
        return;
    }

    if (!c.deleted) {
        unmerge(book, r->params[0]);
        return;
    }

    if (!cx_query(r, &result, &SQL_CONTACT_RESTORE, r->params[0])) {
        return;
    }

    if (PQntuples(result) == 0) {
        nothing_to_restore(r);
        return;
    }

    if (!cx_book_note(book, r->params[0], "restored", NULL, NULL)
        || !cx_book_match(book, r->params[0], c.own)) {
        return;
    }

    cx_book_answer(book, 200, r->params[0]);
}


const cx_route_t cx_routes_contact_history[] = {
    { "GET", "/v1/contacts/{o}/history", get_history, 0, 0 },
    { "POST", "/v1/contacts/{o}/merge", post_merge, CX_JSON_BODY, 0 },
    { "POST", "/v1/contacts/{o}/restore", post_restore, 0, 0 },
    { NULL, NULL, NULL, 0, 0 }
};
