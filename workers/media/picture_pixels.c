#include "media/picture_pixels.h"

#include <string.h>
#include <vips/vips.h>


#define RATIO_MAX 100
#define VCARD_SIDE 720
#define PICTURE_QUALITY 88
#define WHITE 255.0
#define WEBP_HEAD 12
#define WEBP_ALPHA 0x10
#define CHUNK_HEAD 8
#define PIXELS_PER_MM (72 / 25.4)


/* vips reports what failed as 0 or -1; the picture is to blame. */
static cx_reason_t
broken_if(int failed)
{
    return failed ? CX_REASON_BROKEN : CX_REASON_NONE;
}


/* Libraries have their say about strange pictures; the log is not the place
 * for what a stranger can make them say. */
static void
say_nothing(const gchar *domain, GLogLevelFlags level, const gchar *message,
            gpointer data)
{
    (void) domain;
    (void) level;
    (void) message;
    (void) data;
}


int
cx_pixels_init(const char *program)
{
    g_log_set_default_handler(say_nothing, NULL);

    /* orc would write machine code at run time, which the sandbox forbids;
     * lcms asks for the local time, whose file can not be read. */
    g_setenv("TZ", "UTC0", TRUE);
    g_setenv("ORC_CODE", "emulate", TRUE);
    g_setenv("VIPS_NOVECTOR", "1", TRUE);
    if (vips_init(program) != 0) {
        return -1;
    }

    /* Four loaders remain of the forty; the rest is surface to attack. */
    vips_operation_block_set("VipsForeignLoad", TRUE);
    vips_operation_block_set("VipsForeignLoadJpeg", FALSE);
    vips_operation_block_set("VipsForeignLoadPng", FALSE);
    vips_operation_block_set("VipsForeignLoadWebp", FALSE);
    vips_operation_block_set("VipsForeignLoadHeif", FALSE);

    vips_concurrency_set(1);
    vips_cache_set_max(0);

    return 0;
}


/* Opens a picture as far as its header. */
static int
open_header(const cx_blob_t *in, VipsImage **image)
{
    void *p = in->bytes;

    switch (cx_format_of(in->bytes, in->len)) {
    case CX_FORMAT_JPEG:
        return vips_jpegload_buffer(p, in->len, image, NULL);

    case CX_FORMAT_PNG:
        return vips_pngload_buffer(p, in->len, image, NULL);

    case CX_FORMAT_WEBP:
        return vips_webpload_buffer(p, in->len, image, NULL);

    case CX_FORMAT_HEIF:
        return vips_heifload_buffer(p, in->len, image, NULL);

    default:
        return -1;
    }
}


/* Judges a picture by its header, before anything is decoded.  `foreign`: its
 * colours are not those of sRGB. */
static cx_reason_t
check(const cx_blob_t *in, int *foreign)
{
    gint64 width, height;
    VipsImage *image = NULL;

    if (in->len > CX_PICTURE_BYTES_MAX) {
        return CX_REASON_BYTES;
    }

    if (cx_format_of(in->bytes, in->len) == CX_FORMAT_NONE) {
        return CX_REASON_FORMAT;
    }

    if (open_header(in, &image) != 0) {
        return CX_REASON_BROKEN;
    }

    width = vips_image_get_width(image);
    height = vips_image_get_height(image);
    *foreign = vips_image_get_typeof(image, VIPS_META_ICC_NAME) != 0
               || image->Type == VIPS_INTERPRETATION_CMYK;
    g_object_unref(image);

    if (width * height > CX_PICTURE_PIXELS_MAX) {
        return CX_REASON_PIXELS;
    }

    if (width > height * RATIO_MAX || height > width * RATIO_MAX) {
        return CX_REASON_SHAPE;
    }

    return CX_REASON_NONE;
}


/* The savers' own "strip" is not relied on: nothing is left that could be
 * saved.  The resolution is that of a screen. */
static void
forget_metadata(VipsImage *image)
{
    char **name, **names;

    names = vips_image_get_fields(image);

    for (name = names; *name != NULL; name++) {
        vips_image_remove(image, *name);
    }

    g_strfreev(names);

    image->Xres = image->Yres = PIXELS_PER_MM;
}


/* Decodes a picture once, on the way scaled, turned upright and brought to
 * 8-bit sRGB, into memory.  Three bands, or four with transparency.  What is
 * cut off or damaged is refused, not completed with grey. */
