/* Numbers of address books as they are kept and compared (match_keys.h). */

#include "unit.h"

#include <stdbool.h>

#include "match_keys.h"

#define ANNA "+8613800138000"
#define BELA "+491701234567"
#define CARL "+16502530000"


static cx_settings_t *
settings(TALLOC_CTX *ctx, int master)
{
    cx_settings_t *s;

    s = talloc_zero(ctx, cx_settings_t);
    memset(s->master_key, master, sizeof(s->master_key));

    return s;
}


/* A user's keys; the data key is drawn from the user's id. */
static cx_match_keys_t *
keys_of(TALLOC_CTX *ctx, const cx_settings_t *s, const char *user_id,
        const char *phone, const char *locale)
{
    size_t len;
    unsigned char data_key[32], *wrapped;
    cx_match_keys_t *keys;

    memset(data_key, user_id[0], sizeof(data_key));
    wrapped = cx_master_seal(ctx, s, CX_DATA_KEY, user_id, data_key,
                             sizeof(data_key), &len);
    keys = cx_match_keys(ctx, s, user_id, phone, locale, "1", wrapped, len);
    assert_non_null(keys);

    return keys;
}


static bool
same(const unsigned char *a, const unsigned char *b)
{
    return memcmp(a, b, CX_MATCH_HASH) == 0;
}


static void
a_pair_is_the_same_from_both_sides(void **state)
{
    bool side_a, side_b;
    unsigned char a[CX_MATCH_HASH], b[CX_MATCH_HASH];
    cx_settings_t *s = settings(*state, 1);
    cx_match_keys_t *anna = keys_of(*state, s, "anna", ANNA, NULL);
    cx_match_keys_t *bela = keys_of(*state, s, "bela", BELA, NULL);

    assert_true(cx_match_pair(anna, BELA, a, &side_a));
    assert_true(cx_match_pair(bela, ANNA, b, &side_b));
    assert_true(same(a, b));
    assert_int_not_equal(side_a, side_b);
}


static void
other_pairs_are_others(void **state)
{
    bool side;
    unsigned char a[CX_MATCH_HASH], b[CX_MATCH_HASH];
    cx_settings_t *s = settings(*state, 1);
    cx_match_keys_t *anna = keys_of(*state, s, "anna", ANNA, NULL);
    cx_match_keys_t *bela = keys_of(*state, s, "bela", BELA, NULL);

    /* one number in two books says nothing */
    assert_true(cx_match_pair(anna, CARL, a, &side));
    assert_true(cx_match_pair(bela, CARL, b, &side));
    assert_false(same(a, b));

    assert_true(cx_match_pair(anna, BELA, b, &side));
    assert_false(same(a, b));
    assert_false(cx_match_pair(anna, ANNA, a, &side));
}


static void
who_has_no_number_has_no_pairs(void **state)
{
    bool side;
    unsigned char pair[CX_MATCH_HASH], tag[CX_MATCH_HASH];
    cx_match_keys_t *keys =
        keys_of(*state, settings(*state, 1), "anna", NULL, NULL);

    assert_false(cx_match_pair(keys, BELA, pair, &side));
    assert_true(cx_match_tag(keys, BELA, tag));
}


static void
a_tag_is_the_users_own(void **state)
{
    unsigned char a[CX_MATCH_HASH], b[CX_MATCH_HASH];
    cx_settings_t *s = settings(*state, 1);
    cx_match_keys_t *anna = keys_of(*state, s, "anna", ANNA, NULL);
    cx_match_keys_t *bela = keys_of(*state, s, "bela", BELA, NULL);

    assert_true(cx_match_tag(anna, CARL, a));
    assert_true(cx_match_tag(bela, CARL, b));
    assert_false(same(a, b));
    assert_true(cx_match_tag(anna, BELA, b));
    assert_false(same(a, b));

    /* with another number of the user's own it stays */
    anna = keys_of(*state, s, "anna", CARL, NULL);
    assert_true(cx_match_tag(anna, CARL, b));
    assert_true(same(a, b));
}


static void
another_master_key_is_another_id(void **state)
{
    bool side;
    unsigned char a[CX_MATCH_HASH], b[CX_MATCH_HASH];
    cx_match_keys_t *before, *after;

    before = keys_of(*state, settings(*state, 1), "anna", ANNA, NULL);
    after = keys_of(*state, settings(*state, 2), "anna", ANNA, NULL);

    assert_int_not_equal(before->key_id, after->key_id);
    assert_true(before->key_id >= 0 && after->key_id >= 0);
    assert_true(cx_match_pair(before, BELA, a, &side));
    assert_true(cx_match_pair(after, BELA, b, &side));
    assert_false(same(a, b));

    /* the data key is wrapped anew, and is the same */
    assert_true(cx_match_tag(before, BELA, a));
    assert_true(cx_match_tag(after, BELA, b));
    assert_true(same(a, b));
}


static void
regions(void **state)
{
    size_t i;
    cx_settings_t *s = settings(*state, 1);
    static const struct {
        const char *phone;
        const char *locale;
        const char *preset;
        const char *region;
    } cases[] = {
        { ANNA, "de-DE", "FR", "CN" },
        { BELA, NULL, NULL, "DE" },
        { CARL, "zh", NULL, "US" },
        { NULL, "zh-Hans-CN", "FR", "CN" },
        { NULL, "fr-ch", "FR", "CH" },
        { NULL, "fr", "FR", "FR" },
        { NULL, NULL, "FR", "FR" },
        { NULL, NULL, NULL, "" },
        { NULL, "en-x-private", NULL, "" },
        { "+99912345", "de-AT", NULL, "AT" },
        { "+2125551234", NULL, "FR", "MA" },
    };

    for (i = 0; i < N_OF(cases); i++) {
        s->default_region = (char *) cases[i].preset;
        assert_string_equal(
            keys_of(*state, s, "anna", cases[i].phone, cases[i].locale)->region,
            cases[i].region);
    }
}


static void
a_foreign_data_key_opens_nothing(void **state)
{
    unsigned char junk[60] = { 7 };

    assert_null(cx_match_keys(*state, settings(*state, 1), "anna", ANNA, NULL,
                              "1", junk, sizeof(junk)));
    assert_null(cx_match_keys(*state, settings(*state, 1), "anna", ANNA, NULL,
                              "1", NULL, 0));
}


int
main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(a_pair_is_the_same_from_both_sides), UNIT(other_pairs_are_others),
        UNIT(who_has_no_number_has_no_pairs),     UNIT(a_tag_is_the_users_own),
        UNIT(another_master_key_is_another_id),   UNIT(regions),
        UNIT(a_foreign_data_key_opens_nothing),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);

    return cmocka_run_group_tests(tests, NULL, NULL);
}
