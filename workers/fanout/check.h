/*
 * Comparing the projection in Redis with what PostgreSQL says: every name of
 * Redis that cardx has, and every card, token and thumbnail that must be
 * there.  For operators (docs/operation.md) and for ci/soak.
 *
 * Both change meanwhile, so what differs is looked at again, for some
 * seconds, before it is told.  A miss is never wrong, only slow: it is told
 * apart from what is.
 */

#ifndef CX_CHECK_H
#define CX_CHECK_H

#include "projection.h"

/* Writes what it finds to standard output.  0: equal; 1: something is wrong,
 * or stuck in the outbox; 2: it can't be told; 3: something is missing. */
int cx_check(cx_projector_t *p);

#endif
