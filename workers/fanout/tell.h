/*
 * Telling users of changes: dropping their heads, and waking who waits for
 * them (docs/changes.md).
 */

#ifndef CX_TELL_H
#define CX_TELL_H

#include "bulk.h"
#include "projection.h"

typedef enum {
    CX_TELL_IDLE, /* there is nothing to do */
    CX_TELL_SOON, /* there is, and it can't be done yet */
    CX_TELL_MORE, /* something was done, and there is more */
    CX_TELL_AWAY  /* PostgreSQL or Redis failed: nothing was lost */
} cx_tell_rc_t;

#define CX_TELL_NODES 64

typedef struct {
    cx_projector_t *p;
    cx_bulk_t *bulks[CX_TELL_NODES]; /* of each node of Redis; NULL: lost */
    char *addresses[CX_TELL_NODES];  /* NULL: the one server */
    int n;
    bool failed; /* something could be published nowhere */
    int page;    /* holders in the next chunk */
} cx_tell_t;

void cx_tell_init(cx_tell_t *tell, cx_projector_t *p);
void cx_tell_close(cx_tell_t *tell);

/* Users in whose logs somebody has written (effect 'wake'). */
cx_tell_rc_t cx_tell_wakes(cx_tell_t *tell);

/* One chunk of one fan-out (effect 'holders'). */
cx_tell_rc_t cx_tell_holders(cx_tell_t *tell);

#endif
