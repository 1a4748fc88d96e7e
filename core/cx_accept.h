/*
 * What a client prefers: which form of a card (Accept, RFC 9110, 12.5.1), and
 * which language (Accept-Language, 12.5.4).
 *
 * Members of a header that can't be read are left out.
 */

#ifndef CX_ACCEPT_H
#define CX_ACCEPT_H

#include <stddef.h>

typedef enum {
    CX_FORM_JSON, /* application/jscontact+json, or application/json */
    CX_FORM_HTML,
    CX_FORM_VCARD, /* text/vcard, or text/x-vcard */
    CX_FORMS
} cx_form_t;

/* For each form the quality in thousandths, and how exactly it was named. */
typedef struct {
    int quality[CX_FORMS];
    int exactness[CX_FORMS];
} cx_accept_t;

void cx_accept_init(cx_accept_t *accept);

/* Adds the value of one Accept header. */
void cx_accept_add(cx_accept_t *accept, const char *value, size_t len);

/* The form with the highest quality; of equal ones that which was named more
 * exactly (who names text/html beside any type wants the page), then the
 * first of the list above.  JSON if none is acceptable, or nothing was
 * asked for. */
cx_form_t cx_accept_choose(const cx_accept_t *accept);

/* 1 if an Accept header has a range for this very type that carries the
 * parameter name=value, as `text/vcard;version=4.0`; else 0. */
int cx_accept_parameter(const char *header, size_t len, const char *type,
                        const char *name, const char *value);

/* How much an Accept-Language header wants a language such as "zh" (or "*"
 * wants any): 0 not at all, else a number to compare with that of another
 * language, in which weight counts first and order second. */
int cx_accept_language(const char *header, size_t len, const char *language);

#endif
