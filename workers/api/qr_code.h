/* QR codes (ISO/IEC 18004), by libqrencode, as SVG and PNG (C3, F3). */

#ifndef CX_QR_CODE_H
#define CX_QR_CODE_H

#include <stdbool.h>
#include <stddef.h>
#include <talloc.h>

#define CX_QR_SIZE_MIN 64 /* pixels a side of a PNG */
#define CX_QR_SIZE_MAX 4096

/* A complete <svg>, black on white with the quiet zone of four modules, owned
 * by ctx.  upper: `data` is an address that means the same in capitals (its
 * letters are made so), which makes the code smaller.  NULL: too much. */
char *cx_qr_svg(TALLOC_CTX *ctx, const void *data, size_t len, bool upper);

/* The same as PNG of size x size pixels.  NULL: too much, or `size` is less
 * than one pixel a module. */
unsigned char *cx_qr_png(TALLOC_CTX *ctx, const void *data, size_t len,
                         int size, size_t *png_len);

#endif
