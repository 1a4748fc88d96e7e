/*
 * cardx-fanout SETTINGS rewrap: wraps every user's data key by the master key
 * that another one wraps so far (master_key_file, other_master_key_file).
 *
 * Workers that have both open either, so they go on meanwhile.  It can be
 * ended at any time and begun again.  For operators (docs/operation.md).
 */

#ifndef CX_REWRAP_H
#define CX_REWRAP_H

#include "projection.h"

/* Writes how far it is to standard output.  0: all are under the master key;
 * 1: some can not be opened, which it names; 2: it could not go on. */
int cx_rewrap(cx_projector_t *p);

#endif
