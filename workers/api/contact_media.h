/* The holder's own media of a contact, sealed; its card's thumbnail. */

#ifndef CX_CONTACT_MEDIA_H
#define CX_CONTACT_MEDIA_H

#include "contact_book.h"

/* The bytes of one, owned by ctx, *len 0 if there is none.  NULL: answered. */
unsigned char *cx_contact_medium_read(cx_book_t *book, TALLOC_CTX *ctx,
                                      const char *contact_id, const char *kind,
                                      const char **type, const char **media_id,
                                      size_t *len);

/* Puts one in the place of the one there may be.  False: answered. */
bool cx_contact_medium_write(cx_book_t *book, const char *contact_id,
                             const char *kind, const char *type,
                             const void *bytes, size_t len);

/* Asks for the thumbnail of what is live, unless somebody has.  False:
 * answered. */
bool cx_contact_thumbnail_ask(cx_book_t *book, const cx_contact_t *c);

#endif
