/*
 * Counting scans: nginx counts in Redis (cx_scans_name()), and from there
 * batches are added to the keys in PostgreSQL, each exactly once.
 */

#ifndef CX_SCANS_H
#define CX_SCANS_H

#include "projection.h"

/* Adds what was counted so far.  To be called when the projection is ready:
 * what a stale dump of Redis brings back was counted before. */
void cx_scans_drain(cx_projector_t *p, TALLOC_CTX *ctx);

#endif
