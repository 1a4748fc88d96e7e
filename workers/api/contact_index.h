/* Which entry of a book an imported one is: by uid, then by number or e-mail
 * address together with the name. */

#ifndef CX_CONTACT_INDEX_H
#define CX_CONTACT_INDEX_H

#include "contact_book.h"

typedef struct cx_contact_index_s cx_contact_index_t;

/* Of the book's entries that are not deleted; *n: how many entries there are,
 * with those deleted.  NULL: answered. */
cx_contact_index_t *cx_contact_index(cx_book_t *book, size_t *n);

/* The entry that has one of the tokens, the first that is found; or NULL. */
const char *cx_contact_index_find(const cx_contact_index_t *index,
                                  const unsigned char *tokens, size_t n);

/* Adds tokens of an entry; contact_id must live as long as the index. */
void cx_contact_index_add(cx_contact_index_t *index,
                          const unsigned char *tokens, size_t n,
                          const char *contact_id);

#endif
