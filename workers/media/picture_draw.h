/* The drawing of a name card as a thumbnail, with cairo and pango. */

#ifndef CX_PICTURE_DRAW_H
#define CX_PICTURE_DRAW_H

#include "media/picture_frame.h"

/* Draws the card; a photo or logo that can't be read is left out.  The texts
 * may hold anything. */
cx_reason_t cx_draw_card(TALLOC_CTX *ctx, const cx_blob_t *name,
                         const cx_blob_t *title, const cx_blob_t *organisation,
                         const cx_blob_t *photo, const cx_blob_t *logo,
                         cx_blob_t *webp);

#endif
