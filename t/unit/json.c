#include "unit.h"


/* Text that is refused, and a word of the sentence that says why. */
static void
test_refused(void **state)
{
    static const struct {
        const char *text, *word;
        size_t len; /* 0: of the text */
    } cases[] = {
        { "", "well-formed", 0 },
        { " ", "well-formed", 0 },
        { "{", "well-formed", 0 },
        { "[1,]", "well-formed", 0 },
        { "[1 2]", "well-formed", 0 },
        { "{\"a\":1,}", "well-formed", 0 },
        { "{a:1}", "well-formed", 0 },
        { "'a'", "well-formed", 0 },
        { "nul", "well-formed", 0 },
        { "NaN", "well-formed", 0 },
        { "01", "well-formed", 0 },
        { "1.", "well-formed", 0 },
        { ".5", "well-formed", 0 },
        { "+1", "well-formed", 0 },
        { "-", "well-formed", 0 },
        { "1e", "well-formed", 0 },
        { "{} {}", "well-formed", 0 },
        { "{}x", "well-formed", 0 },
        { "/**/1", "well-formed", 0 },
        { "\"a\nb\"", "well-formed", 0 },
        { "\"\\x\"", "well-formed", 0 },
        { "\"\\u12\"", "well-formed", 0 },
        { "\"\\", "well-formed", 0 },
        { "\xEF\xBB\xBF{}", "well-formed", 0 },
        { "\"a\0b\"", "NUL", 5 },
        { "\"\\u0000\"", "NUL", 0 },
        { "{\"a\\u0000\":1}", "NUL", 0 },
        { "\"\xC0\x80\"", "UTF-8", 0 },
        { "\"\xED\xA0\x80\"", "UTF-8", 0 },
        { "\"\xF4\x90\x80\x80\"", "UTF-8", 0 },
        { "\"\xE4\xB8\"", "UTF-8", 0 },
        { "\"\xFF\"", "UTF-8", 0 },
        { "\"\\ud800\"", "surrogate", 0 },
        { "\"\\udc00\\ud800\"", "surrogate", 0 },
        { "\"\\ud800\\u0041\"", "surrogate", 0 },
        { "\"\\ud800x\"", "surrogate", 0 },
        { "{\"a\":1,\"b\":2,\"a\":3}", "twice", 0 },
        { "{\"a\":1,\"\\u0061\":2}", "twice", 0 },
        { "{\"x\":{\"\":1,\"\":2}}", "twice", 0 },
        { "1e999", "too large", 0 },
        { "-1e999", "too large", 0 },
    };
    const char *why;
    size_t i;

    for (i = 0; i < N_OF(cases); i++) {
        why = NULL;
        assert_null(cx_json_read(
            *state, cases[i].text,
            cases[i].len ? cases[i].len : strlen(cases[i].text), &why));
        assert_non_null(why);

        if (strstr(why, cases[i].word) == NULL) {
            fail_msg("%s: %s", cases[i].text, why);
        }
    }
}


/* Text that is taken, and how it is written. */
static void
test_written(void **state)
{
    static const struct {
        const char *text, *written;
    } cases[] = {
        { " { } ", "{}" },
        { "[ ]", "[]" },
        { "null", "null" },
        { "[true , false]", "[true,false]" },
        { "[1.50,-0,1E2,12345678901234567890]",
          "[1.50,-0,1E2,12345678901234567890]" },
        { "\"\\u00e9\\/\\b\\f\\n\\r\\t\\\"\\\\\"",
          "\"\xC3\xA9/\\u0008\\u000c\\n\\u000d\\u0009\\\"\\\\\"" },
        { "\"\\ud83d\\ude00\"", "\"\xF0\x9F\x98\x80\"" },
        { "\"\\u007f\"", "\"\\u007f\"" },
        { "{\"b\":1,\"a\":{\"c\":[]}}", "{\"b\":1,\"a\":{\"c\":[]}}" },
        { "{\"\":\"\"}", "{\"\":\"\"}" },
    };
    size_t i;

    for (i = 0; i < N_OF(cases); i++) {
        unit_same_text(*state, unit_json(*state, cases[i].text),
                       cases[i].written);
    }
}


static void
test_depth(void **state)
{
    const char *why;
    char text[20001];
    size_t i;

    memset(text, '[', 10000);
    memset(text + 10000, ']', 10000);
    text[20000] = '\0';
    assert_null(cx_json_read(*state, text, 20000, &why));
    assert_non_null(strstr(why, "deeply"));
    assert_null(cx_json_read(*state, text, 10000, &why));
    assert_non_null(strstr(why, "deeply"));
    assert_null(cx_json_read(*state, text + 10000 - CX_JSON_DEPTH - 1,
                             2 * CX_JSON_DEPTH + 2, &why));
    assert_non_null(cx_json_read(*state, text + 10000 - CX_JSON_DEPTH,
                                 2 * CX_JSON_DEPTH, &why));

    for (i = 0; i + 4 < 20000; i += 5) {
        memcpy(text + i, "{\"a\":", 5);
    }

    assert_null(cx_json_read(*state, text, 20000, &why));
    assert_non_null(strstr(why, "deeply"));
}


