#include "unit.h"
#include "cx_range.h"


/* RFC 9110, 14.1.2 and 14.2; of 1000 bytes */
static void
test_read(void **state)
{
    static const struct {
        const char *value;
        cx_range_t range;
        uint64_t first, last;
    } cases[] = {
        { "bytes=0-0", CX_RANGE_ONE, 0, 0 },
        { "bytes=0-", CX_RANGE_ONE, 0, 999 },
        { "bytes=999-999", CX_RANGE_ONE, 999, 999 },
        { "bytes=10-5000", CX_RANGE_ONE, 10, 999 },
        { "bytes=10-99999999999999999999", CX_RANGE_ONE, 10, 999 },
        { "bytes=-1", CX_RANGE_ONE, 999, 999 },
        { "bytes=-5000", CX_RANGE_ONE, 0, 999 },
        { "bytes=-99999999999999999999", CX_RANGE_ONE, 0, 999 },
        { "Bytes=000000000000000000000001-2", CX_RANGE_ONE, 1, 2 },
        { "bytes=1000-", CX_RANGE_BAD, 0, 0 },
        { "bytes=1000-1001", CX_RANGE_BAD, 0, 0 },
        { "bytes=99999999999999999999-", CX_RANGE_BAD, 0, 0 },
        { "bytes=-0", CX_RANGE_BAD, 0, 0 },
        { "bytes=9-3", CX_RANGE_NONE, 0, 0 },
        { "bytes=5000-4000", CX_RANGE_NONE, 0, 0 },
        { "bytes=0-1,5-6", CX_RANGE_NONE, 0, 0 },
        { "bytes=,0-1", CX_RANGE_NONE, 0, 0 },
        { "bytes=0-1-2", CX_RANGE_NONE, 0, 0 },
        { "bytes= 0-1", CX_RANGE_NONE, 0, 0 },
        { "bytes=0 - 1", CX_RANGE_NONE, 0, 0 },
        { "bytes=+0-1", CX_RANGE_NONE, 0, 0 },
        { "bytes=--1", CX_RANGE_NONE, 0, 0 },
        { "bytes=x-y", CX_RANGE_NONE, 0, 0 },
        { "bytes=0x1-2", CX_RANGE_NONE, 0, 0 },
        { "bytes=5", CX_RANGE_NONE, 0, 0 },
        { "bytes=-", CX_RANGE_NONE, 0, 0 },
        { "bytes=", CX_RANGE_NONE, 0, 0 },
        { "bytes", CX_RANGE_NONE, 0, 0 },
        { "items=0-1", CX_RANGE_NONE, 0, 0 },
        { "0-1", CX_RANGE_NONE, 0, 0 },
        { "", CX_RANGE_NONE, 0, 0 },
    };
    size_t i;
    uint64_t first, last;
    cx_range_t range;

    (void) state;

    for (i = 0; i < N_OF(cases); i++) {
        first = 0;
        last = 0;
        range = cx_range_read(cases[i].value, strlen(cases[i].value), 1000,
                              &first, &last);

        if (range != cases[i].range || first != cases[i].first
            || last != cases[i].last) {
            fail_msg("Range: %s", cases[i].value);
        }
    }

    assert_int_equal(cx_range_read("bytes=0-", 8, 0, &first, &last),
                     CX_RANGE_BAD);
    assert_int_equal(cx_range_read("bytes=-1", 8, 0, &first, &last),
                     CX_RANGE_BAD);
    assert_int_equal(cx_range_read("bytes=0-199", 9, 1000, &first, &last),
                     CX_RANGE_ONE);
    assert_int_equal(last, 1);
}


int
main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(test_read),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);

    return cmocka_run_group_tests(tests, NULL, NULL);
}
