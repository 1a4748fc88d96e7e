/*
 * An address book that is uploaded: D4, D7, F7.
 *
 * vCards as phones and mail programs write them, or a JSON array of Cards or
 * of what the export gives.  An entry that is in the book already is merged
 * into the holder's layer, as a live card would be; what it says already
 * changes nothing.
 */

#include "contact_book.h"

#include <string.h>

#include "contact_import.sql.h"
#include "contact_index.h"
#include "contact_media.h"
#include "contact_transfer.h"
#include "card_change.h"
#include "clock.h"
#include "cx_buf.h"
#include "cx_jscontact.h"
#include "cx_vcard.h"

#define BODY_MAX 8388608
#define ENTRIES_MAX 1000
#define IMPORT_MS 20000 /* a worker is held for no longer */
#define UIDS_MAX 20

typedef struct {
    cx_book_t *book;
    cx_contact_index_t *index;
    size_t n;      /* entries of the book */
    size_t number; /* of the entry in hand, from 0 */
    int added;
    int merged;
    int unchanged;
    int64_t until; /* ms; what is left then is for another call */
    cx_json_t *refused;
} import_t;


static void
refuse(import_t *m, const char *reason)
{
    cx_json_t *item;

    item = cx_json_append(m->refused, cx_json_object(m->refused));
    cx_json_put(item, "index", cx_json_integer(item, (int64_t) m->number));
    cx_json_put(item, "reason", cx_json_string(item, reason));
}


static bool
store_media(import_t *m, const char *contact_id, const cx_media_list_t *media)
{
    size_t i;

    for (i = 0; i < media->n; i++) {
        if (!cx_contact_medium_write(
                m->book, contact_id, media->items[i].kind, media->items[i].type,
                media->items[i].bytes, media->items[i].len)) {
            return false;
        }
    }

    return true;
}


/* Leaves out the media that the contact has.  False: answered. */
static bool
new_media(import_t *m, TALLOC_CTX *ctx, const cx_contact_t *c,
          cx_media_list_t *media)
{
    size_t i, n, len;
    PGresult *rows;
    unsigned char *bytes;
    const char *type, *id;
    cx_request_t *r = m->book->r;

    for (i = n = 0; i < media->n; i++) {
        bytes = cx_contact_medium_read(m->book, ctx, c->contact_id,
                                       media->items[i].kind, &type, &id, &len);

        if (bytes == NULL) {
            return false;
        }

        /* what the export writes of a live photo */
        id = cx_json_text(cx_json_get(c->live_media, media->items[i].kind),
                          "media_id");

        if (len == 0 && id != NULL) {
            if (!cx_query(r, &rows, &SQL_CONTACT_VCARD_PHOTO, id)) {
                return false;
            }

            if (cx_pg_text(rows, 0, 0) != NULL) {
                bytes = cx_pg_bytes(ctx, rows, 0, 0, &len);
            }
        }

        if (len != media->items[i].len || bytes == NULL
            || memcmp(bytes, media->items[i].bytes, len) != 0) {
            media->items[n++] = media->items[i];
        }
    }

    media->n = n;

    return true;
}


static bool
has_text(const cx_json_t *list, const char *text)
{
    size_t i;

    for (i = 0; list != NULL && i < list->n; i++) {
        if (strcmp(list->items[i]->text, text) == 0) {
            return true;
        }
    }

    return false;
}


static void
add_text(cx_json_t *layer, const char *name, const char *text, size_t most)
{
    cx_json_t *list;

    list = cx_json_get(layer, name);

    if (has_text(list, text) || (list != NULL && list->n >= most)) {
        return;
    }

    if (list == NULL) {
        list = cx_json_put(layer, name, cx_json_array(layer));
    }

    cx_json_append(list, cx_json_string(list, text));
}


/* The contact's layer with what the entry says besides. */
static cx_json_t *
joined(import_t *m, TALLOC_CTX *ctx, const cx_contact_t *c,
       const cx_json_t *entry, bool has_uid)
{
    size_t i;
    cx_json_t *layer;
    const cx_json_t *tags;
    const char *note, *more, *uid;

    layer = cx_json_copy(ctx, c->layer);
    cx_json_put(layer, "own",
                cx_merge(layer, &m->book->rules, c->own,
                         cx_json_get(entry, "own"),
                         cx_json_get(layer, "pinned")));

    note = cx_json_text(layer, "note");
    more = cx_json_text(entry, "note");

    if (more != NULL && (note == NULL || strstr(note, more) == NULL)) {
        more = note != NULL
                   ? cx_must(talloc_asprintf(layer, "%s\n%s", note, more))
                   : more;

        if (strlen(more) <= CX_NOTE_MAX) {
            cx_json_put(layer, "note", cx_json_string(layer, more));
        }
    }

    tags = cx_json_get(entry, "tags");

    for (i = 0; tags != NULL && i < tags->n; i++) {
        add_text(layer, "tags", tags->items[i]->text, 100);
    }

    uid = cx_json_text(cx_json_get(entry, "own"), "uid");

    if (has_uid && strcmp(uid, cx_json_text(c->own, "uid")) != 0) {
        add_text(layer, "uids", uid, UIDS_MAX);
    }

    return layer;
}


