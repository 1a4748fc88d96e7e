/* Sending a medium, whole or in part (RFC 9110, 14). */

#ifndef CX_MEDIA_SERVE_H
#define CX_MEDIA_SERVE_H

#include "request.h"

#define CX_CHUNK 524288 /* bytes of a medium in one row; nginx's slice */

/* Answers with a medium that the caller has checked the right to see: 200,
 * 206 for one range, 304, 416.  The ETag is the media id: media never change.
 * Sets no Cache-Control. */
void cx_serve_media(cx_request_t *r, const char *media_id, const char *type,
                    long long bytes);

#endif
