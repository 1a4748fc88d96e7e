/* Address books that know each other (D5, docs/matching.md). */

#ifndef CX_MATCH_BOOKS_H
#define CX_MATCH_BOOKS_H

#include "pg.h"
#include "settings.h"

/* Compares a user's book with those of others, for as long as others may be
 * kept waiting; what is left is asked for anew.  False: to be tried again. */
bool cx_match_user(cx_pg_t *pg, const cx_settings_t *settings, TALLOC_CTX *ctx,
                   const char *user_id);

/* Deletes what has had its time; false: nothing was left, or it failed. */
bool cx_match_sweep(cx_pg_t *pg, TALLOC_CTX *ctx);

#endif
