#include "qr_code.h"

#include <ctype.h>
#include <string.h>
#include <cairo.h>
#include <qrencode.h>

#include "cx_buf.h"

#define QUIET 4 /* modules of white around a code */


/* The code in its smallest version, with as much error correction as that
 * has room for, and at least `level`. */
static QRcode *
encode_input(QRencodeMode mode, const unsigned char *data, int len,
             QRecLevel level)
{
    int version;
    QRcode *code, *stronger;
    QRinput *input;

    input = QRinput_new2(0, level);

    if (input == NULL || QRinput_append(input, mode, len, data) != 0) {
        QRinput_free(input);
        return NULL;
    }

    code = QRcode_encodeInput(input);
    version = code != NULL ? code->version : 0;

    while (code != NULL && level < QR_ECLEVEL_H) {
        QRinput_setErrorCorrectionLevel(input, ++level);
        QRinput_setVersion(input, version);
        stronger = QRcode_encodeInput(input);

        if (stronger == NULL || stronger->version > version) {
            QRcode_free(stronger);
            break;
        }

        QRcode_free(code);
        code = stronger;
    }

    QRinput_free(input);

    return code;
}


static QRcode *
encode(TALLOC_CTX *ctx, const void *data, size_t len, bool upper)
{
    size_t i;
    QRcode *code;
    unsigned char *capitals;

    if (len == 0 || len > 4000) {
        return NULL;
    }

    if (upper) {
        capitals = cx_must(talloc_memdup(ctx, data, len));

        for (i = 0; i < len; i++) {
            capitals[i] = (unsigned char) toupper(capitals[i]);
        }

        /* fails if there is something else than the 45 characters */
        code = encode_input(QR_MODE_AN, capitals, (int) len, QR_ECLEVEL_M);
        talloc_free(capitals);

        if (code != NULL) {
            return code;
        }
    }

    return encode_input(QR_MODE_8, data, (int) len,
                        len > 300 ? QR_ECLEVEL_L : QR_ECLEVEL_M);
}


static bool
is_dark(const QRcode *code, int x, int y)
{
    return code->data[y * code->width + x] & 1;
}


char *
cx_qr_svg(TALLOC_CTX *ctx, const void *data, size_t len, bool upper)
{
    int x, y, run, side;
    char *part;
    cx_buf_t out;
    QRcode *code;

    code = encode(ctx, data, len, upper);

    if (code == NULL) {
        return NULL;
    }

    side = code->width + 2 * QUIET;
    cx_buf_init(&out, ctx);

    part = talloc_asprintf(ctx,
                           "<svg xmlns=\"http://www.w3.org/2000/svg\" "
                           "viewBox=\"0 0 %d %d\" "
                           "shape-rendering=\"crispEdges\">"
                           "<path fill=\"#fff\" d=\"M0 0h%dv%dH0z\"/>"
                           "<path d=\"",
                           side, side, side, side);
    cx_buf_puts(&out, part);
    talloc_free(part);

    for (y = 0; y < code->width; y++) {
        for (x = 0; x < code->width; x += run) {
            run = 1;

            while (x + run < code->width
                   && is_dark(code, x + run, y) == is_dark(code, x, y)) {
                run++;
            }

            if (is_dark(code, x, y)) {
                part = talloc_asprintf(ctx, "M%d %dh%dv1h-%dz", x + QUIET,
                                       y + QUIET, run, run);
                cx_buf_puts(&out, part);
                talloc_free(part);
            }
        }
    }

    cx_buf_puts(&out, "\"/></svg>\n");
    QRcode_free(code);

    return cx_buf_text(&out);
}


static cairo_status_t
write_png(void *out, const unsigned char *bytes, unsigned len)
{
    cx_buf_add(out, bytes, len);

    return CAIRO_STATUS_SUCCESS;
}


/* The code in the middle of a white square.  Of one bit a pixel, which cairo
 * writes as grey, 1 is white. */
static void
draw(cairo_t *cr, const QRcode *code, int size)
{
    int x, y, scale, margin;

    scale = size / (code->width + 2 * QUIET);
    margin = (size - scale * code->width) / 2;

    cairo_set_antialias(cr, CAIRO_ANTIALIAS_NONE);
    cairo_paint(cr);
    cairo_set_operator(cr, CAIRO_OPERATOR_CLEAR);

    for (y = 0; y < code->width; y++) {
        for (x = 0; x < code->width; x++) {
            if (is_dark(code, x, y)) {
                cairo_rectangle(cr, margin + x * scale, margin + y * scale,
                                scale, scale);
            }
        }

        /* row by row: one path of thousands of rectangles is slow */
        cairo_fill(cr);
    }
}


unsigned char *
cx_qr_png(TALLOC_CTX *ctx, const void *data, size_t len, int size,
          size_t *png_len)
{
    cairo_t *cr;
    QRcode *code;
    cx_buf_t out;
    cairo_status_t status;
    cairo_surface_t *surface;

    code = encode(ctx, data, len, false);

    if (code == NULL || size < code->width + 2 * QUIET
        || size > CX_QR_SIZE_MAX) {
        QRcode_free(code);
        return NULL;
    }

    cx_buf_init(&out, ctx);
    surface = cairo_image_surface_create(CAIRO_FORMAT_A1, size, size);
    cr = cairo_create(surface);
    draw(cr, code, size);
    cairo_surface_flush(surface);
    status = cairo_surface_write_to_png_stream(surface, write_png, &out);

    cairo_destroy(cr);
    cairo_surface_destroy(surface);
    QRcode_free(code);

    /* it fails for nothing but want of memory */
    cx_must(status == CAIRO_STATUS_SUCCESS ? out.data : NULL);
    *png_len = out.len;

    return (unsigned char *) out.data;
}