static cx_reason_t
load(const cx_blob_t *in, int width, int height, VipsSize size,
     VipsInteresting crop, VipsImage **out)
{
    int failed, foreign;
    void *p = in->bytes;
    cx_reason_t reason;
    VipsImage *small = NULL, *rgb = NULL;

    reason = check(in, &foreign);
    if (reason != CX_REASON_NONE) {
        return reason;
    }

    failed = vips_thumbnail_buffer(
        p, in->len, &small, width, "height", height, "size", size, "crop", crop,
        "option_string", "[fail_on=error]", foreign ? "export_profile" : NULL,
        "srgb", NULL);

    if (failed) {
        return CX_REASON_BROKEN;
    }

    failed = vips_colourspace(small, &rgb, VIPS_INTERPRETATION_sRGB, NULL);
    g_object_unref(small);

    if (failed) {
        return CX_REASON_BROKEN;
    }

    *out = vips_image_copy_memory(rgb);
    g_object_unref(rgb);

    if (*out == NULL || (*out)->BandFmt != VIPS_FORMAT_UCHAR
        || (*out)->Bands < 3 || (*out)->Bands > 4) {
        return CX_REASON_BROKEN;
    }

    forget_metadata(*out);

    return CX_REASON_NONE;
}


/* Transparency onto white. */
static int
flatten(VipsImage *in, VipsImage **out)
{
    int failed;
    VipsArrayDouble *white;

    if (!vips_image_hasalpha(in)) {
        *out = in;
        g_object_ref(in);
        return 0;
    }

    white = vips_array_double_newv(1, WHITE);
    failed = vips_flatten(in, out, "background", white, NULL);
    vips_area_unref(VIPS_AREA(white));

    return failed;
}


/* Takes over a buffer of glib's. */
static cx_reason_t
keep(TALLOC_CTX *ctx, void *bytes, size_t len, cx_blob_t *out)
{
    out->bytes = talloc_memdup(ctx, bytes, len);
    out->len = len;
    g_free(bytes);

    return broken_if(out->bytes == NULL);
}


/* "strip" leaves out EXIF with its GPS, XMP, IPTC, comments and profiles. */
static cx_reason_t
save_jpeg(TALLOC_CTX *ctx, VipsImage *image, int quality, cx_blob_t *out)
{
    int failed;
    size_t len;
    void *bytes;
    VipsImage *flat;

    if (flatten(image, &flat) != 0) {
        return CX_REASON_BROKEN;
    }

    failed = vips_jpegsave_buffer(flat, &bytes, &len, "Q", quality, "strip",
                                  TRUE, "optimize_coding", TRUE, NULL);
    g_object_unref(flat);

    return failed ? CX_REASON_BROKEN : keep(ctx, bytes, len, out);
}


static cx_reason_t
save_png(TALLOC_CTX *ctx, VipsImage *image, cx_blob_t *out)
{
    size_t len;
    void *bytes;

    if (vips_pngsave_buffer(image, &bytes, &len, "strip", TRUE, "filter",
                            VIPS_FOREIGN_PNG_FILTER_ALL, NULL)
        != 0) {
        return CX_REASON_BROKEN;
    }

    return keep(ctx, bytes, len, out);
}


/* Keeps of a WebP's chunks (RIFF, of the WebP container specification) those
 * that are the picture: libvips 8.14 writes EXIF even when told to strip. */
static cx_reason_t
strip_webp(cx_blob_t *webp)
{
    size_t at, to, size;
    unsigned char *p = webp->bytes;

    to = WEBP_HEAD;

    for (at = WEBP_HEAD; at + CHUNK_HEAD <= webp->len; at += size) {
        size = (size_t) p[at + 4] | (size_t) p[at + 5] << 8
               | (size_t) p[at + 6] << 16 | (size_t) p[at + 7] << 24;
        size += CHUNK_HEAD + size % 2;

        if (size > webp->len - at) {
            return CX_REASON_BROKEN;
        }

        if (memcmp(p + at, "VP8", 3) != 0 && memcmp(p + at, "ALPH", 4) != 0) {
            continue;
        }

        memmove(p + to, p + at, size);

        if (memcmp(p + to, "VP8X", 4) == 0) {
            p[to + CHUNK_HEAD] &= WEBP_ALPHA;
        }

        to += size;
    }

    webp->len = to;
    size = to - CHUNK_HEAD;

    p[4] = (unsigned char) size;
    p[5] = (unsigned char) (size >> 8);
    p[6] = (unsigned char) (size >> 16);
    p[7] = (unsigned char) (size >> 24);

    return CX_REASON_NONE;
}


