#include "contact_book.h"

#include <stdlib.h>
#include <string.h>
#include <openssl/crypto.h>
#include <openssl/hmac.h>

#include "card_body.h"
#include "contact_book.sql.h"
#include "contact_media.h"
#include "crypto.h"
#include "cx_buf.h"
#include "cx_jscontact.h"
#include "match_keys.h"

#define ABOUT_LAYER "contact"
#define ABOUT_SEEN "seen"
#define ABOUT_HISTORY "history"


static int
wipe(cx_book_t *book)
{
    OPENSSL_cleanse(book->key, sizeof(book->key));
    OPENSSL_cleanse(book->token_key, sizeof(book->token_key));

    return 0;
}


static bool
number(void *data, const char *text, char out[CX_NUMBER_SIZE])
{
    const char *region = data;

    return cx_phone_normalise(text, region, out) == 0;
}


cx_book_t *
cx_book_open(cx_request_t *r)
{
    size_t len;
    cx_book_t *book;
    PGresult *result;
    unsigned char *wrapped, *key;

    if (!cx_query(r, &result, &SQL_CONTACT_KEY)) {
        return NULL;
    }

    book = talloc_zero(r, cx_book_t);
    talloc_set_destructor(book, wipe);
    book->r = r;
    book->rules.number = number;

    if (PQntuples(result) == 0) {
        cx_problem_gone(r);
        return NULL;
    }

    cx_account_region(r->api->settings, cx_pg_text(result, 0, 1),
                      cx_pg_text(result, 0, 2), book->region);
    book->rules.data = book->region[0] != '\0' ? book->region : NULL;
    wrapped = cx_pg_bytes(r, result, 0, 0, &len);

    if (len == 0) {
        cx_problem_gone(r);
        return NULL;
    }

    key = cx_master_open(book, r->api->settings, CX_DATA_KEY, r->user_id,
                         wrapped, len, &len);

    if (key == NULL || len != sizeof(book->key)) {
        cx_alert("the data key of %s can't be opened", r->user_id);
        cx_try_again(r);
        return NULL;
    }

    memcpy(book->key, key, len);
    OPENSSL_cleanse(key, len);

    if (!cx_derive_from(book->key, sizeof(book->key), "contact-token",
                        book->token_key)) {
        cx_try_again(r);
        return NULL;
    }

    return book;
}


unsigned char *
cx_book_open_bytes(cx_book_t *book, TALLOC_CTX *ctx, const char *about,
                   const PGresult *rows, int row, int column, size_t *len)
{
    size_t sealed_len;
    unsigned char *sealed, *bytes;

    sealed = cx_pg_bytes(ctx, rows, row, column, &sealed_len);
    bytes = cx_open(ctx, book->key, about, sealed, sealed_len, len);
    talloc_free(sealed);

    return bytes;
}


char *
cx_book_seal_bytes(cx_book_t *book, const char *about, const void *bytes,
                   size_t len)
{
    char *parameter;
    size_t sealed_len;
    unsigned char *sealed;

    sealed =
        cx_seal(book->r->scratch, book->key, about, bytes, len, &sealed_len);

    if (sealed == NULL) {
        cx_try_again(book->r);
        return NULL;
    }

    parameter = cx_pg_bytea(book->r->scratch, sealed, sealed_len);
    talloc_free(sealed);

    return parameter;
}


static char *
about(TALLOC_CTX *ctx, const char *what, const char *contact_id)
{
    return cx_must(talloc_asprintf(ctx, "%s %s", what, contact_id));
}


static char *
seal_json(cx_book_t *book, const char *what, const char *contact_id,
          const cx_json_t *json)
{
    char *text, *parameter;
    size_t len;

    text = cx_json_write(book->r->scratch, json, &len);
    parameter =
        cx_book_seal_bytes(book, about(text, what, contact_id), text, len);
    OPENSSL_cleanse(text, len);
    talloc_free(text);

    return parameter;
}


static cx_json_t *
open_json(cx_book_t *book, TALLOC_CTX *ctx, const char *what,
          const char *contact_id, const PGresult *rows, int row, int column)
{
    size_t len;
    const char *why;
    cx_json_t *json;
    unsigned char *text;

    text = cx_book_open_bytes(book, ctx, about(ctx, what, contact_id), rows,
                              row, column, &len);
    json = text != NULL ? cx_json_read(ctx, (char *) text, len, &why) : NULL;
    talloc_free(text);

    return json;
}


static cx_json_t *
json_at(TALLOC_CTX *ctx, const PGresult *rows, int row, int column)
{
    const char *text, *why;

    text = cx_pg_text(rows, row, column);

    return text != NULL ? cx_json_read(ctx, text, strlen(text), &why) : NULL;
}


