/*
 * What core/cx_accept.h, which chooses a form, does not need: languages (RFC
 * 9110, 12.5.4), and parameters of a media type.
 */

#ifndef CX_ACCEPT_LANGUAGE_H
#define CX_ACCEPT_LANGUAGE_H

#include <stdbool.h>

/* How much an Accept-Language header wants a language such as "zh" (or "*"
 * wants any): 0 not at all, else a number to compare with that of another
 * language, in which weight counts first and order second. */
int cx_accept_language(const char *header, const char *language);

/* Whether an Accept header has a range for this very type that carries the
 * parameter name=value, as `text/vcard;version=4.0`. */
bool cx_accept_parameter(const char *header, const char *type, const char *name,
                         const char *value);

#endif