static cx_reason_t
save_webp(TALLOC_CTX *ctx, VipsImage *image, int quality, cx_blob_t *out)
{
    size_t len;
    void *bytes;
    cx_reason_t reason;

    if (vips_webpsave_buffer(image, &bytes, &len, "Q", quality, "strip", TRUE,
                             "smart_subsample", TRUE, NULL)
        != 0) {
        return CX_REASON_BROKEN;
    }

    reason = keep(ctx, bytes, len, out);

    return reason == CX_REASON_NONE ? strip_webp(out) : reason;
}


/* Keeps the kind of picture that came in, if it then is small enough: a PNG of
 * a photograph may not be. */
static cx_reason_t
save_picture(TALLOC_CTX *ctx, VipsImage *image, cx_format_t format,
             cx_blob_t *out)
{
    cx_reason_t reason;

    if (format == CX_FORMAT_PNG) {
        reason = save_png(ctx, image, out);

        if (reason != CX_REASON_NONE || out->len <= CX_PICTURE_BYTES_MAX) {
            return reason;
        }

        talloc_free(out->bytes);
        format = vips_image_hasalpha(image) ? CX_FORMAT_WEBP : CX_FORMAT_JPEG;
    }

    reason = format == CX_FORMAT_WEBP
                 ? save_webp(ctx, image, PICTURE_QUALITY, out)
                 : save_jpeg(ctx, image, PICTURE_QUALITY, out);

    if (reason == CX_REASON_NONE && out->len > CX_PICTURE_BYTES_MAX) {
        reason = CX_REASON_BYTES;
    }

    return reason;
}


/* Lowers the quality, then the size, until the JPEG is small enough. */
static cx_reason_t
save_vcard(TALLOC_CTX *ctx, VipsImage *image, cx_blob_t *out)
{
    int side, quality;
    cx_reason_t reason;
    VipsImage *small;

    for (side = VCARD_SIDE; side > 16; side = side * 3 / 4) {
        small = NULL;

        if (vips_thumbnail_image(image, &small, side, "height", side, "size",
                                 VIPS_SIZE_DOWN, NULL)
            != 0) {
            return CX_REASON_BROKEN;
        }

        for (quality = 86; quality >= 50; quality -= 12) {
            reason = save_jpeg(ctx, small, quality, out);

            if (reason != CX_REASON_NONE || out->len <= CX_VCARD_PHOTO_MAX) {
                g_object_unref(small);
                return reason;
            }

            talloc_free(out->bytes);
        }

        g_object_unref(small);
    }

    return CX_REASON_BYTES;
}


cx_reason_t
cx_pixels_normalise(TALLOC_CTX *ctx, const cx_blob_t *in, cx_picture_t *out)
{
    VipsImage *image = NULL;
    cx_reason_t reason;

    reason = load(in, CX_PICTURE_SIDE_MAX, CX_PICTURE_SIDE_MAX, VIPS_SIZE_DOWN,
                  VIPS_INTERESTING_NONE, &image);
    if (reason != CX_REASON_NONE) {
        return reason;
    }

    out->width = vips_image_get_width(image);
    out->height = vips_image_get_height(image);

    reason = save_picture(ctx, image, cx_format_of(in->bytes, in->len),
                          &out->picture);

    if (reason == CX_REASON_NONE) {
        reason = save_vcard(ctx, image, &out->vcard);
    }

    g_object_unref(image);

    return reason;
}


/* What noise becomes, which no quality makes small: a blur of itself. */
static cx_reason_t
save_blurred(TALLOC_CTX *ctx, VipsImage *image, cx_blob_t *out)
{
    cx_reason_t reason;
    VipsImage *small = NULL, *blurred = NULL;

    if (vips_resize(image, &small, 0.25, NULL) != 0
        || vips_resize(small, &blurred, (double) image->Xsize / small->Xsize,
                       "vscale", (double) image->Ysize / small->Ysize, NULL)
               != 0) {
        return CX_REASON_BROKEN;
    }

    reason = save_webp(ctx, blurred, 50, out);

    if (reason == CX_REASON_NONE && out->len > CX_THUMBNAIL_BYTES_MAX) {
        reason = CX_REASON_BYTES;
    }

    return reason;
}


