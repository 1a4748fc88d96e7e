/*
 * Patches of a card by paths (RFC 9553, 1.3.4 and 2.7.1; RFC 9555, 3.2.1).
 */

#ifndef CX_VCARD_PATCH_H
#define CX_VCARD_PATCH_H

#include "cx_vcard_line.h"

#define CX_PATCH_SEGMENTS 8

/* Copies a value to the place that a path (RFC 6901 without the first slash)
 * names, making the objects on the way.  null removes.  false: the path does
 * not lead there. */
bool cx_patch_apply(cx_json_t *object, const char *path,
                    const cx_json_t *value);

/* Writes as JSPROP what `card` has and `read`, which is how the lines so far
 * are understood, has not. */
void cx_vcard_write_jsprops(cx_vcard_writer_t *writer, const cx_json_t *card,
                            const cx_json_t *read);

/* What JSContact had no place for when it was read (RFC 9555, 2.2.2). */
void cx_vcard_write_kept(cx_vcard_writer_t *writer, const cx_json_t *card);

#endif