/* Thousands of members, and the double at the far end. */
static void
test_many_members(void **state)
{
    const char *why;
    char *text, *p;
    int i;

    text = p = talloc_size(*state, 400000);
    *p++ = '{';

    for (i = 0; i < 20000; i++) {
        p += sprintf(p, "\"m%d\":%d,", i, i);
    }

    strcpy(p, "\"m\":1}");
    assert_non_null(cx_json_read(*state, text, strlen(text), &why));
    strcpy(p, "\"m0\":1}");
    assert_null(cx_json_read(*state, text, strlen(text), &why));
    assert_non_null(strstr(why, "twice"));
}


static void
test_too_many_values(void **state)
{
    const char *why;
    size_t n = 1200001;
    char *text;

    text = talloc_size(*state, n);
    memset(text, '0', n);

    for (size_t i = 0; i < n; i += 2) {
        text[i] = ',';
    }

    text[0] = '[';
    text[n - 1] = ']';
    assert_null(cx_json_read(*state, text, n, &why));
    assert_non_null(strstr(why, "too many"));
}


static void
test_members(void **state)
{
    cx_json_t *object, *array, *value;
    int64_t number;

    object = cx_json_object(*state);
    cx_json_put(object, "a", cx_json_string(*state, "x"));
    cx_json_put(object, "b", cx_json_integer(*state, -7));
    cx_json_put(object, "c", cx_json_boolean(*state, true));
    cx_json_put(object, "d", cx_json_null(*state));
    unit_same_text(*state, object,
                   "{\"a\":\"x\",\"b\":-7,\"c\":true,\"d\":null}");
    value = cx_json_put(object, "a", cx_json_string_n(*state, "yz", 1));
    assert_ptr_equal(talloc_parent(value), object);
    assert_string_equal(cx_json_text(object, "a"), "y");
    assert_null(cx_json_text(object, "b"));
    assert_null(cx_json_text(object, "none"));
    assert_null(cx_json_get(NULL, "a"));
    assert_null(cx_json_get(value, "a"));
    assert_true(cx_json_to_integer(cx_json_get(object, "b"), &number));
    assert_int_equal(number, -7);

    /* moving a member gives it its new name */
    value = cx_json_copy(object, cx_json_get(object, "a"));
    cx_json_put(object, cx_json_get(object, "d")->name, value);
    cx_json_remove(object, "b");
    cx_json_remove(object, "none");
    unit_same_text(*state, object, "{\"a\":\"y\",\"c\":true,\"d\":\"y\"}");

    array = cx_json_array(*state);
    cx_json_append(array, cx_json_copy(*state, object));
    cx_json_append(array, cx_json_integer(*state, INT64_MIN));
    unit_same_text(*state, array,
                   "[{\"a\":\"y\",\"c\":true,\"d\":\"y\"},"
                   "-9223372036854775808]");
    assert_null(cx_json_get(array, "a"));
    cx_json_remove(array, "a");
}


static void
test_integers(void **state)
{
    static const struct {
        const char *text;
        bool whole;
        int64_t number;
    } cases[] = {
        { "0", true, 0 },
        { "-0", true, 0 },
        { "1e2", true, 100 },
        { "1.0", true, 1 },
        { "1.5", false, 0 },
        { "1e300", false, 0 },
        { "9223372036854775807", true, INT64_MAX },
        { "9223372036854775808", false, 0 },
        { "\"1\"", false, 0 },
        { "null", false, 0 },
    };
    int64_t number;
    size_t i;

    for (i = 0; i < N_OF(cases); i++) {
        assert_int_equal(
            cx_json_to_integer(unit_json(*state, cases[i].text), &number),
            cases[i].whole);

        if (cases[i].whole) {
            assert_true(number == cases[i].number);
        }
    }

    assert_false(cx_json_to_integer(NULL, &number));
}


/* RFC 7396, appendix A. */
static void
test_merge_patch(void **state)
{
    static const char *const cases[][3] = {
        { "{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}" },
        { "{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}" },
        { "{\"a\":\"b\"}", "{\"a\":null}", "{}" },
        { "{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}" },
        { "{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}" },
        { "{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}" },
        { "{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}",
          "{\"a\":{\"b\":\"d\"}}" },
        { "{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}" },
        { "[\"a\",\"b\"]", "[\"c\",\"d\"]", "[\"c\",\"d\"]" },
        { "{\"a\":\"b\"}", "[\"c\"]", "[\"c\"]" },
        { "{\"a\":\"foo\"}", "null", "null" },
        { "{\"a\":\"foo\"}", "\"bar\"", "\"bar\"" },
        { "{\"e\":null}", "{\"a\":1}", "{\"e\":null,\"a\":1}" },
        { "[1,2]", "{\"a\":\"b\",\"c\":null}", "{\"a\":\"b\"}" },
        { "{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}" },
        { "{\"a\":1,\"b\":2,\"c\":3}", "{\"b\":null,\"d\":4,\"c\":{\"x\":1}}",
          "{\"a\":1,\"c\":{\"x\":1},\"d\":4}" },
    };
    cx_json_t *result;
    size_t i;

    for (i = 0; i < N_OF(cases); i++) {
        result = cx_json_merge_patch(*state, unit_json(*state, cases[i][0]),
                                     unit_json(*state, cases[i][1]));
        unit_same_text(*state, result, cases[i][2]);
        talloc_free(result);
    }
}


int
main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(test_refused),      UNIT(test_written),         UNIT(test_depth),
        UNIT(test_many_members), UNIT(test_too_many_values), UNIT(test_members),
        UNIT(test_integers),     UNIT(test_merge_patch),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);

    return cmocka_run_group_tests(tests, NULL, NULL);
}
