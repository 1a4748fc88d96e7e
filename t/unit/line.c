#include "unit.h"
#include "cx_line.h"


static void
test_line_shows(void **state)
{
    static const struct {
        const char *text;
        bool shows;
    } cases[] = {
        { "Zoë O'Neill (3rd)", true },
        { "王小明", true },
        { "عمر بن الخطاب", true },
        { "דני", true },
        { "می\u200Cخواهم", true },  /* Persian */
        { "क\u094D\u200Dष", true }, /* Devanagari */
        { "\u2764\uFE0F", true },   /* a red heart */
        { "\u2764\uFE0F\u200D\U0001F525", true },
        { "1\uFE0F\u20E3", true },  /* a keycap */
        { "葛\U000E0100飾", true }, /* a form of a Han character */
        { "\U0001F3F4\U000E0067\U000E0062\U000E0077\U000E006C\U000E0073"
          "\U000E007F",
          true }, /* the flag of Wales */
        { "ᠰᠠᠶᠢᠨ\u180E", true },
        { "", true },
        { "a\nb", false },
        { "a\tb", false },
        { "a\x7F", false },
        { "a\xC2\x85"
          "b",
          false },
        { "a\u2028b", false },
        { "\u202EannA", false },
        { "Anna\u202C", false },
        { "\u2066Anna\u2069", false },
        { "Anna\u200E", false },
        { "\u200FAnna", false },
        { "\u061CAnna", false },
        { "An\u200Bna", false },
        { "An\u00ADna", false },
        { "An\u2060na", false },
        { "An\uFEFFna", false },
        { "An\u200Dna", false },
        { "An\u200Cna", false },
        { "An\uFE0Fna", false },
        { "An\U000E0100na", false },
        { "An\U000E0061na", false },
        { "\u3164", false },
        { "\uFE0F", false },
        { "王\u200D", false },
        { "王\u200D\u200C明", false },
        { "\u2764\uFE0F\uFE0E", false },
        { "\xC3", false },
    };
    size_t i;

    (void) state;

    for (i = 0; i < N_OF(cases); i++) {
        if (cx_line_shows(cases[i].text) != cases[i].shows) {
            fail_msg("case %zu: %s", i, cases[i].text);
        }
    }
}


int
main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(test_line_shows),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);

    return cmocka_run_group_tests(tests, NULL, NULL);
}