/* What is live: the Card without entries for media of ours, which the
 * envelope has, and the media that the grants show. */
static bool
read_live(cx_book_t *book, TALLOC_CTX *ctx, const PGresult *rows, int row,
          cx_contact_t *c)
{
    size_t i;
    cx_json_t *card;

    c->card_id = cx_pg_text(rows, row, 5);
    card = json_at(ctx, rows, row, 10);

    if (c->card_id == NULL) {
        return true;
    }

    c->owner_id = cx_pg_text(rows, row, 6);
    c->nickname = cx_pg_text(rows, row, 7);
    c->card_revision = cx_pg_text(rows, row, 8);
    c->card_updated = cx_pg_text(rows, row, 13);
    c->thumbnail = cx_pg_text(rows, row, 15);
    c->live_media = json_at(ctx, rows, row, 11);

    if (card == NULL || c->live_media == NULL
        || cx_fields_read(ctx, json_at(ctx, rows, row, 9), &c->fields)
               != NULL) {
        return false;
    }

    c->live = cx_card_body(ctx, book->r->api->settings, c->card_id, card, NULL,
                           c->fields);

    for (i = 0; i < CX_MEDIA_KINDS; i++) {
        if (!cx_fields_show(c->fields, cx_media_kinds[i])) {
            cx_json_remove(c->live_media, cx_media_kinds[i]);
        }
    }

    return true;
}


bool
cx_book_row(cx_book_t *book, TALLOC_CTX *ctx, const PGresult *rows, int row,
            cx_contact_t *c)
{
    memset(c, 0, sizeof(*c));
    c->contact_id = cx_pg_text(rows, row, 0);
    c->revision = cx_pg_text(rows, row, 1);
    c->layer = open_json(book, ctx, ABOUT_LAYER, c->contact_id, rows, row, 2);
    c->own = cx_json_get(c->layer, "own");
    c->deleted = cx_pg_true(rows, row, 3);
    c->media = json_at(ctx, rows, row, 4);
    c->deleted_at = cx_pg_text(rows, row, 14);

    if (c->own == NULL || !read_live(book, ctx, rows, row, c)) {
        cx_alert("contact %s can't be read", c->contact_id);
        cx_try_again(book->r);
        return false;
    }

    c->seen_sealed = cx_pg_text(rows, row, 12);

    if (c->seen_sealed != NULL) {
        c->seen =
            open_json(book, ctx, ABOUT_SEEN, c->contact_id, rows, row, 12);
    }

    c->card = cx_merge(ctx, &book->rules, c->own, c->live,
                       cx_json_get(c->layer, "pinned"));

    return true;
}


static bool
not_found(cx_request_t *r)
{
    cx_problem_no_such(r, "contact");

    return false;
}


/* One contact, deleted or not; false: answered. */
static bool
get_any(cx_book_t *book, const char *contact_id, cx_contact_t *c)
{
    PGresult *rows;
    cx_request_t *r = book->r;

    if (!cx_query(r, &rows, &SQL_CONTACT_READ, contact_id, NULL, "false",
                  "0")) {
        return false;
    }

    if (PQntuples(rows) == 0) {
        return not_found(r);
    }

    return cx_book_row(book, r->scratch, rows, 0, c);
}


bool
cx_book_get(cx_book_t *book, const char *contact_id, cx_contact_t *c)
{
    if (!get_any(book, contact_id, c)) {
        return false;
    }

    return !c->deleted || not_found(book->r);
}


bool
cx_book_lock(cx_book_t *book, const char *contact_id, cx_contact_t *c)
{
    PGresult *rows;
    cx_request_t *r = book->r;

    if (!cx_begin(r) || !cx_query(r, &rows, &SQL_CONTACT_LOCK, contact_id)) {
        return false;
    }

    if (PQntuples(rows) == 0) {
        return not_found(r);
    }

    if (!get_any(book, contact_id, c)) {
        return false;
    }

    return c->deleted || cx_book_if_match(r, c);
}


bool
cx_book_page(cx_book_t *book, TALLOC_CTX *ctx, const char *after, bool deleted,
             int page, PGresult **rows)
{
    cx_pg_rc_t rc;

    rc = cx_pg_query(book->r->api->pg, ctx, rows, &SQL_CONTACT_READ, NULL,
                     after, deleted ? "true" : "false",
                     talloc_asprintf(ctx, "%d", page));

    if (rc != CX_PG_OK) {
        cx_problem_pg(book->r, rc);
    }

    return rc == CX_PG_OK;
}