/* Into an entry that is there.  False: answered. */
static bool
merge_into(import_t *m, TALLOC_CTX *ctx, const char *contact_id,
           const cx_json_t *raw, const cx_json_t *entry, bool has_uid,
           cx_media_list_t *media)
{
    size_t n, n_uids;
    cx_contact_t c;
    unsigned char *tokens;
    cx_json_t *layer, *shown, *changes;

    if (!cx_book_get(m->book, contact_id, &c)
        || !new_media(m, ctx, &c, media)) {
        return false;
    }

    /* all that it says is shown already, be it live */
    shown = cx_transfer_card(ctx, &c);
    changes = cx_merge_changes(
        ctx, shown, cx_merge(ctx, &m->book->rules, shown, raw, NULL));

    layer = changes->n > 0 ? joined(m, ctx, &c, entry, has_uid) : c.layer;

    if (cx_json_same(layer, c.layer) && media->n == 0) {
        m->unchanged++;
        return true;
    }

    if (strlen(cx_json_write(ctx, cx_json_get(layer, "own"), &n)) == 0
        || n > CX_CARD_BYTES_MAX) {
        refuse(m, "Merged, the entry would be too large.");
        return true;
    }

    if (!cx_book_note_live(m->book, &c)
        || !cx_book_write(m->book, &c, layer, "imported", NULL)
        || !store_media(m, contact_id, media)) {
        return false;
    }

    tokens = cx_book_token_bytes(m->book, ctx, layer, &n, &n_uids);

    if (tokens == NULL) {
        return false;
    }

    cx_contact_index_add(m->index, tokens, n, contact_id);
    m->merged++;

    return true;
}


/* A new entry.  False: answered. */
static bool
add(import_t *m, TALLOC_CTX *ctx, const cx_json_t *entry,
    const cx_media_list_t *media)
{
    size_t n, n_uids;
    PGresult *rows;
    char *contact_id, *sealed, *parameter;
    unsigned char *tokens;
    cx_request_t *r = m->book->r;

    if (m->n >= CX_CONTACTS_MAX) {
        refuse(m, "The address book is full.");
        return true;
    }

    contact_id = cx_new_id(r, CX_ID_CONTACT);

    if (contact_id == NULL) {
        return false;
    }

    sealed = cx_book_seal(m->book, contact_id, entry);
    tokens = cx_book_token_bytes(m->book, ctx, entry, &n, &n_uids);

    if (sealed == NULL || tokens == NULL) {
        return false;
    }

    parameter = cx_pg_bytea(ctx, tokens, n * CX_TOKEN_SIZE);

    if (!cx_query(r, &rows, &SQL_CONTACT_IMPORT, contact_id, sealed, parameter)
        || !store_media(m, contact_id, media)
        || !cx_book_match(m->book, contact_id, cx_json_get(entry, "own"))) {
        return false;
    }

    talloc_free(sealed);
    cx_contact_index_add(m->index, tokens, n, contact_id);
    m->n++;
    m->added++;

    return true;
}


static bool
import_one(import_t *m, TALLOC_CTX *ctx, cx_json_t *raw, cx_json_t *members)
{
    bool has_uid;
    size_t n, n_uids, skip;
    const char *why, *there;
    cx_json_t *entry;
    unsigned char *tokens;
    cx_media_list_t media;

    has_uid = cx_json_text(raw, "uid") != NULL;
    cx_transfer_media(ctx, raw, &media);
    why = cx_jscontact_check(ctx, raw);

    if (why != NULL) {
        refuse(m, why);
        return true;
    }

    (void) cx_json_write(ctx, raw, &n);

    if (n > CX_CARD_BYTES_MAX) {
        refuse(m, "The entry is too large.");
        return true;
    }

    entry = cx_transfer_layer(ctx, raw, members);
    why = cx_layer_wrong(entry);

    if (why != NULL) {
        refuse(m, why);
        return true;
    }

    tokens = cx_book_token_bytes(m->book, ctx, entry, &n, &n_uids);

    if (tokens == NULL) {
        return false;
    }

    /* a uid that was drawn just now is nobody's */
    skip = has_uid ? 0 : n_uids;
    there = cx_contact_index_find(m->index, tokens + skip * CX_TOKEN_SIZE,
                                  n - skip);

    return there != NULL
               ? merge_into(m, ctx, there, raw, entry, has_uid, &media)
               : add(m, ctx, entry, &media);
}


/* One entry, as it came, and what it is merged into: all that is read for it
 * goes with ctx.  False: answered, which ends it all. */
