/* Sending a medium, whole or in part (RFC 9110, 14). */

#ifndef CX_MEDIA_SERVE_H
#define CX_MEDIA_SERVE_H

#include <stdbool.h>
#include <stdint.h>

#include "request.h"

#define CX_CHUNK 524288 /* bytes of a medium in one row; nginx's slice */

typedef struct {
    const char *etag;
    uint64_t bytes;       /* of the whole medium, at least 1 */
    uint64_t first, last; /* what to send of it */
    bool whole;
} cx_media_part_t;

/* What is asked for of a medium.  False: answered, with 304 or 416. */
bool cx_media_begin(cx_request_t *r, const char *media_id, uint64_t bytes,
                    cx_media_part_t *part);

/* Answers with that part, which `data` is: 200 or 206. */
void cx_media_send(cx_request_t *r, const cx_media_part_t *part,
                   const char *type, const void *data);

/* Answers with a medium that the caller has checked the right to see: 200,
 * 206 for one range, 304, 416.  The ETag is the media id: media never change.
 * Sets no Cache-Control. */
void cx_serve_media(cx_request_t *r, const char *media_id, const char *type,
                    long long bytes);

#endif
