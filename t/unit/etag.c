#include "unit.h"
#include "cx_etag.h"


/* RFC 9110, 13.1.2 and 8.8.3.2 */
static void
test_match(void **state)
{
    static const struct {
        const char *value, *etag;
        int match;
    } cases[] = {
        { "\"1-j\"", "\"1-j\"", 1 },
        { "W/\"1-j\"", "\"1-j\"", 1 },
        { "\"1-j\"", "W/\"1-j\"", 1 },
        { "W/\"1-j\"", "W/\"1-j\"", 1 },
        { "*", "\"1-j\"", 1 },
        { " * ", "\"1-j\"", 1 },
        { "\"a\", \"1-j\"", "\"1-j\"", 1 },
        { "\"a\",\t,W/\"1-j\" ,\"b\"", "\"1-j\"", 1 },
        { "\"a,b\",\"1-j\"", "\"1-j\"", 1 },
        { "\"a,\",\"1-j\"", "\"1-j\"", 1 },
        { "", "\"1-j\"", 0 },
        { ",", "\"1-j\"", 0 },
        { "\"\"", "\"1-j\"", 0 },
        { "\"2-j\"", "\"1-j\"", 0 },
        { "\"1-j", "\"1-j\"", 0 },
        { "1-j", "\"1-j\"", 0 },
        { "\"", "\"1-j\"", 0 },
        { "W/", "\"1-j\"", 0 },
        { "W", "\"1-j\"", 0 },
        { "w/\"1-j\"", "\"1-j\"", 0 },
        { "\"11-j\"", "\"1-j\"", 0 },
        { "\"1-jj\"", "\"1-j\"", 0 },
        { "\"1-J\"", "\"1-j\"", 0 },
        { "\", \"1-j\"", "\"1-j\"", 0 },
    };
    size_t i;

    (void) state;

    for (i = 0; i < N_OF(cases); i++) {
        if (cx_etag_match(cases[i].value, strlen(cases[i].value), cases[i].etag,
                          strlen(cases[i].etag))
            != cases[i].match) {
            fail_msg("If-None-Match: %s, ETag: %s", cases[i].value,
                     cases[i].etag);
        }
    }
}


int
main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(test_match),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);

    return cmocka_run_group_tests(tests, NULL, NULL);
}
