/*
 * A change of a card, from its lock to what happens after the commit: for
 * the card's properties, its media and its thumbnails alike.
 *
 *     change = cx_change_begin(r, card_id);   NULL: answered
 *     ... statements, change->picture = ...
 *     cx_change_end(r, change, 200);
 *
 * Whatever only adds is committed, then projected.  Whatever takes away is
 * put in doubt, committed, projected, and only then answered as done; what
 * can't be confirmed is answered 503 not_yet_in_force.
 */

#ifndef CX_CARD_CHANGE_H
#define CX_CARD_CHANGE_H

#include "request.h"

/* Which of the thumbnails so far show what may not be seen any more: the
 * owner's own picture is in those of the whole card alone. */
typedef enum {
    CX_FORGET_NONE,
    CX_FORGET_WHOLE,
    CX_FORGET_ALL
} cx_forget_t;

typedef struct {
    const char *card_id;
    const char *text;           /* the Card before the change */
    const char *revision;       /* before the change, decimal */
    bool deleted;               /* it was, or is now */
    bool narrower;              /* somebody sees less than before */
    bool picture;               /* thumbnails show something else */
    cx_forget_t forget;         /* ... of which some may not be seen any more */
    const unsigned char *image; /* WebP for the whole view, else NULL: drawn */
    size_t image_len;
    const char *image_id; /* of the thumbnail that has it */
} cx_change_t;

/* Locks a card of the request's user in a transaction.  NULL: answered (404;
 * 412 if If-Match names another revision).  A deleted card is found only by
 * cx_change_begin_any(), which heeds no If-Match for it. */
cx_change_t *cx_change_begin(cx_request_t *r, const char *card_id);
cx_change_t *cx_change_begin_any(cx_request_t *r, const char *card_id);

/* A change of a card that was just made in the open transaction. */
cx_change_t *cx_change_new(cx_request_t *r, const char *card_id);

/* The next revision, for what does not stand in the card's properties; with
 * change->picture also the next picture version.  False: answered. */
bool cx_change_touch(cx_request_t *r, cx_change_t *change);

/* Draws ids for new thumbnails, puts the card in doubt if it gets narrower,
 * answers with the envelope (or without a body if status is 204), and sees
 * to the rest after the commit. */
void cx_change_end(cx_request_t *r, cx_change_t *change, int status);

/* The card's content goes, now and everywhere: ends the change, answering 204.
 * False: answered otherwise. */
bool cx_change_erase(cx_request_t *r, cx_change_t *change);

/* Locks the user's row: before any card, when both are needed.  False:
 * answered.  *own_card_id may become NULL. */
bool cx_user_lock(cx_request_t *r, const char **own_card_id);

/* Answers with a card's envelope and its ETag: 404 if there is none. */
void cx_card_answer(cx_request_t *r, int status, const char *card_id);

#endif
