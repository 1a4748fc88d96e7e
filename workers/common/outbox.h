/*
 * The outbox: what must happen outside after a commit (docs/projection.md).
 *
 * A row is claimed for CX_OUTBOX_LEASE seconds, handled, and deleted if
 * nobody asked for it anew meanwhile.  Handled at least once: whoever handles
 * it reads PostgreSQL, and must bear being called again.
 */

#ifndef CX_OUTBOX_H
#define CX_OUTBOX_H

#include "pg.h"
#include "settings.h"

#define CX_OUTBOX_LEASE 30 /* s, as outbox.sql has it */
#define CX_OUTBOX_POLL 250 /* ms */
#define CX_OUTBOX_SHORT 3  /* ms */

typedef struct {
    const char *effect;
    const char *object;
    const char *generation; /* decimal */
} cx_outbox_item_t;

/* What a worker says before each round of claims. */
typedef enum {
    CX_OUTBOX_WAIT, /* nothing can be handled now: claim nothing */
    CX_OUTBOX_IDLE, /* handle what is due, then wait for more */
    CX_OUTBOX_SOON, /* the same, but wait for a few ms at most */
    CX_OUTBOX_BUSY  /* the same, but come back at once */
} cx_outbox_turn_t;

typedef struct {
    const cx_settings_t *settings;
    cx_pg_t *pg;
    const char *name;    /* the socket on which it is poked */
    const char *effects; /* as "{card,terminal}" */
    int batch;           /* rows claimed at once; all are handled in a lease */
    int retry_max;       /* s between two tries of one row */
    void *data;          /* for the calls below */

    /* True: done.  False: to be tried again, after 2, 4, 8 ... s. */
    bool (*handle)(void *data, TALLOC_CTX *ctx, const cx_outbox_item_t *item);

    /* Whatever else is to be done between rounds; or NULL. */
    cx_outbox_turn_t (*between)(void *data, TALLOC_CTX *ctx);
} cx_outbox_t;

/* Handles what is due until the process is to stop, and finishes what is in
 * hand.  PostgreSQL being away is waited for.  Returns the exit code. */
int cx_outbox_run(const cx_outbox_t *outbox);

/* Waits before asking PostgreSQL once more, longer each time; *ms starts at
 * 0.  False: the process is to stop. */
bool cx_outbox_pause(int *ms);

#endif
