/*
 * Range (RFC 9110, 14.2), for the media that workers and the edge send.
 */

#ifndef CX_RANGE_H
#define CX_RANGE_H

#include <stddef.h>
#include <stdint.h>

typedef enum {
    CX_RANGE_NONE, /* several, or no range at all: the whole is sent */
    CX_RANGE_ONE,
    CX_RANGE_BAD /* nothing lies in it: 416 */
} cx_range_t;

/* What `value` asks for of a body of `size` bytes; first and last are set for
 * CX_RANGE_ONE alone. */
cx_range_t cx_range_read(const char *value, size_t len, uint64_t size,
                         uint64_t *first, uint64_t *last);

#endif
