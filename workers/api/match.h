/*
 * What of an address book is matched (D4, D5): whoever writes the holder's
 * own layer of contacts tells it here, at the end of its transaction.
 *
 *     match = cx_match_open(r);               NULL: answered
 *     cx_match_put(match, contact_id, own);   as often as there are contacts
 *     if (!cx_match_close(match)) return;     false: answered
 *
 * That is all: the comparing is done afterwards by fanout, so that neither
 * answer nor time tells anything about who else is registered.
 */

#ifndef CX_MATCH_H
#define CX_MATCH_H

#include "request.h"

typedef struct cx_match_s cx_match_t;

cx_match_t *cx_match_open(cx_request_t *r);

/* own: the layer as it is now (a Card); NULL: the contact is gone. */
void cx_match_put(cx_match_t *match, const char *contact_id,
                  const cx_json_t *own);

/* One statement, which waits for other writers of the same book alone: no
 * row may be locked after it in the same transaction. */
bool cx_match_close(cx_match_t *match);

#endif
