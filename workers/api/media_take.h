/* Pictures that clients send. */

#ifndef CX_MEDIA_TAKE_H
#define CX_MEDIA_TAKE_H

#include <stdbool.h>

#include "media/picture.h"
#include "request.h"

/* The body as a picture, upright and without metadata.  `what` it is to be is
 * for the client to read.  Decoding takes its time: nothing should be locked
 * meanwhile.  The picture belongs to the request.  False: answered. */
bool cx_take_picture(cx_request_t *r, const char *what, cx_picture_t *picture);

/* The same, fitted into a thumbnail's size: WebP. */
bool cx_take_thumbnail(cx_request_t *r, cx_blob_t *webp);

#endif
