/*
 * The page that opens when any camera scans a card's code (F1): plain HTML
 * and one style sheet, no script.  The card's texts, links and addresses come
 * from its owner: all of it is escaped, links have one of a few schemes, and
 * nothing is loaded but the card's own media from this server.
 */

#ifndef CX_PAGE_H
#define CX_PAGE_H

#include "cx_json.h"
#include "page_text.h"

/* Part of the ETag: another number when the page looks different. */
#define CX_PAGE_VERSION "2"

#define CX_PAGE_POLICY                                                         \
    "default-src 'none'; img-src 'self'; media-src 'self'; "                   \
    "style-src 'self'; base-uri 'none'; form-action 'none'; "                  \
    "frame-ancestors 'none'"

typedef struct {
    const char *public_url; /* for what link previews load */
    const char *card_id;
    const char *key;          /* CX_KEY_LEN characters, upper case */
    const char *thumbnail_id; /* or NULL */
    const char *language;     /* of cx_language() */
    const cx_json_t *card;    /* what the key lets show */
    const cx_json_t *media;   /* {kind: {type, ...}}, as far as it shows */
} cx_page_t;

/* The whole document, owned by ctx. */
char *cx_page_write(TALLOC_CTX *ctx, const cx_page_t *page, size_t *len);

/* What a browser gets for whatever a key does not open; one and the same. */
char *cx_page_refused(TALLOC_CTX *ctx, const char *language, size_t *len);

#endif
