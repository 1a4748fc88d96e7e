/*
 * Content negotiation (RFC 9110, 12.5): what a client would rather have.
 */

#ifndef CX_ACCEPT_H
#define CX_ACCEPT_H

#include <stdbool.h>

/* What an Accept header gives a media type such as "text/html": 0 (not at
 * all) to 1000; the most specific range counts.  NULL or empty header: 1000. */
int cx_accept_type(const char *header, const char *type);

/* Whether a range for this very type carries the parameter name=value, as
 * `text/vcard;version=4.0`. */
bool cx_accept_parameter(const char *header, const char *type, const char *name,
                         const char *value);

/* How much an Accept-Language header wants a language such as "zh" (or "*"
 * wants any): 0 not at all, else a number to compare with that of another
 * language, in which weight counts first and order second. */
int cx_accept_language(const char *header, const char *language);

#endif
