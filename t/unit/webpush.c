/* Web Push: the example of RFC 8291, appendix A, and what is no point. */

#include "unit.h"

#include <openssl/evp.h>

#include "cx_id.h"
#include "webpush.h"


static void
decoded(const char *text, unsigned char *out, size_t len)
{
    assert_int_equal(cx_base64url_read(text, strlen(text), out), (int) len);
}


static void
test_example(void **state)
{
    size_t len;
    char *text;
    TALLOC_CTX *ctx = *state;
    EVP_PKEY *sender;
    unsigned char *body;
    unsigned char secret[32], point[CX_POINT_LEN], ua[CX_POINT_LEN];
    unsigned char wanted[CX_POINT_LEN], salt[16], auth[16];
    static const char message[] = "When I grow up, I want to be a watermelon";

    decoded("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw", secret, 32);
    decoded("BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6"
            "TlzAC8wEqKK6PBru3jl7A8",
            wanted, sizeof(wanted));
    decoded("BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPj"
            "s7Vd8pZGH6SRpkNtoIAiw4",
            ua, sizeof(ua));
    decoded("DGv6ra1nlYgDCS1FRnbzlw", salt, sizeof(salt));
    decoded("BTBZMqHH6r4Tts7J_aSIgg", auth, sizeof(auth));

    sender = cx_p256_key(secret, point);
    assert_non_null(sender);
    assert_memory_equal(point, wanted, sizeof(point));
    assert_true(cx_push_point_good(ua));

    body = cx_push_encrypt_with(ctx, sender, salt, ua, auth, message,
                                sizeof(message) - 1, &len);
    assert_non_null(body);

    text = talloc_array(ctx, char, len * 2);
    (void) cx_base64url(body, len, text);
    assert_string_equal(
        text,
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27ml"
        "mlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPT"
        "pK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN");

    EVP_PKEY_free(sender);
}


static void
test_points(void **state)
{
    TALLOC_CTX *ctx = *state;
    size_t len;
    unsigned char point[CX_POINT_LEN] = { 4, 1, 2, 3 }, auth[16] = { 0 };
    static char text[CX_PUSH_TEXT_MAX + 1];

    assert_false(cx_push_point_good(point));
    assert_null(cx_push_encrypt(ctx, point, auth, "x", 1, &len));

    memset(point, 0, sizeof(point));
    assert_false(cx_push_point_good(point));

    /* too long for one record */
    decoded("BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPj"
            "s7Vd8pZGH6SRpkNtoIAiw4",
            point, sizeof(point));
    assert_null(cx_push_encrypt(ctx, point, auth, text, sizeof(text), &len));
    assert_non_null(
        cx_push_encrypt(ctx, point, auth, text, CX_PUSH_TEXT_MAX, &len));
    assert_true(len <= 4096);
}


static void
test_key(void **state)
{
    TALLOC_CTX *ctx = *state;
    EVP_PKEY *key, *again;
    cx_settings_t settings;
    unsigned char point[CX_POINT_LEN], point_again[CX_POINT_LEN];
    const char *value;

    memset(&settings, 0, sizeof(settings));
    memset(settings.master_key, 7, sizeof(settings.master_key));

    key = cx_vapid_key(&settings, point);
    again = cx_vapid_key(&settings, point_again);
    assert_non_null(key);
    assert_non_null(again);
    assert_memory_equal(point, point_again, sizeof(point));
    assert_true(cx_push_point_good(point));

    value = cx_vapid_authorization(ctx, key, point, "https://push.example",
                                   "https://cardx.example", 1000);
    assert_non_null(value);
    assert_memory_equal(value, "vapid t=", 8);
    assert_non_null(strstr(value, ", k=B"));

    EVP_PKEY_free(again);

    /* another master key makes another pair */
    settings.master_key[0] ^= 1;
    again = cx_vapid_key(&settings, point_again);
    assert_non_null(again);
    assert_memory_not_equal(point, point_again, sizeof(point));

    EVP_PKEY_free(key);
    EVP_PKEY_free(again);
}


int
main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(test_example),
        UNIT(test_points),
        UNIT(test_key),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);

    return cmocka_run_group_tests(tests, NULL, NULL);
}
