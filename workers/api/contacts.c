/* Contacts, the holder's address book: A7, E6, F4, F7. */

#include "contact_book.h"

#include <string.h>
#include <time.h>

#include "contact_media.h"
#include "contacts.sql.h"
#include "cx_buf.h"
#include "cx_jscontact.h"

#define LIST_MAX 100
#define PORTION 100   /* rows read at once when looking for something */
#define LOOK_MAX 2000 /* entries looked at by one call */
#define LOOK_TIME CLOCKS_PER_SEC /* the same; of the worker's own time */
#define QUERY_MAX 200

static const char *const addable[] = { "card_id", "key",    "own", "note",
                                       "tags",    "pinned", NULL };
static const char *const writable[] = { "own", "note", "tags", "pinned", NULL };


static bool
too_many(cx_request_t *r)
{
    cx_problem(r, 409, "too_many_contacts",
               "An address book has at most %d entries, those deleted within "
               "30 days included.",
               CX_CONTACTS_MAX);

    return false;
}


/* A card that a key opens, kept under the holder's own id (A7). */
static void
save_card(cx_request_t *r, cx_book_t *book, const char *card_id)
{
    PGresult *rows;
    cx_contact_t c;
    cx_json_t *layer;
    char *contact_id, *sealed;
    const char *key, *state, *there;
    unsigned char hash[CX_SECRET_LEN];

    if (!cx_body_text(r, "key", 100, &key)) {
        return;
    }

    layer = cx_layer_new(r, NULL);
    contact_id = cx_new_id(r, CX_ID_CONTACT);

    if (contact_id == NULL || !cx_layer_members(r, layer, r->json)) {
        return;
    }

    if (cx_id_check(&r->api->settings->id_key, CX_ID_CARD, card_id,
                    strlen(card_id))
            != 0
        || key == NULL || cx_card_key_hash(key, strlen(key), hash) != 0) {
        goto refused;
    }

    sealed = cx_book_seal(book, contact_id, layer);

    if (sealed == NULL || !cx_begin(r)
        || !cx_query(r, &rows, &SQL_CONTACT_SAVE, contact_id, card_id,
                     cx_pg_bytea(r, hash, sizeof(hash)), sealed,
                     cx_book_tokens(book, layer),
                     talloc_asprintf(r, "%d", CX_CONTACTS_MAX))) {
        return;
    }

    if (PQntuples(rows) == 0) {
        goto refused;
    }

    there = cx_pg_text(rows, 0, 0);
    state = cx_pg_text(rows, 0, 1);

    if (there == NULL) {
        too_many(r);
        return;
    }

    if (strcmp(state, "new") != 0) {
        /* what comes with it is edited by hand */
        if (!cx_book_get(book, there, &c)) {
            return;
        }

        layer = cx_json_copy(r, c.layer);

        if (!cx_layer_members(r, layer, r->json)
            || (!cx_json_same(layer, c.layer)
                && !cx_book_write(book, &c, layer, "edited", NULL))) {
            return;
        }
    }

    if (strcmp(state, "there") != 0
        && !cx_book_note(book, there,
                         strcmp(state, "new") == 0 ? "saved" : "restored", NULL,
                         NULL)) {
        return;
    }

    cx_answer_header(r, "Location", "/v1/contacts/%s", there);
    cx_book_answer(book, strcmp(state, "new") == 0 ? 201 : 200, there);

    return;

refused:

    /* one and the same, as where the card is fetched */
    cx_problem(r, 404, "key_refused", "This key does not open this card.");
}


