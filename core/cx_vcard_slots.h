/*
 * Components of names and addresses and their places in N and ADR (RFC 9555,
 * 2.3 and 2.5; RFC 9554, 2.1 and 2.2).  The first fields are those of RFC
 * 6350, the others RFC 9554's, which say more precisely what stands in the
 * first too.
 */

#ifndef CX_VCARD_SLOTS_H
#define CX_VCARD_SLOTS_H

#include "cx_buf.h"
#include "cx_json.h"

#define CX_N_SLOTS 7
#define CX_N_SHORT 5 /* of RFC 6350 and 2426 */
#define CX_ADR_SLOTS 18
#define CX_ADR_SHORT 7
#define CX_SLOTS_MAX 18

/* The kind of component in each place; NULL: none of its own. */
extern const char *const cx_n_kinds[CX_N_SLOTS];
extern const char *const cx_adr_kinds[CX_ADR_SLOTS];
extern const char *const cx_adr_short_kinds[CX_ADR_SHORT];

typedef struct {
    cx_buf_t text[CX_SLOTS_MAX];
    unsigned n[CX_SLOTS_MAX]; /* values in each */
} cx_slots_t;

#endif
