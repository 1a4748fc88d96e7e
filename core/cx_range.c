#include "cx_range.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>


/* Decimal digits; false: none, or something else among them.  What is too
 * large for a number is larger than any body. */
static bool
read_number(const char *text, size_t len, uint64_t *n)
{
    size_t i;

    *n = 0;

    for (i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return false;
        }

        *n = *n < UINT64_MAX / 10 ? 10 * *n + (uint64_t) (text[i] - '0')
                                  : UINT64_MAX;
    }

    return len > 0;
}


cx_range_t
cx_range_read(const char *value, size_t len, uint64_t size, uint64_t *first,
              uint64_t *last)
{
    size_t before, after;
    uint64_t from, to;
    const char *dash;

    if (len < 6 || strncasecmp(value, "bytes=", 6) != 0) {
        return CX_RANGE_NONE;
    }

    value += 6;
    len -= 6;
    dash = memchr(value, '-', len);

    if (dash == NULL) {
        return CX_RANGE_NONE;
    }

    before = (size_t) (dash - value);
    after = len - before - 1;
    to = UINT64_MAX;

    if (after > 0 && !read_number(dash + 1, after, &to)) {
        return CX_RANGE_NONE;
    }

    if (before == 0) {
        if (after == 0) {
            return CX_RANGE_NONE;
        }

        if (to == 0 || size == 0) {
            return CX_RANGE_BAD;
        }

        *first = to < size ? size - to : 0;
        *last = size - 1;

        return CX_RANGE_ONE;
    }

    if (!read_number(value, before, &from) || to < from) {
        return CX_RANGE_NONE;
    }

    if (from >= size) {
        return CX_RANGE_BAD;
    }

    *first = from;
    *last = to < size ? to : size - 1;

    return CX_RANGE_ONE;
}
