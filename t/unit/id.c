#include "unit.h"
#include "cx_id.h"


static const char key_text[] =
    "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F";


static cx_id_key_t
id_key(void)
{
    cx_id_key_t key;

    assert_int_equal(cx_id_key_parse(&key, key_text, strlen(key_text)), 0);

    return key;
}


static void
test_key(void **state)
{
    cx_id_key_t key;
    char text[80];

    (void) state;
    snprintf(text, sizeof(text), "%s\r\n", key_text);
    assert_int_equal(cx_id_key_parse(&key, text, strlen(text)), 0);
    snprintf(text, sizeof(text), "%s00", key_text);
    assert_int_equal(cx_id_key_parse(&key, text, strlen(text)), -1);
    assert_int_equal(cx_id_key_parse(&key, key_text, 63), -1);
    snprintf(text, sizeof(text), "%s", key_text);
    text[5] = 'g';
    assert_int_equal(cx_id_key_parse(&key, text, 64), -1);
    assert_int_equal(cx_id_key_parse(&key, "", 0), -1);
}


static void
test_id(void **state)
{
    cx_id_key_t key = id_key(), other;
    char id[CX_ID_LEN + 1], second[CX_ID_LEN + 1], broken[CX_ID_LEN + 1];
    size_t i;

    (void) state;
    assert_int_equal(cx_id_new(&key, CX_ID_CARD, id), 0);
    assert_int_equal(cx_id_new(&key, CX_ID_CARD, second), 0);
    assert_int_equal(strlen(id), CX_ID_LEN);
    assert_string_not_equal(id, second);
    assert_int_equal(cx_id_check(&key, CX_ID_CARD, id, CX_ID_LEN), 0);
    assert_int_equal(cx_id_check(&key, CX_ID_USER, id, CX_ID_LEN), -1);
    assert_int_equal(cx_id_check(&key, CX_ID_CARD, id, CX_ID_LEN - 1), -1);
    assert_int_equal(cx_id_check(&key, CX_ID_CARD, id, 0), -1);

    for (i = 0; i < CX_ID_LEN; i++) {
        memcpy(broken, id, sizeof(id));
        broken[i] = id[i] == 'A' ? 'B' : 'A';
        assert_int_equal(cx_id_check(&key, CX_ID_CARD, broken, CX_ID_LEN), -1);
        broken[i] = '=';
        assert_int_equal(cx_id_check(&key, CX_ID_CARD, broken, CX_ID_LEN), -1);
    }

    assert_int_equal(cx_id_key_parse(&other,
                                     "0000000000000000000000000000000000000000"
                                     "000000000000000000000000",
                                     64),
                     0);
    assert_int_equal(cx_id_check(&other, CX_ID_CARD, id, CX_ID_LEN), -1);
}


