/* Contacts on their way in and out: what an import brings as a layer, and a
 * contact as the export gives it, so that one reads what the other wrote. */

#ifndef CX_CONTACT_TRANSFER_H
#define CX_CONTACT_TRANSFER_H

#include "contact_book.h"

typedef struct {
    const char *kind;
    const char *type;
    unsigned char *bytes;
    size_t len;
} cx_media_item_t;

typedef struct {
    cx_media_item_t items[3]; /* one of a kind */
    size_t n;
} cx_media_list_t;

/* Takes photo, logo and sound that are embedded (data: URIs) out of the Card.
 * What is no picture or sound that is kept stays where it is. */
void cx_transfer_media(TALLOC_CTX *ctx, cx_json_t *card,
                       cx_media_list_t *media);

/* A layer of the Card: a note that is all there is of notes is the holder's
 * note, keywords are tags.  members: note, tags and pinned that came beside
 * the Card, which stands as it is then; or NULL. */
cx_json_t *cx_transfer_layer(TALLOC_CTX *ctx, const cx_json_t *card,
                             const cx_json_t *members);

/* The merged card with note and tags as notes and keywords. */
cx_json_t *cx_transfer_card(TALLOC_CTX *ctx, const cx_contact_t *c);

/* How many vCards begin in a text. */
size_t cx_vcard_count(const char *text, size_t len);

#endif
