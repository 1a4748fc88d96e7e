/* How much a user's media may take up together. */

#ifndef CX_MEDIA_ROOM_H
#define CX_MEDIA_ROOM_H

#include <stdbool.h>
#include <stddef.h>

#include "request.h"

/* Whether there is room for `len` more bytes of media, those of cards and
 * contacts counted alike; what has been replaced counts until it is swept.
 * False: answered 413. */
bool cx_media_room(cx_request_t *r, size_t len);

#endif
