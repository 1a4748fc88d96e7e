/* Which media cardx takes, and what they really are. */

#ifndef CX_MEDIA_TYPE_H
#define CX_MEDIA_TYPE_H

#include <stdbool.h>
#include <stddef.h>

/* Whether pictures may be sent as this type. */
bool cx_is_picture_type(const char *claimed);

/* The media type under which a sound or a video is kept and given, or NULL:
 * `claimed` is none that is taken, or the bytes are something else. */
const char *cx_media_type(const char *kind, const char *claimed,
                          const unsigned char *bytes, size_t len);

#endif