static void
add_own(cx_request_t *r, cx_book_t *book, cx_json_t *own)
{
    PGresult *rows;
    cx_json_t *layer;
    char *contact_id, *sealed, *tokens;

    if (!cx_own_check(r, own)) {
        return;
    }

    layer = cx_layer_new(r, own);
    contact_id = cx_new_id(r, CX_ID_CONTACT);

    if (contact_id == NULL || !cx_layer_members(r, layer, r->json)) {
        return;
    }

    sealed = cx_book_seal(book, contact_id, layer);
    tokens = sealed != NULL ? cx_book_tokens(book, layer) : NULL;

    if (tokens == NULL || !cx_begin(r)
        || !cx_query(r, &rows, &SQL_CONTACT_INSERT, contact_id, sealed, tokens,
                     talloc_asprintf(r, "%d", CX_CONTACTS_MAX))) {
        return;
    }

    if (PQntuples(rows) == 0) {
        too_many(r);
        return;
    }

    if (!cx_book_note(book, contact_id, "added", NULL, NULL)
        || !cx_book_match(book, contact_id, cx_json_get(layer, "own"))) {
        return;
    }

    cx_answer_header(r, "Location", "/v1/contacts/%s", contact_id);
    cx_book_answer(book, 201, contact_id);
}


static void
post_contact(cx_request_t *r)
{
    cx_book_t *book;
    cx_json_t *own;
    const char *card_id;

    own = cx_json_get(r->json, "own");

    if (!cx_body_only(r, addable, "invalid_contact",
                      "A contact is added by `card_id` and `key` or by `own`, "
                      "with `note`, `tags` and `pinned`.")
        || !cx_body_text(r, "card_id", 100, &card_id)) {
        return;
    }

    if ((own != NULL) == (card_id != NULL)) {
        cx_problem(r, 422, "invalid_contact",
                   "The body has either `own`, a Card, or `card_id` and "
                   "`key`.");
        return;
    }

    book = cx_book_open(r);

    if (book == NULL) {
        return;
    }

    if (own != NULL) {
        add_own(r, book, own);

    } else {
        save_card(r, book, card_id);
    }
}


static void
get_contact(cx_request_t *r)
{
    cx_book_t *book;

    book = cx_book_open(r);

    if (book != NULL) {
        cx_book_answer(book, 200, r->params[0]);
    }
}


/* What is looked for: each word of the query is somewhere in the entry. */
typedef struct {
    char **words; /* NULL-terminated, normalised */
    char *tag;
} filter_t;

typedef struct {
    cx_book_t *book;
    filter_t filter;
    bool deleted;
    int limit;
    cx_json_t *items;
    char *last; /* looked at so far: the cursor */
    int looked;
    clock_t end;
    bool more; /* there is another one */
} list_t;


static bool
read_filter(cx_request_t *r, filter_t *f)
{
    size_t n;
    char *p, *text, *save;
    const char *q, *tag;

    memset(f, 0, sizeof(*f));
    q = cx_argument(r, "q");
    tag = cx_argument(r, "tag");

    if (q != NULL && (*q == '\0' || strlen(q) > QUERY_MAX)) {
        cx_problem(r, 422, "invalid_q", "`q` has 1 to %d bytes.", QUERY_MAX);
        return false;
    }

    if (tag != NULL && (*tag == '\0' || strlen(tag) > QUERY_MAX)) {
        cx_problem(r, 422, "invalid_tag", "`tag` has 1 to %d bytes.",
                   QUERY_MAX);
        return false;
    }

    if (tag != NULL) {
        f->tag = cx_merge_text(r, tag);
    }

    if (q != NULL) {
        text = cx_merge_text(r, q);
        f->words = cx_must(talloc_zero_array(r, char *, strlen(text) / 2 + 2));
        n = 0;

        for (p = strtok_r(text, " ", &save); p != NULL;
             p = strtok_r(NULL, " ", &save)) {
            f->words[n++] = p;
        }
    }

    return true;
}


static bool
has_tag(const cx_json_t *tags, const char *wanted)
{
    size_t i;
    char *tag;
    bool same;

    for (i = 0; tags != NULL && i < tags->n; i++) {
        tag = cx_merge_text(NULL, tags->items[i]->text);
        same = strcmp(tag, wanted) == 0;
        talloc_free(tag);

        if (same) {
            return true;
        }
    }

    return false;
}


