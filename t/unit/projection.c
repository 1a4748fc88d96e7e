#include "unit.h"
#include "cx_projection.h"


#define NOW 1700000000
#define CARD_ID "AAAAAAAAAAAAAAAAAAAAAAAAAAAA"


static void
test_verdict(void **state)
{
    static const struct {
        const char *value;
        cx_verdict_t verdict;
        const char *view;
    } cases[] = {
        { "1700000001 ", CX_VERDICT_GRANTED, "" },
        { "1700000001 0123456789abcdef", CX_VERDICT_GRANTED,
          "0123456789abcdef" },
        { "1700000000 ", CX_VERDICT_REFUSED, NULL },
        { "1699999999 0123456789abcdef", CX_VERDICT_REFUSED, NULL },
        { "x", CX_VERDICT_REFUSED, NULL },
        { "?1800000000", CX_VERDICT_MISS, NULL },
        { "?1600000000", CX_VERDICT_MISS, NULL },
        { "?", CX_VERDICT_MISS, NULL },
        { "-1700000001", CX_VERDICT_REFUSED, NULL },
        { "-1700000000", CX_VERDICT_MISS, NULL },
        { "-", CX_VERDICT_MISS, NULL },
        { "-17x", CX_VERDICT_MISS, NULL },
        { "", CX_VERDICT_MISS, NULL },
        { "x1800000000", CX_VERDICT_REFUSED, NULL },
        { "1700000001", CX_VERDICT_MISS, NULL },
        { " ", CX_VERDICT_MISS, NULL },
        { "99999999999999999999 ", CX_VERDICT_MISS, NULL },
        { "17000x0001 ", CX_VERDICT_MISS, NULL },
    };
    const char *view;
    size_t len, i;

    (void) state;

    for (i = 0; i < N_OF(cases); i++) {
        view = NULL;
        len = 0;

        if (cx_verdict_read(cases[i].value, strlen(cases[i].value), NOW, &view,
                            &len)
            != cases[i].verdict) {
            fail_msg("%s", cases[i].value);
        }

        if (cases[i].view != NULL) {
            assert_int_equal(len, strlen(cases[i].view));
            assert_memory_equal(view, cases[i].view, len);
        }
    }

    assert_int_equal(cx_verdict_read(NULL, 0, NOW, &view, &len),
                     CX_VERDICT_MISS);
}


static void
test_token_verdict(void **state)
{
    static const struct {
        const char *value, *mark;
        cx_verdict_t verdict;
    } cases[] = {
        { "1700000001", NULL, CX_VERDICT_GRANTED },
        { "1700000000", NULL, CX_VERDICT_REFUSED },
        { "1700000001", "x", CX_VERDICT_REFUSED },
        { "1700000001", "?", CX_VERDICT_MISS },
        { NULL, "x", CX_VERDICT_REFUSED },
        { NULL, "?", CX_VERDICT_MISS },
        { NULL, NULL, CX_VERDICT_MISS },
        { "junk", NULL, CX_VERDICT_MISS },
        { "1700000001 ", NULL, CX_VERDICT_MISS },
    };
    const char *value, *mark;
    size_t i;

    (void) state;

    for (i = 0; i < N_OF(cases); i++) {
        value = cases[i].value;
        mark = cases[i].mark;

        if (cx_token_verdict_read(value, value == NULL ? 0 : strlen(value),
                                  mark, mark == NULL ? 0 : strlen(mark), NOW)
            != cases[i].verdict) {
            fail_msg("%s %s", value == NULL ? "(none)" : value,
                     mark == NULL ? "(none)" : mark);
        }
    }
}


static void
test_redirect(void **state)
{
    static const struct {
        const char *value;
        cx_verdict_t verdict;
    } cases[] = {
        { "1700000001 " CARD_ID, CX_VERDICT_GRANTED },
        { "1700000000 " CARD_ID, CX_VERDICT_REFUSED },
        { "x", CX_VERDICT_REFUSED },
        { "1700000001 short", CX_VERDICT_MISS },
        { "1700000001 " CARD_ID "A", CX_VERDICT_MISS },
        { "1700000001", CX_VERDICT_MISS },
        { "", CX_VERDICT_MISS },
    };
    const char *card_id;
    size_t i;

    (void) state;

    for (i = 0; i < N_OF(cases); i++) {
        card_id = NULL;

        if (cx_redirect_read(cases[i].value, strlen(cases[i].value), NOW,
                             &card_id)
            != cases[i].verdict) {
            fail_msg("%s", cases[i].value);
        }

        if (cases[i].verdict == CX_VERDICT_GRANTED) {
            assert_memory_equal(card_id, CARD_ID, CX_ID_LEN);
        }
    }

    assert_int_equal(cx_redirect_read(NULL, 0, NOW, &card_id), CX_VERDICT_MISS);
}


static void
test_media(void **state)
{
    static const char *const refused[] = {
        "",
        "short 1 image/jpeg",
        CARD_ID,
        CARD_ID " ",
        CARD_ID " image/jpeg",
        CARD_ID " 1",
        CARD_ID " 1 ",
        CARD_ID "x1 image/jpeg",
        CARD_ID " 1 image/jpeg\r\nX-Header: x",
    };
    static const char good[] = CARD_ID " 5242880 image/jpeg";
    const char *id, *type;
    uint64_t bytes;
    size_t len, i;

    (void) state;
    assert_int_equal(
        cx_media_read(good, strlen(good), &id, &bytes, &type, &len), 0);
    assert_memory_equal(id, CARD_ID, CX_ID_LEN);
    assert_int_equal(bytes, 5242880);
    assert_int_equal(len, 10);
    assert_memory_equal(type, "image/jpeg", len);

    for (i = 0; i < N_OF(refused); i++) {
        if (cx_media_read(refused[i], strlen(refused[i]), &id, &bytes, &type,
                          &len)
            != -1) {
            fail_msg("%s", refused[i]);
        }
    }
}


static void
test_names(void **state)
{
    unsigned char hash[CX_SECRET_LEN];
    char out[CX_NAME_MAX];
    cx_token_t token;
    size_t len;

    (void) state;
    memset(hash, 0x0F, sizeof(hash));
    memset(&token, 0, sizeof(token));
    memcpy(token.user_id, CARD_ID, CX_ID_LEN + 1);
    memcpy(token.hash, hash, sizeof(hash));
    token.terminal_id = CX_TERMINAL_MAX;

    len = cx_card_name(out, CARD_ID);
    assert_int_equal(len, strlen(out));
    assert_string_equal(out, "cardx:card:{" CARD_ID "}");
    len = cx_token_name(out, &token);
    assert_int_equal(len, strlen(out));
    assert_string_equal(out, "cardx:token:{" CARD_ID
                             "}:0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f");
    len = cx_terminal_name(out, &token);
    assert_int_equal(len, strlen(out));
    assert_string_equal(out, "cardx:terminal:{" CARD_ID "}:999999999");
    len = cx_thumb_name(out, CARD_ID);
    assert_int_equal(len, strlen(out));
    assert_string_equal(out, "cardx:thumb:" CARD_ID);
    len = cx_redirect_name(out, hash);
    assert_int_equal(len, strlen(out));
    assert_string_equal(out, "cardx:q:0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f");
    len = cx_key_field(out, hash);
    assert_int_equal(len, strlen(out));
    assert_string_equal(out, "k:0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f");
}


int
main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(test_verdict), UNIT(test_token_verdict), UNIT(test_redirect),
        UNIT(test_media),   UNIT(test_names),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);

    return cmocka_run_group_tests(tests, NULL, NULL);
}
