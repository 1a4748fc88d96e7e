#include "unit.h"
#include "cx_accept.h"
#include "cx_etag.h"


static void
test_accept(void **state)
{
    static const struct {
        const char *value;
        cx_form_t form;
    } cases[] = {
        { "", CX_FORM_JSON },
        { "*/*", CX_FORM_JSON },
        { "application/jscontact+json", CX_FORM_JSON },
        { "application/json", CX_FORM_JSON },
        { "text/html", CX_FORM_HTML },
        { "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
          CX_FORM_HTML },
        { "text/vcard", CX_FORM_VCARD },
        { "text/x-vcard", CX_FORM_VCARD },
        { "TEXT/VCARD; version=4.0", CX_FORM_VCARD },
        { "text/*", CX_FORM_HTML },
        { "text/html;q=0.5, text/vcard", CX_FORM_VCARD },
        { "text/html;q=0, text/vcard;q=0.001", CX_FORM_VCARD },
        { "text/html, text/vcard;q=0.9", CX_FORM_HTML },
        { "image/png", CX_FORM_JSON },
        { "text/html;q=x, text/vcard", CX_FORM_VCARD },
        { ";;;,,,/,", CX_FORM_JSON },
        { "*/*, text/html", CX_FORM_HTML },
    };
    cx_accept_t accept;
    size_t i;

    (void) state;

    for (i = 0; i < N_OF(cases); i++) {
        cx_accept_init(&accept);
        cx_accept_add(&accept, cases[i].value, strlen(cases[i].value));

        if (cx_accept_choose(&accept) != cases[i].form) {
            fail_msg("%s: %d", cases[i].value, cx_accept_choose(&accept));
        }
    }

    /* a header may come in pieces */
    cx_accept_init(&accept);
    cx_accept_add(&accept, "text/html;q=0.1", 15);
    cx_accept_add(&accept, "text/vcard", 10);
    assert_int_equal(cx_accept_choose(&accept), CX_FORM_VCARD);
    cx_accept_init(&accept);
    assert_int_equal(cx_accept_choose(&accept), CX_FORM_JSON);
}


static void
test_etag(void **state)
{
    static const char etag[] = "\"7-j\"";
    static const struct {
        const char *value;
        int match;
    } cases[] = {
        { "\"7-j\"", 1 },
        { "W/\"7-j\"", 1 },
        { "*", 1 },
        { " \"a\" , \"7-j\"", 1 },
        { "\"a,\\\", \"7-j\"", 1 },
        { "\"a, 7-j\"", 0 },
        { "\"7-J\"", 0 },
        { "7-j", 0 },
        { "", 0 },
        { "\"", 0 },
        { "W/", 0 },
        { "\"7-j", 0 },
        { ",,\"7-j\"", 1 },
    };
    size_t i;

    (void) state;

    for (i = 0; i < N_OF(cases); i++) {
        if (cx_etag_match(cases[i].value, strlen(cases[i].value), etag,
                          strlen(etag))
            != cases[i].match) {
            fail_msg("%s", cases[i].value);
        }
    }

    assert_int_equal(cx_etag_match("\"1\"", 3, "W/\"1\"", 5), 1);
}


int
main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(test_accept),
        UNIT(test_etag),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);

    return cmocka_run_group_tests(tests, NULL, NULL);
}
