#include "unit.h"
#include "phone.h"


/* What is possible passes, valid or not; E.164 comes out. */
static void
test_normalise(void **state)
{
    static const struct {
        const char *text, *region, *e164; /* NULL: refused */
    } cases[] = {
        { "+8613800138000", NULL, "+8613800138000" },
        { "+86 138 0013 8000", NULL, "+8613800138000" },
        { "138 0013 8000", "CN", "+8613800138000" },
        { "0086 13800138000", "CN", "+8613800138000" },
        { "+46 (0)70-123 45 67", "CN", "+46701234567" },
        { "070-123 45 67", "SE", "+46701234567" },
        { "tel:+46-70-123-45-67", NULL, "+46701234567" },
        { "\xef\xbc\x8b\xef\xbc\x94\xef\xbc\x96 70 123 45 67", NULL,
          "+46701234567" },                           /* full-width digits */
        { "+8619912345678", NULL, "+8619912345678" }, /* a young prefix */
        { "+12002000000", NULL, "+12002000000" },     /* possible, not valid */
        { "13800138000", NULL, NULL },                /* of which country? */
        { "13800138000", "XX", NULL },
        { "+1 2530000", NULL, NULL }, /* of one town only */
        { "+86", NULL, NULL },
        { "+86 1", NULL, NULL },
        { "+861380013800013800138000", NULL, NULL },
        { "+999123456789", NULL, NULL }, /* no such country code */
        { "", "CN", NULL },
        { "   ", "CN", NULL },
        { "hello", "CN", NULL },
        { "+", "CN", NULL },
        { "\xff\xfe", "CN", NULL },
        { "+46701234567; drop table", NULL, NULL },
    };
    char out[CX_PHONE_SIZE];
    size_t i;
    int rc;

    (void) state;

    for (i = 0; i < N_OF(cases); i++) {
        out[0] = '\0';
        rc = cx_phone_normalise(cases[i].text, cases[i].region, out);

        if (rc != (cases[i].e164 != NULL ? 0 : -1)
            || (rc == 0 && strcmp(out, cases[i].e164) != 0)) {
            fail_msg("\"%s\": %d %s", cases[i].text, rc, out);
        }
    }
}


/* Nothing is so long that it gets out of `out`. */
static void
test_long(void **state)
{
    char text[5000], out[CX_PHONE_SIZE];

    (void) state;

    memset(text, '1', sizeof(text) - 1);
    text[0] = '+';
    text[sizeof(text) - 1] = '\0';
    assert_int_equal(cx_phone_normalise(text, "CN", out), -1);
}


int
main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(test_normalise),
        UNIT(test_long),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);

    return cmocka_run_group_tests(tests, NULL, NULL);
}