cx_json_t *
cx_layer_new(cx_request_t *r, cx_json_t *own)
{
    cx_json_t *layer;

    layer = cx_json_object(r);

    if (own == NULL) {
        own = cx_json_object(layer);
        (void) cx_jscontact_check(r, own);
    }

    cx_json_put(layer, "own", own);

    return layer;
}


char *
cx_book_seal(cx_book_t *book, const char *contact_id, const cx_json_t *layer)
{
    return seal_json(book, ABOUT_LAYER, contact_id, layer);
}


static bool
hash_token(cx_book_t *book, const char *text, unsigned char *out)
{
    unsigned char hash[CX_SECRET_LEN];

    if (HMAC(EVP_sha256(), book->token_key, sizeof(book->token_key),
             (const unsigned char *) text, strlen(text), hash, NULL)
        == NULL) {
        return false;
    }

    memcpy(out, hash, CX_TOKEN_SIZE);

    return true;
}


/* Texts that stand for a person: the uids, and each number and e-mail address
 * together with the name, since families share numbers. */
static char **
token_texts(cx_book_t *book, TALLOC_CTX *ctx, const cx_json_t *layer, size_t *n,
            size_t *n_uids)
{
    size_t i, j;
    char *name, **texts;
    const cx_json_t *own, *uids, *items;
    static const char *const properties[] = { "phones", "emails" };

    own = cx_json_get(layer, "own");
    uids = cx_json_get(layer, "uids");
    items = cx_json_get(own, "phones");
    i = items != NULL ? items->n : 0;
    items = cx_json_get(own, "emails");
    i += items != NULL ? items->n : 0;
    i += uids != NULL ? uids->n : 0;

    texts = cx_must(talloc_array(ctx, char *, i + 1));
    *n = 0;

    if (cx_json_text(own, "uid") != NULL) {
        texts[(*n)++] =
            cx_must(talloc_asprintf(texts, "uid %s", cx_json_text(own, "uid")));
    }

    for (i = 0; uids != NULL && i < uids->n; i++) {
        texts[(*n)++] =
            cx_must(talloc_asprintf(texts, "uid %s", uids->items[i]->text));
    }

    *n_uids = *n;
    name = cx_merge_text(texts, cx_jscontact_full_name(texts, own));

    for (i = 0; i < 2; i++) {
        items = cx_json_get(own, properties[i]);

        for (j = 0; items != NULL && j < items->n; j++) {
            texts[(*n)++] = cx_must(
                talloc_asprintf(texts, "%s %s\n%s", properties[i],
                                cx_merge_value(texts, &book->rules,
                                               properties[i], items->items[j]),
                                name));
        }
    }

    return texts;
}


unsigned char *
cx_book_token_bytes(cx_book_t *book, TALLOC_CTX *ctx, const cx_json_t *layer,
                    size_t *n, size_t *n_uids)
{
    size_t i;
    char **texts;
    unsigned char *tokens;

    texts = token_texts(book, ctx, layer, n, n_uids);
    tokens = cx_must(talloc_array(ctx, unsigned char, *n *CX_TOKEN_SIZE + 1));

    for (i = 0; i < *n; i++) {
        if (!hash_token(book, texts[i], tokens + i * CX_TOKEN_SIZE)) {
            cx_try_again(book->r);
            return NULL;
        }
    }

    talloc_free(texts);

    return tokens;
}


char *
cx_book_tokens(cx_book_t *book, const cx_json_t *layer)
{
    size_t n, n_uids;
    unsigned char *tokens;

    tokens = cx_book_token_bytes(book, book->r, layer, &n, &n_uids);

    return tokens != NULL
               ? cx_pg_bytea(book->r->scratch, tokens, n * CX_TOKEN_SIZE)
               : NULL;
}


/* A line of history; `entry` is sealed if there is anything in it. */
static bool
add_history(cx_book_t *book, const char *contact_id, const char *what,
            const cx_json_t *entry, const char *at)
{
    char *sealed;
    PGresult *result;

    sealed = NULL;

    if (entry->n > 0) {
        sealed = seal_json(book, ABOUT_HISTORY, contact_id, entry);

        if (sealed == NULL) {
            return false;
        }
    }

    return cx_query(book->r, &result, &SQL_HISTORY_ADD, contact_id, what,
                    sealed, at);
}


bool
cx_book_note(cx_book_t *book, const char *contact_id, const char *what,
             cx_json_t *changes, cx_json_t *undo)
{
    cx_json_t *entry;

    entry = cx_json_object(book->r->scratch);

    if (changes != NULL) {
        cx_json_put(entry, "changes", changes);
    }

    if (undo != NULL) {
        cx_json_put(entry, "undo", undo);
    }

    return add_history(book, contact_id, what, entry, NULL);
}