static bool
import_entry(import_t *m, TALLOC_CTX *ctx, cx_json_t *raw, cx_json_t *members)
{
    bool ok;
    cx_request_t *r = m->book->r;

    if (cx_monotonic_ms() > m->until) {
        refuse(m, "The import took too long before this entry: send it again.");
        return true;
    }

    r->scratch = ctx;
    ok = import_one(m, ctx, raw, members);
    r->scratch = r;

    return ok;
}


static void
skip_blanks(const char **text, size_t *left)
{
    while (*left > 0 && memchr(" \t\r\n", **text, 4) != NULL) {
        (*text)++;
        (*left)--;
    }
}


/* False: answered. */
static bool
import_vcards(import_t *m)
{
    bool ok;
    size_t left;
    TALLOC_CTX *ctx;
    cx_json_t *card;
    const char *text, *why;
    cx_request_t *r = m->book->r;

    text = r->body;
    left = r->body_len;

    for (ok = true; ok; m->number++) {
        skip_blanks(&text, &left);

        if (left == 0) {
            return true;
        }

        ctx = talloc_new(r);
        card = cx_vcard_read(ctx, &text, &left, &why);

        if (card == NULL) {
            refuse(m, why);

        } else {
            ok = import_entry(m, ctx, card, NULL);
        }

        talloc_free(ctx);
    }

    return false;
}


static bool
import_json(import_t *m, const cx_json_t *list)
{
    bool ok;
    TALLOC_CTX *ctx;
    cx_json_t *item, *card;

    for (ok = true; ok && m->number < list->n; m->number++) {
        item = list->items[m->number];
        card = cx_json_get(item, "own");

        if (item->type != CX_JSON_OBJECT
            || (card != NULL && card->type != CX_JSON_OBJECT)) {
            refuse(m, "The entry is no object.");
            continue;
        }

        ctx = talloc_new(m->book->r);
        ok = import_entry(m, ctx, cx_json_copy(ctx, card != NULL ? card : item),
                          card != NULL ? item : NULL);
        talloc_free(ctx);
    }

    return ok;
}


static bool
is_vcard(const cx_request_t *r)
{
    return strcmp(r->type, "text/vcard") == 0
           || strcmp(r->type, "text/x-vcard") == 0;
}


/* A list of entries from the body; *list NULL: vCards.  False: answered. */
static bool
read_list(cx_request_t *r, cx_json_t **list)
{
    size_t n, left;
    const char *text, *why;

    *list = NULL;

    if (is_vcard(r)) {
        n = cx_vcard_count(r->body, r->body_len);
        text = r->body;
        left = r->body_len;
        skip_blanks(&text, &left);

        if (n == 0 && left > 0) {
            cx_problem(r, 422, "invalid_body",
                       "There is no vCard in the body, or it is not in UTF-8.");
            return false;
        }

    } else if (strcmp(r->type, "application/json") == 0) {
        *list = cx_json_read(r, r->body, r->body_len, &why);

        if (*list == NULL) {
            cx_problem(r, 400, "invalid_json", "%s", why);
            return false;
        }

        if ((*list)->type != CX_JSON_ARRAY) {
            cx_problem(r, 422, "invalid_body", "The body must be an array.");
            return false;
        }

        n = (*list)->n;

    } else {
        cx_problem(r, 415, "unsupported_type",
                   "The body must be text/vcard or application/json.");
        return false;
    }

    if (n > ENTRIES_MAX) {
        cx_problem(r, 413, "too_large",
                   "A call takes at most %d entries: send them in parts.",
                   ENTRIES_MAX);
        return false;
    }

    return true;
}


static void
post_import(cx_request_t *r)
{
    import_t m;
    cx_json_t *list, *answer;
    const char *own_card_id;

    memset(&m, 0, sizeof(m));

    /* two imports of one book are made one after the other */
    if (!read_list(r, &list) || (m.book = cx_book_open(r)) == NULL
        || !cx_begin(r) || !cx_user_lock(r, &own_card_id)
        || (m.index = cx_contact_index(m.book, &m.n)) == NULL) {
        return;
    }

    m.until = cx_monotonic_ms() + IMPORT_MS;
    m.refused = cx_json_array(r);

    if (!(list != NULL ? import_json(&m, list) : import_vcards(&m))
        || !cx_book_end(m.book)) {
        return;
    }

    answer = cx_json_object(r);
    cx_json_put(answer, "added", cx_json_integer(answer, m.added));
    cx_json_put(answer, "merged", cx_json_integer(answer, m.merged));
    cx_json_put(answer, "unchanged", cx_json_integer(answer, m.unchanged));
    cx_json_put(answer, "refused", m.refused);
    cx_answer_json(r, 200, answer);
}


const cx_route_t cx_routes_contact_import[] = {
    { "POST", "/v1/contacts/import", post_import, CX_RAW_BODY, BODY_MAX },
    { NULL, NULL, NULL, 0, 0 }
};
