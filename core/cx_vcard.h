/*
 * vCard, written from and read into JSContact (RFC 9555): 3.0 (RFC 2426) and
 * 4.0 (RFC 6350).
 */

#ifndef CX_VCARD_H
#define CX_VCARD_H

#include "cx_json.h"

typedef enum {
    CX_VCARD_3 = 3,
    CX_VCARD_4 = 4
} cx_vcard_version_t;

/* A medium to write with the card.  Bytes given: put into the vCard (base64
 * in 3.0, a data: URI in 4.0).  Only an address given: a URI. */
typedef struct {
    const char *kind;    /* photo, logo, sound, video */
    const char *type;    /* media type, as image/jpeg */
    const char *address; /* absolute URI, or NULL */
    const unsigned char *bytes;
    size_t len;
} cx_vcard_media_t;

/* The card as one vCard with CRLF, lines folded at 75 octets between
 * characters, owned by ctx.  What vCard has no property for is kept as JSPROP
 * (RFC 9555, 3.2.1) in 4.0, X-JSPROP is not written in 3.0.  *len without the
 * closing NUL. */
char *cx_vcard_write(TALLOC_CTX *ctx, const cx_json_t *card,
                     cx_vcard_version_t version, const cx_vcard_media_t *media,
                     size_t n_media, size_t *len);

/* A short 3.0 vCard for the offline QR code (F3): no PRODID, REV, UID, media,
 * no folding, only FN, N, ORG, TITLE, TEL, EMAIL, URL, ADR, NOTE. */
char *cx_vcard_write_short(TALLOC_CTX *ctx, const cx_json_t *card, size_t *len);

/* Reads the first vCard at *text (2.1 with quoted-printable, 3.0, 4.0; folded
 * lines, bare LF, group prefixes, X-ABLabel) and moves *text and *len past
 * it.  Properties that JSContact has no place for go to `vCardProps` (RFC
 * 9555, 2.2.2).  Embedded media are left in `media` as data: URIs.  NULL: no
 * vCard, *why says so, and *text is past what was refused. */
cx_json_t *cx_vcard_read(TALLOC_CTX *ctx, const char **text, size_t *len,
                         const char **why);

#endif
