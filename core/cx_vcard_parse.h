/*
 * A vCard as lines: unfolded, decoded, in UTF-8, taken apart into group,
 * name, parameters and value.  Shared by the cx_vcard_read*.c files.
 */

#ifndef CX_VCARD_PARSE_H
#define CX_VCARD_PARSE_H

#include "cx_buf.h"
#include "cx_vcard.h"

typedef struct {
    char *name;    /* upper case */
    char **values; /* at least one */
    size_t n;
} cx_vparam_t;

typedef struct {
    char *group; /* lower case, or NULL */
    char *name;  /* upper case */
    cx_vparam_t *params;
    size_t n;
    char *value; /* as it stands, backslashes and all */
    size_t seen; /* values of parameters, those left out counted too */
} cx_vline_t;

typedef struct {
    int version; /* 2 for 2.1, 3, 4 */
    cx_vline_t *lines;
    size_t n;
} cx_vlines_t;

/* Takes the first vCard apart, moving *text and *len past it.  NULL: there is
 * none, or it is too much; *why says so. */
cx_vlines_t *cx_vcard_parse(TALLOC_CTX *ctx, const char **text, size_t *len,
                            const char **why);

/* The first, or nth, value of a parameter, or NULL. */
const char *cx_vline_get(const cx_vline_t *line, const char *name);
const char *cx_vline_get_nth(const cx_vline_t *line, const char *name,
                             size_t n);

/* Whether a parameter has this value, in either case. */
bool cx_vline_has(const cx_vline_t *line, const char *name, const char *value);

/* Turns quoted-printable (RFC 2045, 6.7) into bytes, in place; returns their
 * number. */
size_t cx_vtext_quoted(char *text, size_t len);

/* The bytes as UTF-8 text without control characters but newline and tab,
 * owned by ctx.  charset NULL or unknown: UTF-8, or else Windows-1252. */
char *cx_vtext_utf8(TALLOC_CTX *ctx, const char *bytes, size_t len,
                    const char *charset);

/* A value without its backslashes, owned by ctx: of text, of a URI. */
char *cx_vtext_plain(TALLOC_CTX *ctx, const char *value);
char *cx_vtext_uri(TALLOC_CTX *ctx, const char *value);

/* The parts of a value, backslashes kept; at most `max` of them, the rest is
 * left out.  The array and its texts are owned by ctx. */
char **cx_vtext_split(TALLOC_CTX *ctx, const char *value, char separator,
                      size_t max, size_t *n);

#endif
