/*
 * A growing text, and the one answer to memory running out: abort, so that
 * the supervisor starts the worker anew.  No caller tests for NULL.
 */

#ifndef CX_BUF_H
#define CX_BUF_H

#include <stddef.h>
#include <talloc.h>

typedef struct {
    TALLOC_CTX *ctx; /* owns data */
    char *data;      /* NUL-terminated as soon as anything was added */
    size_t len;
    size_t room;
} cx_buf_t;

/* Returns `memory`, or does not return. */
void *cx_must(void *memory);

void cx_buf_init(cx_buf_t *buf, TALLOC_CTX *ctx);
void cx_buf_add(cx_buf_t *buf, const void *bytes, size_t len);
void cx_buf_puts(cx_buf_t *buf, const char *text);
void cx_buf_putc(cx_buf_t *buf, char c);
void cx_buf_utf8(cx_buf_t *buf, unsigned code_point);

/* The text so far, never NULL, owned by the buffer's ctx. */
char *cx_buf_text(cx_buf_t *buf);

/* Length in bytes of the UTF-8 character at `text` (RFC 3629: no overlong
 * forms, no surrogates, at most U+10FFFF), 0 if there is none. */
size_t cx_utf8_length(const char *text, size_t len);

/* The code point of such a character; `len` is what cx_utf8_length() said. */
unsigned cx_utf8_read(const char *text, size_t len);

#endif