static void
test_card_key(void **state)
{
    unsigned char hash[CX_SECRET_LEN], again[CX_SECRET_LEN];
    char key[CX_KEY_LEN + 1], lower[CX_KEY_LEN + 1];
    static const unsigned char zeros[] = {
        0x37, 0x47, 0x08, 0xff, 0xf7, 0x71, 0x9d, 0xd5, 0x97, 0x9e, 0xc8,
        0x75, 0xd5, 0x6c, 0xd2, 0x28, 0x6f, 0x6d, 0x3c, 0xf7, 0xec, 0x31,
        0x7a, 0x3b, 0x25, 0x63, 0x2a, 0xab, 0x28, 0xec, 0x37, 0xbb,
    };
    size_t i;

    (void) state;
    assert_int_equal(cx_card_key_new(key, hash), 0);
    assert_int_equal(strlen(key), CX_KEY_LEN);
    assert_int_equal(strspn(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"),
                     CX_KEY_LEN);
    assert_int_equal(cx_card_key_hash(key, CX_KEY_LEN, again), 0);
    assert_memory_equal(hash, again, CX_SECRET_LEN);

    for (i = 0; i <= CX_KEY_LEN; i++) {
        lower[i] =
            (char) (key[i] >= 'A' && key[i] <= 'Z' ? key[i] + 32 : key[i]);
    }

    assert_int_equal(cx_card_key_hash(lower, CX_KEY_LEN, again), 0);
    assert_memory_equal(hash, again, CX_SECRET_LEN);

    /* SHA-256 of sixteen zero bytes */
    assert_int_equal(
        cx_card_key_hash("AAAAAAAAAAAAAAAAAAAAAAAAAA", CX_KEY_LEN, again), 0);
    assert_memory_equal(zeros, again, CX_SECRET_LEN);
    assert_int_equal(
        cx_card_key_hash("AAAAAAAAAAAAAAAAAAAAAAAAAB", CX_KEY_LEN, again), -1);
    assert_int_equal(
        cx_card_key_hash("AAAAAAAAAAAAAAAAAAAAAAAAA1", CX_KEY_LEN, again), -1);
    assert_int_equal(cx_card_key_hash(key, CX_KEY_LEN - 1, again), -1);
    assert_int_equal(cx_card_key_hash("", 0, again), -1);
}


static void
test_token(void **state)
{
    cx_id_key_t key = id_key();
    char user[CX_ID_LEN + 1], text[CX_TOKEN_LEN + 1], again[CX_TOKEN_LEN + 1];
    unsigned char secret[CX_SECRET_LEN] = { 1, 2, 3 };
    cx_token_t token, parsed;
    size_t i;

    (void) state;
    assert_int_equal(cx_id_new(&key, CX_ID_USER, user), 0);
    assert_int_equal(cx_token_new(&key, CX_TOKEN_ACCESS, user, 123456789,
                                  secret, text, &token),
                     0);
    assert_int_equal(strlen(text), CX_TOKEN_LEN);
    assert_int_equal(
        cx_token_parse(&key, CX_TOKEN_ACCESS, text, CX_TOKEN_LEN, &parsed), 0);
    assert_string_equal(parsed.user_id, user);
    assert_int_equal(parsed.terminal_id, 123456789);
    assert_memory_equal(parsed.hash, token.hash, CX_SECRET_LEN);
    assert_int_equal(
        cx_token_parse(&key, CX_TOKEN_REFRESH, text, CX_TOKEN_LEN, &parsed),
        -1);
    assert_int_equal(
        cx_token_parse(&key, CX_TOKEN_ACCESS, text, CX_TOKEN_LEN - 1, &parsed),
        -1);

    /* the same secret gives the same token, none a drawn one */
    assert_int_equal(cx_token_new(&key, CX_TOKEN_ACCESS, user, 123456789,
                                  secret, again, &token),
                     0);
    assert_string_equal(text, again);
    assert_int_equal(cx_token_new(&key, CX_TOKEN_ACCESS, user, 123456789, NULL,
                                  again, &token),
                     0);
    assert_string_not_equal(text, again);

    for (i = 0; i < CX_TOKEN_LEN; i++) {
        memcpy(again, text, sizeof(text));
        again[i] = text[i] == 'A' ? 'B' : 'A';
        assert_int_equal(
            cx_token_parse(&key, CX_TOKEN_ACCESS, again, CX_TOKEN_LEN, &parsed),
            -1);
    }
}


static void
test_base64url(void **state)
{
    static const char *const refused[] = {
        "A",   "AB=",  "A+",    "A/",
        "A A", "AB==", "AAAAA", "AB", /* bits after the last byte */
        "AAB",
    };
    unsigned char bytes[64] = { 0 };
    char text[96];
    size_t i, n, len;

    (void) state;

    for (n = 0; n < sizeof(bytes); n++) {
        for (i = 0; i < n; i++) {
            bytes[i] = (unsigned char) (i * 37 + n);
        }

        len = cx_base64url(bytes, n, text);
        assert_int_equal(len, strlen(text));
        memset(bytes, 0, sizeof(bytes));
        assert_int_equal(cx_base64url_read(text, strlen(text), bytes), n);

        for (i = 0; i < n; i++) {
            assert_int_equal(bytes[i], (unsigned char) (i * 37 + n));
        }
    }

    cx_base64url((const unsigned char *) "\xfb\xff", 2, text);
    assert_string_equal(text, "-_8");

    for (i = 0; i < N_OF(refused); i++) {
        assert_int_equal(
            cx_base64url_read(refused[i], strlen(refused[i]), bytes), -1);
    }

    cx_hex((const unsigned char *) "\x00\xab\xff", 3, text);
    assert_string_equal(text, "00abff");
    memset(bytes, 0xAB, sizeof(bytes));
    cx_hash_name(bytes, text);
    assert_string_equal(text, "abababababababababababababababab");
}


int
main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(test_key),   UNIT(test_id),        UNIT(test_card_key),
        UNIT(test_token), UNIT(test_base64url),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);

    return cmocka_run_group_tests(tests, NULL, NULL);
}