/* A layer with its members beside the Card's, for telling what changed. */
static cx_json_t *
flat(TALLOC_CTX *ctx, const cx_json_t *layer)
{
    size_t i;
    cx_json_t *all;
    const cx_json_t *member;
    static const char *const names[] = { "note", "tags", "pinned" };

    all = cx_json_copy(ctx, cx_json_get(layer, "own"));

    for (i = 0; i < 3; i++) {
        member = cx_json_get(layer, names[i]);

        if (member != NULL) {
            cx_json_put(all, names[i], cx_json_copy(all, member));
        }
    }

    return all;
}


bool
cx_book_write(cx_book_t *book, const cx_contact_t *c, const cx_json_t *layer,
              const char *what, cx_json_t *undo)
{
    PGresult *result;
    cx_json_t *changes;
    char *sealed, *tokens;
    cx_request_t *r = book->r;

    changes = cx_merge_changes(r->scratch, flat(r->scratch, c->layer),
                               flat(r->scratch, layer));
    sealed = cx_book_seal(book, c->contact_id, layer);
    tokens = sealed != NULL ? cx_book_tokens(book, layer) : NULL;

    return tokens != NULL
           && cx_query(r, &result, &SQL_CONTACT_WRITE, c->contact_id, sealed,
                       tokens)
           && cx_book_note(book, c->contact_id, what, changes, undo)
           && cx_book_match(book, c->contact_id, cx_json_get(layer, "own"));
}


bool
cx_book_match(cx_book_t *book, const char *contact_id, const cx_json_t *own)
{
    if (book->match == NULL && (book->match = cx_match_open(book->r)) == NULL) {
        return false;
    }

    cx_match_put(book->match, contact_id, own);

    return true;
}


bool
cx_book_end(cx_book_t *book)
{
    cx_match_t *match = book->match;

    book->match = NULL;

    return match == NULL || cx_match_close(match);
}


/* What comes with a card at first is no change but where it replaces
 * something of the holder's. */
static cx_json_t *
only_replaced(TALLOC_CTX *ctx, const cx_json_t *changes)
{
    size_t i;
    cx_json_t *replaced;

    replaced = cx_json_array(ctx);

    for (i = 0; i < changes->n; i++) {
        if (cx_json_get(changes->items[i], "old") != NULL) {
            cx_json_append(replaced, cx_json_copy(replaced, changes->items[i]));
        }
    }

    return replaced;
}


bool
cx_book_note_live(cx_book_t *book, cx_contact_t *c)
{
    char *sealed;
    PGresult *result;
    cx_json_t *before, *changes, *entry;
    cx_request_t *r = book->r;

    if (c->deleted || cx_json_same(c->seen, c->live)) {
        return true;
    }

    sealed = NULL;
    changes = cx_json_array(r->scratch);

    /* of a card that is gone nothing is kept (F8) */
    if (c->live != NULL) {
        before = cx_merge(r->scratch, &book->rules, c->own, c->seen,
                          cx_json_get(c->layer, "pinned"));
        changes = cx_merge_changes(r->scratch, before, c->card);
        changes =
            c->seen != NULL ? changes : only_replaced(r->scratch, changes);
        sealed = seal_json(book, ABOUT_SEEN, c->contact_id, c->live);

        if (sealed == NULL) {
            return false;
        }
    }

    /* of several who look at once, one notes it */
    if (!cx_begin(r)
        || !cx_query(r, &result, &SQL_CONTACT_SEEN, c->contact_id, sealed,
                     c->revision, c->seen_sealed, c->card_id)) {
        return false;
    }

    if (PQntuples(result) == 0 || changes->n == 0) {
        return true;
    }

    /* it shows only while that card does */
    entry = cx_json_object(r->scratch);
    cx_json_put(entry, "changes", changes);
    cx_json_put(entry, "card_id", cx_json_string(entry, c->card_id));

    return add_history(book, c->contact_id, "live", entry,
                       c->seen != NULL ? c->card_updated : NULL);
}


void
cx_book_answer(cx_book_t *book, int status, const char *contact_id)
{
    char *etag;
    cx_contact_t c;
    cx_request_t *r = book->r;

    if (!cx_book_get(book, contact_id, &c) || !cx_book_note_live(book, &c)
        || !cx_contact_thumbnail_ask(book, &c)) {
        return;
    }

    etag = cx_book_etag(r, &c);
    r->shown_contact = talloc_strdup(r, contact_id);
    cx_answer_header(r, "Cache-Control", "private, no-cache");

    if (strcmp(r->route->method, "GET") == 0 && cx_not_modified(r, etag)) {
        return;
    }

    cx_answer_etag(r, etag);
    cx_answer_json(r, status, cx_book_envelope(r, &c));
    (void) cx_book_end(book);
}
