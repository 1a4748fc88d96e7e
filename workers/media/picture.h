/*
 * The picture process (cardx-picture): libvips behind a unix socket, in a
 * process with rlimits, no network, no files, and seccomp, that forks for
 * each request: a hostile picture can cost that process, nothing else.
 *
 * The calls below are its client side, for the workers.  They block until
 * the answer or CX_PICTURE_TIMEOUT.  Results belong to ctx.
 */

#ifndef CX_PICTURE_H
#define CX_PICTURE_H

#include <stddef.h>
#include <talloc.h>

#define CX_PICTURE_TIMEOUT 15          /* seconds */
#define CX_PICTURE_BYTES_MAX 5242880   /* of a picture that comes in */
#define CX_PICTURE_PIXELS_MAX 60000000 /* width * height, before decoding */
#define CX_PICTURE_SIDE_MAX 2048       /* what is kept is not larger */
#define CX_THUMBNAIL_WIDTH 480
#define CX_THUMBNAIL_HEIGHT 270
#define CX_THUMBNAIL_BYTES_MAX 24576
#define CX_VCARD_PHOTO_MAX 204800

typedef enum {
    CX_PICTURE_OK,
    CX_PICTURE_REFUSED, /* not a picture we take, broken, too large: 4xx */
    CX_PICTURE_AWAY     /* the process can't be reached or timed out: 503 */
} cx_picture_rc_t;

typedef struct {
    unsigned char *bytes;
    size_t len;
} cx_blob_t;

typedef struct {
    char *type; /* image/jpeg, image/png or image/webp */
    int width;
    int height;
    cx_blob_t picture; /* upright, sRGB, no metadata at all */
    cx_blob_t vcard;   /* JPEG of at most CX_VCARD_PHOTO_MAX, for vCard 3.0 */
} cx_picture_t;

/* What a name card is drawn from; texts UTF-8 or NULL, blobs may be empty. */
typedef struct {
    const char *name;
    const char *title;
    const char *organisation;
    cx_blob_t photo;
    cx_blob_t logo;
} cx_thumbnail_t;

/* JPEG (EXIF orientation applied), PNG, WebP, HEIC/AVIF in; JPEG, PNG (with
 * transparency) or WebP out; HEIC and AVIF become JPEG.  `why`: a sentence
 * for the client when refused. */
cx_picture_rc_t cx_picture_normalise(TALLOC_CTX *ctx, const char *socket_path,
                                     const unsigned char *bytes, size_t len,
                                     cx_picture_t *picture, const char **why);

/* Draws the thumbnail from the card's texts and photo: WebP. */
cx_picture_rc_t cx_picture_draw(TALLOC_CTX *ctx, const char *socket_path,
                                const cx_thumbnail_t *card, cx_blob_t *webp,
                                const char **why);

/* The owner's own picture as thumbnail: fitted into the size, WebP. */
cx_picture_rc_t cx_picture_thumbnail(TALLOC_CTX *ctx, const char *socket_path,
                                     const unsigned char *bytes, size_t len,
                                     cx_blob_t *webp, const char **why);

#endif
