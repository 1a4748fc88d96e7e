/* Drawing thumbnails (A3, A4): for who asks for one that is not drawn yet, and
 * for the media worker, which draws them before anybody asks. */

#ifndef CX_THUMBNAIL_H
#define CX_THUMBNAIL_H

#include "projection.h"

/* Draws a thumbnail from the card's name, title, organisation, photo and logo
 * as far as its fields let them show, or takes the owner's own picture; keeps
 * it, and projects it.  True: done, *webp belongs to ctx; *len 0: there is no
 * such thumbnail (any more), and nothing to draw.  False: PostgreSQL or the
 * picture process can't be had now. */
bool cx_thumbnail_draw(cx_projector_t *p, TALLOC_CTX *ctx,
                       const char *thumbnail_id, unsigned char **webp,
                       size_t *len);

#endif
