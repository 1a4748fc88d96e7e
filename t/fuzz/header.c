/* Accept, Accept-Language, If-None-Match, Range (cx_accept.h, cx_etag.h,
 * cx_range.h). */

#include "cx_accept.h"
#include "cx_etag.h"
#include "cx_range.h"
#include "fuzz.h"


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int zh, en;
    char *value;
    size_t half;
    uint64_t first, last;
    cx_accept_t accept;

    value = fuzz_copy(data, size);
    half = size / 2;

    cx_accept_init(&accept);
    cx_accept_add(&accept, value, size);
    HOLDS((unsigned) cx_accept_choose(&accept) < CX_FORMS);
    cx_accept_add(&accept, value + half, size - half);
    HOLDS((unsigned) cx_accept_choose(&accept) < CX_FORMS);

    (void) cx_accept_parameter(value, size, "text/vcard", "version", "4.0");

    zh = cx_accept_language(value, size, "zh");
    en = cx_accept_language(value, size, "en");
    HOLDS(zh >= 0 && en >= 0);

    (void) cx_etag_match(value, size, "\"7-j\"", 5);
    (void) cx_etag_match(value, size, "W/\"7-j\"", 7);

    HOLDS(cx_range_read(value, size, 1000, &first, &last) != CX_RANGE_ONE
          || (first <= last && last < 1000));

    /* the tag that the client got, whatever stands before it */
    if (half > 0 && cx_etag_match(value, half, value, half)) {
        HOLDS(value[half - 1] == '"' || memchr(value, '*', half) != NULL);
    }

    free(value);

    return 0;
}
