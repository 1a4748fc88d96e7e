/* Cards, for whoever changes them besides the owner's calls. */

#ifndef CX_CARDS_H
#define CX_CARDS_H

#include "card_change.h"

/* The Card that is locked; NULL: answered. */
cx_json_t *cx_card_stored(cx_request_t *r, const cx_change_t *change);

/* Another Card in its place, `old`; answers 200 with the envelope, or why it
 * can't be. */
void cx_card_replace(cx_request_t *r, cx_change_t *change, cx_json_t *card,
                     const cx_json_t *old);

#endif
