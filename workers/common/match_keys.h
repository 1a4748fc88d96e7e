/*
 * Numbers of address books as they are kept and compared (docs/matching.md).
 *
 * A number is hashed together with the one of the book's owner, so that two
 * books have the same hash exactly if each has the other's number.
 */

#ifndef CX_MATCH_KEYS_H
#define CX_MATCH_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <talloc.h>

#include "crypto.h"
#include "phone.h"
#include "settings.h"

#define CX_MATCH_HASH 16 /* bytes of an HMAC-SHA-256 */

/* The region of numbers without a country in an account's book: of its own
 * number, else of its locale, else as the settings say; "" if none of them
 * says any.  phone and locale may be NULL. */
void cx_account_region(const cx_settings_t *settings, const char *phone,
                       const char *locale, char out[3]);

/* What the numbers of one user are hashed and sealed with.  Cleansed when it
 * is freed. */
typedef struct {
    const char *user_id;
    char phone[CX_PHONE_SIZE]; /* the user's, or "" */
    char region[3];            /* of numbers without a country, or "" */
    const char *epoch;         /* of the user's number, decimal */
    int key_id;                /* of the pair key */
    unsigned char tag_key[32];
    unsigned char number_key[32];
    unsigned char pair_key[32];
} cx_match_keys_t;

/* From a row of cardx.match_account(); `wrapped` is the data key as the
 * database has it.  NULL: the data key can't be opened, or no memory. */
cx_match_keys_t *cx_match_keys(TALLOC_CTX *ctx, const cx_settings_t *settings,
                               const char *user_id, const char *phone,
                               const char *locale, const char *epoch,
                               const unsigned char *wrapped, size_t len);

/* Which number it is, for the user alone; `out` takes CX_MATCH_HASH bytes. */
bool cx_match_tag(const cx_match_keys_t *keys, const char *e164,
                  unsigned char *out);

/* The pair of the user's number and this one; side: the user's is the lower
 * one.  False: there is none: the user has no number, or it is this one. */
bool cx_match_pair(const cx_match_keys_t *keys, const char *e164,
                   unsigned char *out, bool *side);

#endif
