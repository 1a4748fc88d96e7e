/*
 * Positions in a user's log of changes, and the messages that tell of changes
 * (docs/changes.md).
 *
 * A position is what a client is given as token, or as id of an event:
 *
 *     <epoch>.<xid>                       all below xid is known
 *     <epoch>.<xid>.<kind>.<object>       and of xid itself up to this object
 *     <epoch>.<xid>.all.<kind>.<object>   a first reading has come this far;
 *                                         it began at xid
 *
 * A head is "<position> <bound>": nothing of the user's that anybody may read
 * is at or above the position, and no position above the bound had been given
 * to anybody when it was written.
 *
 * A message is one line with the epoch, and one for each user:
 *
 *     <user_id> <xid> (<xid> <kind> <op> <object>)+
 *                                 all changes after that of the first xid
 *     <user_id>                   changes, not told which
 *     <user_id> !<terminal_id>    the terminal is signed out
 *
 * Texts point into what is read.  Nothing here allocates.
 */

#ifndef CX_CHANGES_H
#define CX_CHANGES_H

#include <stddef.h>
#include <stdint.h>

#define CX_LOG_EPOCH_LEN 16
#define CX_POSITION_MAX 128 /* characters of any position */
#define CX_NO_EPOCH "----------------"

typedef struct {
    const char *text;
    size_t len;
} cx_piece_t;

typedef struct {
    char epoch[CX_LOG_EPOCH_LEN];
    uint64_t xid;
    cx_piece_t xid_text;
    cx_piece_t kind; /* empty: the first form */
    cx_piece_t object;
    int all;
} cx_position_t;

typedef struct {
    cx_piece_t user_id;   /* CX_ID_LEN */
    uint32_t terminal_id; /* signed out; 0: no */
    uint64_t after;
    const char *changes; /* NULL: not told */
    const char *end;
} cx_wake_t;

typedef struct {
    uint64_t xid;
    cx_piece_t kind;
    cx_piece_t op;
    cx_piece_t object;
} cx_change_t;

/* -1: not a position. */
int cx_position_read(const char *text, size_t len, cx_position_t *position);

/* -1: not a head.  `position` is of the first form. */
int cx_head_read(const char *text, size_t len, cx_position_t *position,
                 uint64_t *bound);

/* 1: of the same epoch, and nothing that the head knows of is new to who is
 * at the position, which may have been given.  `head` may be NULL: not
 * known. */
int cx_position_is_new(const cx_position_t *position, const char *head,
                       size_t len);

/* The epoch of a message (CX_LOG_EPOCH_LEN characters) and the rest of it;
 * NULL: not a message. */
const char *cx_wake_epoch(const char **message, const char *end);

/* The next line of a message: 1; its end, or what can't be read: 0. */
int cx_wake_next(const char **message, const char *end, cx_wake_t *wake);

/* The next change of a line, in the order of xid: 1; the end: 0; what can't
 * be read: -1. */
int cx_wake_change(cx_wake_t *wake, cx_change_t *change);

#endif
