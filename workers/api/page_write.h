/*
 * What the files that write the page share.
 */

#ifndef CX_PAGE_WRITE_H
#define CX_PAGE_WRITE_H

#include "cx_buf.h"
#include "page.h"

typedef struct {
    cx_buf_t out;
    const cx_page_t *page;
    const cx_json_t *card; /* in the page's language as far as it has it */
    const char *lang;      /* attribute of what the card says */
} cx_page_writer_t;

/* Text for an element or a quoted attribute. */
void cx_html_text(cx_buf_t *out, const char *text);

/* printf for markup; %s as it is, so for what is ours alone. */
void cx_html(cx_buf_t *out, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Percent-encodes what may not stand in an address (RFC 3986, 2); `keep` are
 * the characters besides letters and digits that may. */
char *cx_page_encode(TALLOC_CTX *ctx, const char *text, const char *keep);

/* What may stand in href: an http, https, mailto, tel, sms, geo, sip, sips or
 * xmpp address of the card's, with what does not belong into an address
 * percent-encoded; owned by ctx.  NULL: nothing to link to. */
char *cx_page_link(TALLOC_CTX *ctx, const char *uri);

/* mailto: of an address, or NULL. */
char *cx_page_mail(TALLOC_CTX *ctx, const char *address);

/* The members of an object property, those preferred first (RFC 9553,
 * 1.5.4); *n of them, owned by ctx. */
const cx_json_t **cx_page_items(TALLOC_CTX *ctx, const cx_json_t *object,
                                size_t *n);

/* tel: or sms: of a number as people write it, or NULL: it is none. */
char *cx_page_tel(TALLOC_CTX *ctx, const char *scheme, const char *number);

/* An address on one line per component group, or NULL; a map of it. */
char *cx_page_address(TALLOC_CTX *ctx, const cx_json_t *address);
char *cx_page_map(TALLOC_CTX *ctx, const cx_json_t *address);

/* Whether a phone number can be called, or sent a message. */
bool cx_page_callable(const cx_json_t *phone);
bool cx_page_textable(const cx_json_t *phone);

/* The sections below the name. */
void cx_page_sections(cx_page_writer_t *p);

/* A copy of the card with what `localizations` (RFC 9553, 2.7.1) says for a
 * language; the card's own language is the rest's. */
cx_json_t *cx_page_localise(TALLOC_CTX *ctx, const cx_json_t *card,
                            const char *language);

#endif
