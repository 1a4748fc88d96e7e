/*
 * The holder's address book, opened: what every call on contacts has in
 * common (A7, F4, F7; docs/contacts.md).
 *
 * A contact is the holder's layer, sealed under the data key of the user, and
 * what the grants let show of the card that it follows.
 */

#ifndef CX_CONTACT_BOOK_H
#define CX_CONTACT_BOOK_H

#include "cx_merge.h"
#include "match.h"
#include "request.h"

#define CX_CONTACTS_MAX 20000 /* of one user, those deleted included */
#define CX_NOTE_MAX 8192      /* bytes */
#define CX_TOKEN_SIZE 16      /* bytes of an HMAC that imports compare */

typedef struct {
    cx_request_t *r;
    unsigned char key[32];       /* wiped with the book */
    unsigned char token_key[32]; /* the same */
    char region[3];              /* of numbers without a country, or "" */
    cx_merge_rules_t rules;
    cx_match_t *match; /* what was written so far, or NULL */
} cx_book_t;

typedef struct {
    const char *contact_id;
    const char *revision;
    bool deleted;
    const char *deleted_at;

    cx_json_t *layer; /* {own, note?, tags?, pinned?, uids?} */
    cx_json_t *own;   /* the layer's */
    cx_json_t *media; /* the holder's own: {kind: {media_id, type, bytes}} */

    const char *card_id; /* NULL, as all that follows: nothing is live */
    const char *owner_id;
    const char *nickname;
    const char *card_revision;
    const char *card_updated;
    char **fields;
    cx_json_t *live;       /* as the grants show it */
    cx_json_t *live_media; /* the same */
    const char *thumbnail; /* the same; "" until it is drawn, NULL: not asked */

    cx_json_t *seen; /* what was live when the history was written */
    const char *seen_sealed;
    cx_json_t *card; /* merged */
} cx_contact_t;

/* The book of the request's user; NULL: answered. */
cx_book_t *cx_book_open(cx_request_t *r);

/* From a row of contact_read(); false: it can't be opened, answered 503. */
bool cx_book_row(cx_book_t *book, TALLOC_CTX *ctx, const PGresult *rows,
                 int row, cx_contact_t *contact);

/* One contact that is not deleted; false: answered (404). */
bool cx_book_get(cx_book_t *book, const char *contact_id, cx_contact_t *c);

/* One contact, deleted or not, with its row locked in a transaction, and
 * If-Match heeded. */
bool cx_book_lock(cx_book_t *book, const char *contact_id, cx_contact_t *c);

/* A page after `after` (NULL: from the start); false: answered. */
bool cx_book_page(cx_book_t *book, TALLOC_CTX *ctx, const char *after,
                  bool deleted, int page, PGresult **rows);

/* A new layer with this Card of the holder's, owned by r. */
cx_json_t *cx_layer_new(cx_request_t *r, cx_json_t *own);

/* The layer as a parameter, and the tokens that imports find it by.  NULL:
 * answered. */
char *cx_book_seal(cx_book_t *book, const char *contact_id,
                   const cx_json_t *layer);
char *cx_book_tokens(cx_book_t *book, const cx_json_t *layer);
/* The same as bytes, `*n` of CX_TOKEN_SIZE each; the uids' come first, and
 * there are `*n_uids` of them. */
unsigned char *cx_book_token_bytes(cx_book_t *book, TALLOC_CTX *ctx,
                                   const cx_json_t *layer, size_t *n,
                                   size_t *n_uids);

/* Any bytes under the book's key; `about` is what they belong to. */
char *cx_book_seal_bytes(cx_book_t *book, const char *about, const void *bytes,
                         size_t len);
unsigned char *cx_book_open_bytes(cx_book_t *book, TALLOC_CTX *ctx,
                                  const char *about, const PGresult *rows,
                                  int row, int column, size_t *len);

/* Writes a layer in the place of the contact's, and what changed into the
 * history.  `undo`: kept beside it, or NULL.  False: answered. */
bool cx_book_write(cx_book_t *book, const cx_contact_t *c,
                   const cx_json_t *layer, const char *what, cx_json_t *undo);

/* Tells matching what the holder has in an entry now (a Card), or that it is
 * gone (NULL); cx_book_write() does so itself.  False: answered. */
bool cx_book_match(cx_book_t *book, const char *contact_id,
                   const cx_json_t *own);

/* Hands over what was told; the last statement of its transaction.
 * cx_book_answer() does so itself.  False: answered. */
bool cx_book_end(cx_book_t *book);

/* A line of history; `changes` may be NULL. */
bool cx_book_note(cx_book_t *book, const char *contact_id, const char *what,
                  cx_json_t *changes, cx_json_t *undo);

/* Notes what the live card has changed since the history was written. */
bool cx_book_note_live(cx_book_t *book, cx_contact_t *c);

/* A line of history as it is shown; `column` has what happened, the next ones
 * when, and the changes.  card_id: the card that shows now, by `fields`, or
 * NULL: what was seen of another one is left out.
 * NULL: it can't be opened, answered 503. */
cx_json_t *cx_history_item(cx_book_t *book, TALLOC_CTX *ctx,
                           const char *contact_id, const PGresult *rows,
                           int row, int column, const char *card_id,
                           char *const *fields);

/* The envelope (owned by ctx), its ETag, and both as the answer. */
cx_json_t *cx_book_envelope(TALLOC_CTX *ctx, const cx_contact_t *c);
char *cx_book_etag(TALLOC_CTX *ctx, const cx_contact_t *c);
void cx_book_answer(cx_book_t *book, int status, const char *contact_id);

/* If-Match, for which it does not matter whether the thumbnail was drawn
 * meanwhile; false: answered 412. */
bool cx_book_if_match(cx_request_t *r, const cx_contact_t *c);

/* Checks `note`, `tags` and `pinned` of a body and puts them into the layer;
 * null takes one away.  False: answered 422. */
bool cx_layer_members(cx_request_t *r, cx_json_t *layer, const cx_json_t *body);

/* What is wrong with a layer's note, tags or pinned; NULL: nothing. */
const char *cx_layer_wrong(const cx_json_t *layer);

/* Checks a Card of the holder's; false: answered. */
bool cx_own_check(cx_request_t *r, cx_json_t *own);

#endif
