#include "cx_etag.h"

#include <string.h>


static void
skip_weak(const char **text, size_t *len)
{
    if (*len >= 2 && (*text)[0] == 'W' && (*text)[1] == '/') {
        *text += 2;
        *len -= 2;
    }
}


int
cx_etag_match(const char *value, size_t len, const char *etag, size_t etag_len)
{
    size_t n;
    const char *close;

    skip_weak(&etag, &etag_len);

    for (;;) {
        while (len > 0 && strchr(" \t,", *value) != NULL) {
            value++;
            len--;
        }

        if (len == 0) {
            return 0;
        }

        if (*value == '*') {
            return 1;
        }

        skip_weak(&value, &len);

        if (len < 2 || *value != '"') {
            return 0;
        }

        close = memchr(value + 1, '"', len - 1);
        if (close == NULL) {
            return 0;
        }

        n = (size_t) (close - value) + 1;

        if (n == etag_len && memcmp(value, etag, n) == 0) {
            return 1;
        }

        value += n;
        len -= n;
    }
}
