/*
 * What the picture process and its clients say to each other: one request,
 * one answer, one connection.  A frame is 8 bytes ("cxp1", kind, number of
 * parts, two zeros), a 32-bit big-endian length for each part, and the parts.
 *
 * Neither side trusts the other: parts are counted and measured before
 * anything is allocated, and every wait ends at a deadline.
 */

#ifndef CX_PICTURE_FRAME_H
#define CX_PICTURE_FRAME_H

#include <stdint.h>

#include "media/picture.h"

#define CX_FRAME_PARTS_MAX 5
#define CX_PICTURE_TEXT_MAX 1024 /* bytes of a card's text that are sent */

/* Kinds of request, and of answer. */
typedef enum {
    CX_FRAME_NORMALISE = 'n', /* picture */
    CX_FRAME_DRAW = 'd',      /* name, title, organisation, photo, logo */
    CX_FRAME_THUMBNAIL = 't', /* picture */
    CX_FRAME_DONE = 'k',      /* normalise: sizes, picture, vCard's JPEG;
                                 else the WebP */
    CX_FRAME_REFUSED = 'r'    /* one byte: a reason */
} cx_frame_kind_t;

/* Why there is no answer.  Only the number travels, so that no text of a
 * process that may have been taken over reaches a user or a log. */
typedef enum {
    CX_REASON_NONE,
    CX_REASON_FORMAT,
    CX_REASON_BROKEN,
    CX_REASON_PIXELS,
    CX_REASON_BYTES,
    CX_REASON_SHAPE,
    CX_REASON_KILLED,
    CX_REASON_REQUEST,
    CX_REASON_SANDBOX,
    CX_REASON_LEFT, /* the client */
    CX_REASON_END
} cx_reason_t;

/* What a picture is, going by its first bytes. */
typedef enum {
    CX_FORMAT_NONE,
    CX_FORMAT_JPEG,
    CX_FORMAT_PNG,
    CX_FORMAT_WEBP,
    CX_FORMAT_HEIF /* HEIC and AVIF */
} cx_format_t;

typedef struct {
    cx_frame_kind_t kind;
    unsigned count;
    cx_blob_t parts[CX_FRAME_PARTS_MAX];
} cx_frame_t;

typedef enum {
    CX_FRAME_OK,
    CX_FRAME_CLOSED,  /* the other side left, before or within the frame */
    CX_FRAME_TIMEOUT, /* the deadline passed */
    CX_FRAME_BAD      /* not a frame, or over the limits */
} cx_frame_rc_t;

/* Reads one frame from a non-blocking socket; a deadline is a time of
 * cx_monotonic_ms().  The parts belong to ctx; each
 * is followed by a NUL.  `most`: the bytes all parts may have together. */
cx_frame_rc_t cx_frame_read(TALLOC_CTX *ctx, int fd, size_t most,
                            int64_t deadline, cx_frame_t *frame);

/* Writes one frame to a non-blocking socket. */
cx_frame_rc_t cx_frame_write(int fd, const cx_frame_t *frame, int64_t deadline);

/* The sentence for a client; never NULL. */
const char *cx_reason_text(unsigned reason);

cx_format_t cx_format_of(const unsigned char *bytes, size_t len);

#endif
