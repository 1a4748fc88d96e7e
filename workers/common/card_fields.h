/*
 * A card as the projection keeps it: the fields of its hash in Redis, made
 * from what cardx.card_projection() gives.  For who brings one card up to
 * date (projection.c) and for who builds all of them anew (rebuild.c).
 */

#ifndef CX_CARD_FIELDS_H
#define CX_CARD_FIELDS_H

#include <stdbool.h>
#include <stdint.h>

#include "pg.h"
#include "settings.h"

/* A body (b:) or a medium (m:) as one view shows it. */
typedef struct {
    const char *field;
    const char *value;
    size_t len;
} cx_shown_t;

typedef struct {
    const char *field;    /* k: */
    const char *redirect; /* the name of what stands for /q */
    const char *verdict;
    int64_t expires; /* unix time; 0: revoked */
} cx_card_key_t;

typedef struct {
    cx_shown_t *shown; /* the whole card's view first, no view twice */
    size_t n_shown;
    cx_card_key_t *keys;
    size_t n_keys;
} cx_card_fields_t;

/* From a row that has card, media and keys in columns 2, 3 and 4, as
 * card_projection() says them.  Belongs to ctx.  False: they can't be read,
 * logged. */
bool cx_card_fields(TALLOC_CTX *ctx, const cx_settings_t *settings,
                    const char *card_id, const PGresult *rows, int row,
                    cx_card_fields_t *fields);

#endif