static bool
passes(TALLOC_CTX *ctx, const filter_t *f, const cx_contact_t *c)
{
    size_t i;
    char **word, *text;
    const cx_json_t *tags;

    tags = cx_json_get(c->layer, "tags");

    if (f->tag != NULL && !has_tag(tags, f->tag)) {
        return false;
    }

    if (f->words == NULL) {
        return true;
    }

    text = cx_merge_words(ctx, c->card);

    if (cx_json_text(c->layer, "note") != NULL) {
        text = cx_must(talloc_asprintf_append(
            text, "%s\n", cx_merge_text(ctx, cx_json_text(c->layer, "note"))));
    }

    for (i = 0; tags != NULL && i < tags->n; i++) {
        text = cx_must(talloc_asprintf_append(
            text, "%s\n", cx_merge_text(ctx, tags->items[i]->text)));
    }

    for (word = f->words; *word != NULL; word++) {
        if (strstr(text, *word) == NULL) {
            return false;
        }
    }

    return true;
}


static bool
read_deleted(cx_request_t *r, bool *deleted)
{
    const char *text;

    text = cx_argument(r, "deleted");
    *deleted = text != NULL && strcmp(text, "true") == 0;

    if (text != NULL && !*deleted && strcmp(text, "false") != 0) {
        cx_problem(r, 422, "invalid_deleted", "`deleted` is true or false.");
        return false;
    }

    return true;
}


/* Looks at an entry, or leaves it to the next call.  What is not shown is let
 * go of at once.  False: answered. */
static bool
look_at(list_t *l, const PGresult *rows, int row)
{
    cx_contact_t c;
    bool good, shown;
    TALLOC_CTX *one;

    if (l->looked == LOOK_MAX || (l->looked > 0 && clock() > l->end)) {
        l->more = true;
        return true;
    }

    one = cx_must(talloc_new(l->book->r));
    good = cx_book_row(l->book, one, rows, row, &c);
    shown = good && passes(one, &l->filter, &c);

    if (shown && l->items->n == (size_t) l->limit) {
        l->more = true;

    } else if (good) {
        good = !shown || cx_contact_thumbnail_ask(l->book, &c);

        if (good && shown) {
            cx_json_append(l->items, cx_book_envelope(l->items, &c));
        }

        l->looked++;
        talloc_free(l->last);
        l->last = cx_must(talloc_strdup(l->book->r, c.contact_id));
    }

    talloc_free(one);

    return good;
}


/* Opens the book portion by portion: entries may be large.  False:
 * answered. */
static bool
look(list_t *l, const char *after)
{
    int i, n, portion;
    PGresult *rows;
    TALLOC_CTX *ctx;

    portion = l->filter.tag == NULL && l->filter.words == NULL ? l->limit + 1
                                                               : PORTION;

    do {
        ctx = cx_must(talloc_new(l->book->r));

        if (!cx_book_page(l->book, ctx, l->last != NULL ? l->last : after,
                          l->deleted, portion, &rows)) {
            return false;
        }

        n = PQntuples(rows);

        for (i = 0; i < n && !l->more; i++) {
            if (!look_at(l, rows, i)) {
                return false;
            }
        }

        talloc_free(ctx);
    } while (n == portion && !l->more);

    return true;
}


static void
get_contacts(cx_request_t *r)
{
    list_t l;
    cx_json_t *answer;
    const char *cursor;

    memset(&l, 0, sizeof(l));

    if (!cx_page(r, LIST_MAX, CX_ID_CONTACT, &l.limit, &cursor)
        || !read_filter(r, &l.filter) || !read_deleted(r, &l.deleted)
        || (l.book = cx_book_open(r)) == NULL) {
        return;
    }

    answer = cx_json_object(r);
    l.items = cx_json_put(answer, "items", cx_json_array(answer));
    l.end = clock() + LOOK_TIME;

    if (!look(&l, cursor)) {
        return;
    }

    if (l.more) {
        cx_json_put(answer, "next", cx_json_string(answer, l.last));
    }

    cx_answer_header(r, "Cache-Control", "private, no-cache");
    cx_answer_json(r, 200, answer);
}


/* What is edited by hand stays as it is; what is taken out by hand leaves
 * nothing to pin. */
