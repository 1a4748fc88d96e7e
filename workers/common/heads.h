/*
 * Heads: where each user's log ends, for the edge (docs/changes.md).
 *
 * A head may be missing at any time: the edge then asks a worker, who writes
 * it.  Whoever commits a change drops the head after that; a worker that finds
 * none leaves a mark before it reads PostgreSQL, and writes the head only if
 * the mark is still there.  So a head that stands has missed no change.
 * Dropped is also what caches at the edge have of it.
 */

#ifndef CX_HEADS_H
#define CX_HEADS_H

#include "projection.h"

#define CX_HEAD_MARK 20 /* with its NUL */

/* After a commit.  False: not confirmed, by Redis and all caches; fanout
 * comes back to it. */
bool cx_head_drop(cx_projector_t *p, const char *user_id);

/* Before PostgreSQL is read.  The mark is empty if there is a head. */
void cx_head_begin(cx_projector_t *p, const char *user_id,
                   char mark[CX_HEAD_MARK]);

/* Afterwards: the head, as core/cx_changes.h has it.  One that stands is
 * written again if nothing but its bound is another. */
void cx_head_settle(cx_projector_t *p, const char *user_id,
                    const char mark[CX_HEAD_MARK], const char *head);

#endif