/* Lowers the quality until the WebP is small enough. */
static cx_reason_t
save_thumbnail(TALLOC_CTX *ctx, VipsImage *image, cx_blob_t *out)
{
    size_t i;
    cx_reason_t reason;
    static const int qualities[] = { 92, 86, 80, 72, 62, 50, 36, 20 };

    for (i = 0; i < sizeof(qualities) / sizeof(qualities[0]); i++) {
        reason = save_webp(ctx, image, qualities[i], out);

        if (reason != CX_REASON_NONE || out->len <= CX_THUMBNAIL_BYTES_MAX) {
            return reason;
        }

        talloc_free(out->bytes);
    }

    return save_blurred(ctx, image, out);
}


cx_reason_t
cx_pixels_thumbnail(TALLOC_CTX *ctx, const cx_blob_t *in, cx_blob_t *webp)
{
    cx_reason_t reason;
    VipsImage *image = NULL, *flat = NULL;

    reason = load(in, CX_THUMBNAIL_WIDTH, CX_THUMBNAIL_HEIGHT, VIPS_SIZE_BOTH,
                  VIPS_INTERESTING_ATTENTION, &image);

    if (reason == CX_REASON_NONE) {
        reason = broken_if(flatten(image, &flat));
    }

    if (reason == CX_REASON_NONE) {
        reason = save_thumbnail(ctx, flat, webp);
    }

    return reason;
}


/* From vips' order to cairo's. */
static void
to_bgra(const unsigned char *p, unsigned bands, unsigned char *q, size_t n)
{
    unsigned a;

    for (; n > 0; n--, p += bands, q += 4) {
        a = bands == 4 ? p[3] : 255;

        q[0] = (unsigned char) ((p[2] * a + 127) / 255);
        q[1] = (unsigned char) ((p[1] * a + 127) / 255);
        q[2] = (unsigned char) ((p[0] * a + 127) / 255);
        q[3] = (unsigned char) a;
    }
}


cx_reason_t
cx_pixels_load(TALLOC_CTX *ctx, const cx_blob_t *in, int width, int height,
               int cover, cx_pixels_t *out)
{
    size_t n;
    VipsImage *image = NULL;
    cx_reason_t reason;

    reason = load(in, width, height, cover ? VIPS_SIZE_BOTH : VIPS_SIZE_DOWN,
                  cover ? VIPS_INTERESTING_ATTENTION : VIPS_INTERESTING_NONE,
                  &image);
    if (reason != CX_REASON_NONE) {
        return reason;
    }

    out->width = vips_image_get_width(image);
    out->height = vips_image_get_height(image);
    n = (size_t) out->width * (size_t) out->height;

    out->bgra = talloc_size(ctx, 4 * n);
    if (out->bgra == NULL) {
        return CX_REASON_BROKEN;
    }

    to_bgra(VIPS_IMAGE_ADDR(image, 0, 0), (unsigned) image->Bands, out->bgra,
            n);
    g_object_unref(image);

    return CX_REASON_NONE;
}


cx_reason_t
cx_pixels_webp(TALLOC_CTX *ctx, const cx_pixels_t *in, cx_blob_t *webp)
{
    size_t i, n;
    VipsImage *image;
    unsigned char *rgb;

    n = (size_t) in->width * (size_t) in->height;

    rgb = talloc_size(ctx, 3 * n);
    if (rgb == NULL) {
        return CX_REASON_BROKEN;
    }

    for (i = 0; i < n; i++) {
        rgb[3 * i] = in->bgra[4 * i + 2];
        rgb[3 * i + 1] = in->bgra[4 * i + 1];
        rgb[3 * i + 2] = in->bgra[4 * i];
    }

    image = vips_image_new_from_memory(rgb, 3 * n, in->width, in->height, 3,
                                       VIPS_FORMAT_UCHAR);
    if (image == NULL) {
        return CX_REASON_BROKEN;
    }

    image->Type = VIPS_INTERPRETATION_sRGB;

    return save_thumbnail(ctx, image, webp);
}
