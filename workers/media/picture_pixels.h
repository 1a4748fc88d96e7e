/*
 * What the picture process does with pictures, through libvips.  All of it
 * runs in the sandboxed child; functions return a reason, CX_REASON_NONE for
 * success, and leave nothing behind that the end of the child would not free.
 */

#ifndef CX_PICTURE_PIXELS_H
#define CX_PICTURE_PIXELS_H

#include "media/picture_frame.h"

/* Pixels as cairo keeps them: 32 bits, blue first, alpha multiplied in. */
typedef struct {
    unsigned char *bgra;
    int width;
    int height;
} cx_pixels_t;

/* Starts libvips, in the parent: no threads, only the loaders of the formats
 * we take.  -1: it does not start. */
int cx_pixels_init(const char *program);

/* A picture upright, in sRGB, not larger than CX_PICTURE_SIDE_MAX, without
 * metadata, and as a JPEG for vCard. */
cx_reason_t cx_pixels_normalise(TALLOC_CTX *ctx, const cx_blob_t *in,
                                cx_picture_t *out);

/* A picture cut and scaled to a thumbnail. */
cx_reason_t cx_pixels_thumbnail(TALLOC_CTX *ctx, const cx_blob_t *in,
                                cx_blob_t *webp);

/* A picture for drawing: `cover`: fills width x height, what attracts the eye
 * is kept; else it fits into them. */
cx_reason_t cx_pixels_load(TALLOC_CTX *ctx, const cx_blob_t *in, int width,
                           int height, int cover, cx_pixels_t *out);

/* Opaque pixels as WebP of at most CX_THUMBNAIL_BYTES_MAX. */
cx_reason_t cx_pixels_webp(TALLOC_CTX *ctx, const cx_pixels_t *in,
                           cx_blob_t *webp);

#endif