static void
pin_changes(cx_json_t *layer, const cx_json_t *before, const cx_json_t *after)
{
    size_t i, j;
    const char *path;
    cx_json_t *changes, *pinned, *was, *is;

    changes = cx_merge_changes(layer, before, after);
    was = cx_json_get(layer, "pinned");
    pinned = cx_json_array(layer);

    for (i = 0; was != NULL && i < was->n; i++) {
        path = was->items[i]->text;

        for (j = 0; j < changes->n; j++) {
            if (strcmp(cx_json_text(changes->items[j], "path"), path) == 0) {
                break;
            }
        }

        if (j == changes->n) {
            cx_json_append(pinned, cx_json_string(pinned, path));
        }
    }

    for (i = 0; i < changes->n; i++) {
        is = cx_json_get(changes->items[i], "new");
        path = cx_json_text(changes->items[i], "path");

        if (is != NULL && strcmp(path, "uid") != 0
            && strcmp(path, "prodId") != 0) {
            cx_json_append(pinned, cx_json_string(pinned, path));
        }
    }

    talloc_free(changes);

    if (pinned->n > 0) {
        cx_json_put(layer, "pinned", pinned);

    } else {
        talloc_free(pinned);
        cx_json_remove(layer, "pinned");
    }
}


/* The Card of the holder's, patched; NULL: answered. */
static cx_json_t *
patched_own(cx_request_t *r, const cx_contact_t *c, const cx_json_t *patch)
{
    const char *uid;
    cx_json_t *own;

    own = cx_json_merge_patch(r, cx_json_copy(r, c->own), patch);
    uid = cx_json_text(c->own, "uid");

    if (own->type == CX_JSON_OBJECT && uid != NULL
        && cx_json_get(own, "uid") == NULL) {
        cx_json_put(own, "uid", cx_json_string(own, uid));
    }

    return cx_own_check(r, own) ? own : NULL;
}


static void
patch_contact(cx_request_t *r)
{
    cx_contact_t c;
    cx_book_t *book;
    cx_json_t *own, *layer;
    const cx_json_t *patch;

    if (!cx_body_only(r, writable, "invalid_contact",
                      "Of a contact `own`, `note`, `tags` and `pinned` can be "
                      "written.")
        || (book = cx_book_open(r)) == NULL
        || !cx_book_lock(book, r->params[0], &c)) {
        return;
    }

    if (c.deleted) {
        cx_problem_no_such(r, "contact");
        return;
    }

    layer = cx_json_copy(r, c.layer);
    patch = cx_json_get(r->json, "own");

    if (patch != NULL) {
        own = patched_own(r, &c, patch);

        if (own == NULL) {
            return;
        }

        pin_changes(layer, c.own, own);
        cx_json_put(layer, "own", own);
    }

    if (!cx_layer_members(r, layer, r->json)) {
        return;
    }

    if (!cx_json_same(layer, c.layer)
        && (!cx_book_note_live(book, &c)
            || !cx_book_write(book, &c, layer, "edited", NULL))) {
        return;
    }

    cx_book_answer(book, 200, r->params[0]);
}


static void
delete_contact(cx_request_t *r)
{
    cx_contact_t c;
    cx_book_t *book;
    PGresult *result;

    book = cx_book_open(r);

    if (book == NULL || !cx_book_lock(book, r->params[0], &c)) {
        return;
    }

    if (!c.deleted
        && (!cx_query(r, &result, &SQL_CONTACT_DELETE, r->params[0])
            || !cx_book_note(book, r->params[0], "deleted", NULL, NULL)
            || !cx_book_match(book, r->params[0], NULL)
            || !cx_book_end(book))) {
        return;
    }

    cx_answer_empty(r, 204);
}


const cx_route_t cx_routes_contacts[] = {
    { "POST", "/v1/contacts", post_contact, CX_JSON_BODY, 0 },
    { "GET", "/v1/contacts", get_contacts, 0, 0 },
    { "GET", "/v1/contacts/{o}", get_contact, 0, 0 },
    { "PATCH", "/v1/contacts/{o}", patch_contact, CX_PATCH_BODY, 0 },
    { "DELETE", "/v1/contacts/{o}", delete_contact, 0, 0 },
    { NULL, NULL, NULL, 0, 0 }
};
