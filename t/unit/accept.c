#include "unit.h"
#include "cx_accept.h"


/* What the header asks for, and what is chosen. */
static void
test_chosen(void **state)
{
    static const struct {
        const char *accept;
        cx_form_t form;
    } cases[] = {
        { "", CX_FORM_JSON },
        { " , ,", CX_FORM_JSON },
        { "*/*", CX_FORM_JSON },
        { "application/*", CX_FORM_JSON },
        { "application/json", CX_FORM_JSON },
        { "application/jscontact+json", CX_FORM_JSON },
        { "image/png", CX_FORM_JSON },
        { "text/plain, */*;q=0.1", CX_FORM_JSON },
        { "text/html", CX_FORM_HTML },
        { "TEXT/HTML", CX_FORM_HTML },
        { "text/*", CX_FORM_HTML },
        { "text/vcard", CX_FORM_VCARD },
        { "text/x-vcard", CX_FORM_VCARD },
        { "text/html,application/xml;q=0.9,*/*;q=0.8", CX_FORM_HTML },
        { "text/html, */*", CX_FORM_HTML },
        { "text/vcard, */*", CX_FORM_VCARD },
        { "text/vcard, text/*", CX_FORM_VCARD },
        { "text/html, text/vcard", CX_FORM_HTML },
        { "text/vcard;q=0.9, text/html;q=0.8", CX_FORM_VCARD },
        { "application/json, text/html, text/vcard", CX_FORM_JSON },
        { "application/json;q=0.9, text/html", CX_FORM_HTML },
        { "application/json;q=0.1, application/jscontact+json, text/html",
          CX_FORM_JSON },
        { "text/html;q=0, text/*", CX_FORM_VCARD },
        { "text/html;q=0, */*", CX_FORM_JSON },
        { "application/json;q=0, */*", CX_FORM_HTML },
        { "application/json;q=0", CX_FORM_JSON },
        { "text/html;q=0.000", CX_FORM_JSON },
        { "text/html ; level=1 ; Q=0.5 , */* ; q=0.6", CX_FORM_JSON },
        { "text/vcard;version=\"4.0;q=0\", */*;q=0.5", CX_FORM_VCARD },
        { "text/vcard;x=\"a\\\",text/html\", */*;q=0.5", CX_FORM_VCARD },
        /* what can't be read counts for nothing */
        { "text/html;q=", CX_FORM_JSON },
        { "text/html;q=2", CX_FORM_JSON },
        { "text/html;q=1.001", CX_FORM_JSON },
        { "text/html;q=0.1234", CX_FORM_JSON },
        { "text/html;q=.5", CX_FORM_JSON },
        { "text/html;q=-1", CX_FORM_JSON },
        { "text/html;q=x, text/vcard;q=0.1", CX_FORM_VCARD },
        { "text/htm", CX_FORM_JSON },
        { "text/html/x", CX_FORM_JSON },
        { "\"text/html", CX_FORM_JSON },
        { "\\", CX_FORM_JSON },
        { "\"\\", CX_FORM_JSON },
        { ";", CX_FORM_JSON },
    };
    size_t i;
    cx_accept_t accept;

    (void) state;

    for (i = 0; i < N_OF(cases); i++) {
        cx_accept_init(&accept);
        cx_accept_add(&accept, cases[i].accept, strlen(cases[i].accept));

        if (cx_accept_choose(&accept) != cases[i].form) {
            fail_msg("Accept: %s", cases[i].accept);
        }
    }
}


/* Several headers are as one with commas (RFC 9110, 5.2). */
static void
test_several(void **state)
{
    cx_accept_t accept;

    (void) state;

    cx_accept_init(&accept);
    assert_int_equal(cx_accept_choose(&accept), CX_FORM_JSON);

    cx_accept_add(&accept, "*/*;q=0.5", 9);
    assert_int_equal(cx_accept_choose(&accept), CX_FORM_JSON);

    cx_accept_add(&accept, "text/html", 9);
    assert_int_equal(cx_accept_choose(&accept), CX_FORM_HTML);

    cx_accept_add(&accept, "", 0);
    assert_int_equal(cx_accept_choose(&accept), CX_FORM_HTML);
}


/* How much of each language is wanted */
static void
test_languages(void **state)
{
    static const struct {
        const char *header;
        bool en, zh; /* wanted at all */
        int more;    /* 1: en is wanted more than zh; -1: less; 0: the same */
    } cases[] = {
        { "", false, false, 0 },
        { "en", true, false, 1 },
        { "zh-CN, en", true, true, -1 },
        { "en;q=0.5, zh;q=0.6", true, true, -1 },
        { "en, *", true, true, 1 },
        { "*", true, true, 0 },
        { "fr, zh;q=0, *;q=0.5", true, false, 1 },
        { "fr, en;q=0, zh;q=0", false, false, 0 },
        { "zh;q=0, en;q=0.001", true, false, 1 },
        { "zhx, en-", true, false, 1 },
    };
    size_t i;
    int en, zh;

    (void) state;

    for (i = 0; i < N_OF(cases); i++) {
        en = cx_accept_language(cases[i].header, strlen(cases[i].header), "en");
        zh = cx_accept_language(cases[i].header, strlen(cases[i].header), "zh");

        if ((en > 0) != cases[i].en || (zh > 0) != cases[i].zh
            || (en > zh) - (en < zh) != cases[i].more) {
            fail_msg("%s: en %d, zh %d", cases[i].header, en, zh);
        }
    }
}


int
main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(test_chosen),
        UNIT(test_several),
        UNIT(test_languages),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);

    return cmocka_run_group_tests(tests, NULL, NULL);
}
