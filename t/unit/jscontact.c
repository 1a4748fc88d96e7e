#include "unit.h"
#include "cx_jscontact.h"


/* Cards that are refused, and the place and the reason that are told. */
static void
test_refused(void **state)
{
    static const struct {
        const char *card, *place;
    } cases[] = {
        { "[]", "must be a JSON object" },
        { "\"card\"", "must be a JSON object" },
        { "{\"@type\":\"Group\"}", "/@type: it must be \"Card\"" },
        { "{\"version\":\"2.0\"}", "/version: " },
        { "{\"version\":1}", "/version: " },
        { "{\"uid\":7}", "/uid: it must be a string" },
        { "{\"uid\":\"\"}", "/uid: it must not be empty" },
        { "{\"kind\":null}", "/kind: " },
        { "{\"created\":\"2024-05-31\"}", "/created: it must be a time" },
        { "{\"updated\":\"2024-05-31T10:00:00+02:00\"}", "/updated: " },
        { "{\"updated\":\"2024-13-31T10:00:00Z\"}", "/updated: " },
        { "{\"updated\":\"2024-05-31T10:00:00.Z\"}", "/updated: " },
        { "{\"name\":\"Jane\"}", "/name: it must be an object" },
        { "{\"name\":{}}", "/name: it must have one of components, full" },
        { "{\"name\":{\"full\":1}}", "/name/full: it must be a string" },
        { "{\"name\":{\"@type\":\"Nom\",\"full\":\"\"}}", "/name/@type: " },
        { "{\"name\":{\"components\":{}}}", "/name/components: " },
        { "{\"name\":{\"components\":[{\"kind\":\"given\"}]}}",
          "/name/components/0/value: it is missing" },
        { "{\"name\":{\"full\":\"x\",\"isOrdered\":\"yes\"}}",
          "/name/isOrdered: it must be true or false" },
        { "{\"name\":{\"full\":\"x\",\"sortAs\":{\"given\":1}}}",
          "/name/sortAs/given: " },
        { "{\"phones\":[]}", "/phones: it must be an object" },
        { "{\"phones\":{\"a b\":{\"number\":\"1\"}}}",
          "/phones/a b: its name must be an id" },
        { "{\"phones\":{\"\":{\"number\":\"1\"}}}", "must be an id" },
        { "{\"phones\":{\"a\":\"1\"}}", "/phones/a: it must be an object" },
        { "{\"phones\":{\"a\":{}}}", "/phones/a/number: it is missing" },
        { "{\"phones\":{\"a\":{\"number\":1}}}", "/phones/a/number: " },
        { "{\"phones\":{\"a\":{\"number\":\"1\",\"pref\":0}}}",
          "/phones/a/pref: it must be a whole number from 1 to 100" },
        { "{\"phones\":{\"a\":{\"number\":\"1\",\"pref\":1.5}}}", "/pref: " },
        { "{\"phones\":{\"a\":{\"number\":\"1\",\"pref\":101}}}", "/pref: " },
        { "{\"phones\":{\"a\":{\"number\":\"1\",\"contexts\":[]}}}",
          "/phones/a/contexts: " },
        { "{\"phones\":{\"a\":{\"number\":\"1\","
          "\"features\":{\"x/y~z\":false}}}}",
          "/phones/a/features/x~1y~0z: it must be true" },
        { "{\"emails\":{\"e\":{}}}", "/emails/e/address: it is missing" },
        { "{\"nicknames\":{\"e\":{}}}", "/nicknames/e/name: " },
        { "{\"organizations\":{\"o\":{}}}", "/organizations/o: it must have" },
        { "{\"organizations\":{\"o\":{\"units\":[\"x\"]}}}",
          "/organizations/o/units/0: " },
        { "{\"titles\":{\"t\":{\"name\":\"x\",\"organizationId\":\"a b\"}}}",
          "/titles/t/organizationId: " },
        { "{\"speakToAs\":{\"pronouns\":{\"p\":{}}}}",
          "/speakToAs/pronouns/p/pronouns: " },
        { "{\"onlineServices\":{\"s\":{\"service\":\"x\"}}}",
          "/onlineServices/s: it must have one of uri, user" },
        { "{\"preferredLanguages\":{\"l\":{\"language\":1}}}",
          "/preferredLanguages/l/language: " },
        { "{\"calendars\":{\"c\":{\"uri\":\"x:y\"}}}", "/calendars/c/kind: " },
        { "{\"schedulingAddresses\":{\"c\":{}}}",
          "/schedulingAddresses/c/uri: " },
        { "{\"addresses\":{\"a\":{\"label\":\"x\"}}}", "/addresses/a: " },
        { "{\"cryptoKeys\":{\"a\":{}}}", "/cryptoKeys/a/uri: " },
        { "{\"directories\":{\"a\":{\"kind\":\"entry\",\"uri\":\"x:y\","
          "\"listAs\":-1}}}",
          "/directories/a/listAs: " },
        { "{\"links\":{\"a\":{\"uri\":null}}}", "/links/a/uri: " },
        { "{\"media\":{\"a\":{\"uri\":\"x:y\"}}}", "/media/a/kind: " },
        { "{\"anniversaries\":{\"a\":{\"kind\":\"birth\"}}}",
          "/anniversaries/a/date: it is missing" },
        { "{\"anniversaries\":{\"a\":{\"kind\":\"birth\","
          "\"date\":\"1970\"}}}",
          "/anniversaries/a/date: it must be an object" },
        { "{\"anniversaries\":{\"a\":{\"kind\":\"birth\","
          "\"date\":{\"month\":13}}}}",
          "/anniversaries/a/date/month: it must be a month" },
        { "{\"anniversaries\":{\"a\":{\"kind\":\"birth\","
          "\"date\":{\"@type\":\"Timestamp\",\"year\":1970}}}}",
          "/anniversaries/a/date/utc: it is missing" },
        { "{\"keywords\":[\"a\"]}", "/keywords: " },
        { "{\"keywords\":{\"a\":1}}", "/keywords/a: it must be true" },
        { "{\"notes\":{\"n\":{\"note\":\"\",\"created\":\"now\"}}}",
          "/notes/n/created: " },
        { "{\"notes\":{\"n\":{\"note\":\"\",\"author\":\"me\"}}}",
          "/notes/n/author: " },
        { "{\"personalInfo\":{\"n\":{\"kind\":\"hobby\"}}}",
          "/personalInfo/n/value: " },
        { "{\"relatedTo\":{\"urn:x\":{\"relation\":[]}}}",
          "/relatedTo/urn:x/relation: " },
        { "{\"members\":{\"urn:x\":false}}", "/members/urn:x: " },
        { "{\"localizations\":{\"de\":[]}}", "/localizations/de: " },
        { "{\"localizations\":{\"de\":{\"/name\":{}}}}",
          "/localizations/de/~1name: the name is no path" },
        { "{\"localizations\":{\"de\":{\"localizations/fr\":{}}}}",
          "the name is no path" },
        { "{\"vCardProps\":[[\"x\"]]}", "/vCardProps/0: " },
        { "{\"vCardProps\":{}}", "/vCardProps: it must be an array" },
    };
    cx_json_t *card;
    const char *why;
    size_t i;

    for (i = 0; i < N_OF(cases); i++) {
        card = unit_json(*state, cases[i].card);
        why = cx_jscontact_check(*state, card);

        if (why == NULL || strstr(why, cases[i].place) == NULL) {
            fail_msg("%s: %s", cases[i].card, why == NULL ? "taken" : why);
        }
    }
}


static void
test_taken(void **state)
{
    static const char *const cases[] = {
        "{}",
        "{\"name\":{\"full\":\"\"}}",
        "{\"foo\":[1,{\"bar\":null}],\"example.com:x\":\"y\"}",
        "{\"phones\":{}}",
        "{\"phones\":{\"a-_9\":{\"@type\":\"Phone\",\"number\":\"x\","
        "\"pref\":100,\"features\":{\"mobile\":true},\"label\":\"l\","
        "\"example.com:foo\":1}}}",
        "{\"created\":\"2024-05-31T10:00:00.123Z\"}",
        "{\"anniversaries\":{\"a\":{\"kind\":\"x\","
        "\"date\":{\"@type\":\"PartialDate\",\"year\":1970}}}}",
        "{\"anniversaries\":{\"a\":{\"kind\":\"x\","
        "\"date\":{\"utc\":\"1970-01-01T00:00:00Z\"}}}}",
        "{\"relatedTo\":{\"urn:x\":{}}}",
        "{\"localizations\":{\"de\":{\"name/full\":\"x\",\"a\":null}}}",
    };
    cx_json_t *card;
    const char *why;
    size_t i;

    for (i = 0; i < N_OF(cases); i++) {
        card = unit_json(*state, cases[i]);
        why = cx_jscontact_check(*state, card);

        if (why != NULL) {
            fail_msg("%s: %s", cases[i], why);
        }

        unit_has(*state, card, cases[i]);
        unit_has(*state, card, "{\"@type\":\"Card\",\"version\":\"1.0\"}");
        assert_int_equal(strncmp(cx_json_text(card, "uid"), "urn:uuid:", 9), 0);
        assert_int_equal(strlen(cx_json_text(card, "uid")), 45);
    }
}


static void
test_limits(void **state)
{
    cx_json_t *card, *inner, *next;
    char *text;
    int i;

    card = cx_json_object(*state);
    text = talloc_zero_size(*state, CX_CARD_BYTES_MAX + 1);
    memset(text, 'x', CX_CARD_TEXT_MAX);
    cx_json_put(card, "foo", cx_json_string(card, text));
    assert_null(cx_jscontact_check(*state, card));
    text[CX_CARD_TEXT_MAX] = 'x';
    cx_json_put(card, "foo", cx_json_string(card, text));
    assert_non_null(strstr(cx_jscontact_check(*state, card), "/foo: "));

    cx_json_remove(card, "foo");
    cx_json_put(card, text, cx_json_null(card));
    assert_non_null(strstr(cx_jscontact_check(*state, card), "too long"));
    cx_json_remove(card, text);

    inner = cx_json_put(card, "foo", cx_json_array(card));

    for (i = 0; i < CX_CARD_ITEMS_MAX; i++) {
        cx_json_append(inner, cx_json_integer(inner, i));
    }

    assert_null(cx_jscontact_check(*state, card));
    cx_json_append(inner, cx_json_integer(inner, i));
    assert_non_null(strstr(cx_jscontact_check(*state, card), "too many"));
    cx_json_remove(card, "foo");

    text[CX_CARD_TEXT_MAX] = '\0';

    for (i = 0; i < 8; i++) {
        cx_json_put(card, talloc_asprintf(*state, "f%d", i),
                    cx_json_string(card, text));
    }

    assert_non_null(strstr(cx_jscontact_check(*state, card), "too large"));

    card = inner = cx_json_object(*state);

    for (i = 0; i < 50; i++) {
        next = cx_json_object(inner);
        inner = cx_json_put(inner, "x", next);
    }

    assert_non_null(strstr(cx_jscontact_check(*state, card), "deeply"));
}


/* The fields of a JSON text in canonical form, joined by spaces. */
static void
test_fields(void **state)
{
    static const struct {
        const char *list, *fields; /* NULL: refused */
    } cases[] = {
        { "[]", "" },
        { "[\"name\",\"name/full\",\"uid\",\"@type\"]", "" },
        { "[\"phones\",\"emails\"]", "emails phones" },
        { "[\"phones\",\"phones\"]", "phones" },
        { "[\"phones/work\",\"phones-x\",\"phones\"]", "phones phones-x" },
        { "[\"phones/work\",\"photo\",\"phones/home\"]",
          "phones/home phones/work photo" },
        { "{}", NULL },
        { "\"phones\"", NULL },
        { "[1]", NULL },
        { "[\"\"]", NULL },
        { "[\"a,b\"]", NULL },
        { "[\"a b\"]", NULL },
        { "[\"a\\nb\"]", NULL },
        { "[\"/a\"]", NULL },
        { "[\"a/\"]", NULL },
        { "[\"a/b/c\"]", NULL },
    };
    const char *why;
    char **fields, *joined;
    size_t i, j;

    for (i = 0; i < N_OF(cases); i++) {
        why = cx_fields_read(*state, unit_json(*state, cases[i].list), &fields);

        if (cases[i].fields == NULL) {
            assert_non_null(why);
            assert_null(fields);
            continue;
        }

        assert_null(why);
        joined = talloc_strdup(*state, "");

        for (j = 0; fields[j] != NULL; j++) {
            joined = talloc_asprintf_append(joined, "%s%s", j > 0 ? " " : "",
                                            fields[j]);
        }

        assert_string_equal(joined, cases[i].fields);
    }

    assert_null(cx_fields_read(*state, NULL, &fields));
    assert_null(fields);
    assert_null(cx_fields_read(*state, unit_json(*state, "null"), &fields));
    assert_null(fields);
}


/* What can name nothing, and what a card may have. */
static void
test_fields_check(void **state)
{
    static const struct {
        const char *field;
        bool taken;
    } cases[] = {
        { "phones", true },
        { "phones/work", true },
        { "phones/not_yet-there", true },
        { "name/full", true },
        { "speakToAs/pronouns", true },
        { "photo", true },
        { "localizations", true },
        { "@type", true },
        { "keywords/C*-algebra", true },
        { "relatedTo/urn:uuid:1", true },
        { "fone", true },
        { "example.com:Shoe", true },
        { "example.com:Shoe/size*", true },
        { "a~0b/c~1d", true },
        { "PHONES", false },
        { "Phones/work", false },
        { "Photo", false },
        { "Version", false },
        { "NAME", false },
        { "*", false },
        { "ph*", false },
        { "*/work", false },
        { "phones/*", false },
        { "phones/w*", false },
        { "name/*", false },
        { "keywords/*", false },
        { "example.com:shoe/*", false },
        { "phones/work.x", false },
        { "phones/\xc3\xa9", false },
        { "photo/x", false },
        { "created/x", false },
        { "vCardProps/0", false },
        { "a~b", false },
        { "a~", false },
        { "keywords/a~2", false },
    };
    cx_json_t *list;
    const char *why;
    char **fields;
    size_t i;

    for (i = 0; i < N_OF(cases); i++) {
        list = cx_json_array(*state);
        cx_json_append(list, cx_json_string(list, "titles"));
        cx_json_append(list, cx_json_string(list, cases[i].field));
        assert_null(cx_fields_read(*state, list, &fields));
        why = cx_fields_check(*state, list);

        if (cases[i].taken) {
            assert_null(why);
        } else {
            assert_non_null(why);
            assert_non_null(strstr(why, cases[i].field));
        }
    }

    list = cx_json_array(*state);
    cx_json_append(list, cx_json_string(list, "SPEAKTOAS"));
    assert_non_null(strstr(cx_fields_check(*state, list), "`speakToAs`"));
    assert_null(cx_fields_check(*state, NULL));
    assert_null(cx_fields_check(*state, unit_json(*state, "null")));
}


static char **
read_fields(TALLOC_CTX *ctx, const char *list)
{
    char **fields;

    assert_null(cx_fields_read(ctx, unit_json(ctx, list), &fields));

    return fields;
}


static void
test_view_name(void **state)
{
    char name[CX_VIEW_LEN + 1], other[CX_VIEW_LEN + 1];

    cx_view_name(NULL, name);
    assert_string_equal(name, "");

    /* the start of the SHA-256 of nothing, and of "emails,phones" */
    cx_view_name(read_fields(*state, "[]"), name);
    assert_string_equal(name, "e3b0c44298fc1c14");
    cx_view_name(read_fields(*state, "[\"phones\",\"emails\"]"), name);
    cx_view_name(read_fields(*state, "[\"emails\",\"phones\",\"name\"]"),
                 other);
    assert_string_equal(name, other);
    cx_view_name(read_fields(*state, "[\"emails\"]"), other);
    assert_string_not_equal(name, other);
}


static void
test_fields_show(void **state)
{
    char **fields;

    fields = read_fields(*state, "[\"photo\",\"phones/work\"]");
    assert_true(cx_fields_show(fields, "photo"));
    assert_true(cx_fields_show(fields, "name"));
    assert_false(cx_fields_show(fields, "logo"));
    assert_false(cx_fields_show(fields, "phones"));
    assert_false(cx_fields_show(fields, "speakToAs"));
    assert_true(cx_fields_show(NULL, "speakToAs"));
}


/* One card for all views. */
static const char whole[] =
    "{\"@type\":\"Card\",\"version\":\"1.0\",\"uid\":\"u\","
    "\"name\":{\"full\":\"Jane\",\"phoneticSystem\":\"ipa\"},"
    "\"speakToAs\":{\"grammaticalGender\":\"feminine\"},"
    "\"phones\":{\"work\":{\"number\":\"1\"},\"home\":{\"number\":\"2\"}},"
    "\"titles\":{\"t\":{\"name\":\"CEO\",\"organizationId\":\"secret\"}},"
    "\"organizations\":{\"secret\":{\"name\":\"ACME\"}},"
    "\"media\":{\"m1\":{\"kind\":\"photo\",\"uri\":\"p:1\"},"
    "\"m2\":{\"kind\":\"logo\",\"uri\":\"l:1\"}},"
    "\"vCardProps\":[[\"x\",{},\"text\",\"y\"]],"
    "\"a/b~\":\"odd\",\"foo\":\"bar\",\"created\":\"2024-01-01T00:00:00Z\","
    "\"localizations\":{"
    "\"de\":{\"name/full\":\"Johanna\",\"phones/work/label\":\"Arbeit\","
    "\"phones/home/label\":\"daheim\",\"media/m1/label\":\"Bild\","
    "\"media/m2/label\":\"Zeichen\",\"foo\":\"Bar\"},"
    "\"fr\":{\"phones\":{\"work\":{\"number\":\"3\"},"
    "\"home\":{\"number\":\"4\"}},\"phonesX\":1},"
    "\"it\":{\"phones/home\":{\"number\":\"5\"},"
    "\"media/m3\":{\"kind\":\"logo\",\"uri\":\"l:2\"},"
    "\"media/m4\":{\"kind\":\"photo\",\"uri\":\"p:2\"}}}}";

#define SHOWN                                                                  \
    "{\"@type\":\"Card\",\"version\":\"1.0\",\"uid\":\"u\","                   \
    "\"name\":{\"full\":\"Jane\",\"phoneticSystem\":\"ipa\"}"


static void
test_views(void **state)
{
    static const char *const cases[][2] = {
        { "[]", SHOWN ",\"localizations\":{\"de\":{\"name/full\":"
                      "\"Johanna\"}}}" },
        { "[\"phones/work\"]",
          SHOWN ",\"phones\":{\"work\":{\"number\":\"1\"}},\"localizations\":{"
                "\"de\":{\"name/full\":\"Johanna\","
                "\"phones/work/label\":\"Arbeit\"},"
                "\"fr\":{\"phones\":{\"work\":{\"number\":\"3\"}}}}}" },
        { "[\"photo\"]",
          SHOWN ",\"media\":{\"m1\":{\"kind\":\"photo\",\"uri\":\"p:1\"}},"
                "\"localizations\":{\"de\":{\"name/full\":\"Johanna\","
                "\"media/m1/label\":\"Bild\"},\"it\":{\"media/m4\":{"
                "\"kind\":\"photo\",\"uri\":\"p:2\"}}}}" },
        { "[\"titles\"]",
          SHOWN ",\"titles\":{\"t\":{\"name\":\"CEO\"}},"
                "\"localizations\":{\"de\":{\"name/full\":\"Johanna\"}}}" },
        { "[\"titles\",\"organizations/secret\"]",
          SHOWN ",\"titles\":{\"t\":{\"name\":\"CEO\","
                "\"organizationId\":\"secret\"}},"
                "\"organizations\":{\"secret\":{\"name\":\"ACME\"}},"
                "\"localizations\":{\"de\":{\"name/full\":\"Johanna\"}}}" },
        { "[\"foo\",\"a~1b~0\"]",
          SHOWN ",\"a/b~\":\"odd\",\"foo\":\"bar\",\"localizations\":{"
                "\"de\":{\"name/full\":\"Johanna\",\"foo\":\"Bar\"}}}" },
        { "[\"localizations\",\"nothing\"]",
          SHOWN ",\"localizations\":{\"de\":{\"name/full\":\"Johanna\"}}}" },
        { "[\"vCardProps\"]",
          SHOWN ",\"vCardProps\":[[\"x\",{},\"text\",\"y\"]],"
                "\"localizations\":{\"de\":{\"name/full\":\"Johanna\"}}}" },
    };
    const cx_json_t *card;
    size_t i;

    card = unit_json(*state, whole);

    for (i = 0; i < N_OF(cases); i++) {
        unit_same_text(
            *state,
            cx_jscontact_view(*state, card, read_fields(*state, cases[i][0])),
            cases[i][1]);
    }

    unit_same_text(*state, cx_jscontact_view(*state, card, NULL), whole);
}


static void
test_full_name(void **state)
{
    static const char *const cases[][2] = {
        { "{}", "" },
        { "{\"name\":{\"full\":\"A B\"}}", "A B" },
        { "{\"name\":{\"full\":\"\"},\"nicknames\":{\"n\":{\"name\":\"Z\"}}}",
          "Z" },
        { "{\"organizations\":{\"a\":{\"units\":[]},"
          "\"b\":{\"name\":\"ACME\"}}}",
          "ACME" },
        { "{\"emails\":{\"a\":{\"address\":\"a@b\"},"
          "\"b\":{\"address\":\"c@d\",\"pref\":1}}}",
          "c@d" },
        { "{\"name\":{\"components\":[{\"kind\":\"surname\",\"value\":\"Doe\"},"
          "{\"kind\":\"given\",\"value\":\"Jane\"},"
          "{\"kind\":\"title\",\"value\":\"Dr\"}]}}",
          "Dr Jane Doe" },
        { "{\"name\":{\"isOrdered\":true,\"components\":["
          "{\"kind\":\"surname\",\"value\":\"Doe\"},"
          "{\"kind\":\"separator\",\"value\":\", \"},"
          "{\"kind\":\"given\",\"value\":\"Jane\"},"
          "{\"kind\":\"given2\",\"value\":\"X\"}]}}",
          "Doe, Jane X" },
        { "{\"name\":{\"isOrdered\":true,\"defaultSeparator\":\"-\","
          "\"components\":[{\"kind\":\"given\",\"value\":\"A\"},"
          "{\"kind\":\"surname\",\"value\":\"B\"}]}}",
          "A-B" },
        { "{\"name\":{\"components\":[{\"kind\":\"given\",\"value\":"
          "\"\xE4\xB8\x89\"},{\"kind\":\"surname\",\"value\":"
          "\"\xE5\xBC\xA0\"}]}}",
          "\xE5\xBC\xA0\xE4\xB8\x89" },
        { "{\"name\":{\"isOrdered\":true,\"components\":["
          "{\"kind\":\"surname\",\"value\":\"\xE5\xBC\xA0\"},"
          "{\"kind\":\"given\",\"value\":\"San\"}]}}",
          "\xE5\xBC\xA0 San" },
        { "{\"name\":{\"components\":[{\"kind\":\"x\"},5,{}]}}", "" },
    };
    size_t i;

    for (i = 0; i < N_OF(cases); i++) {
        assert_string_equal(
            cx_jscontact_full_name(*state, unit_json(*state, cases[i][0])),
            cases[i][1]);
    }
}


static void
test_summary(void **state)
{
    const cx_json_t *card;
    cx_summary_t summary;

    card = unit_json(*state, "{\"name\":{\"full\":\"Jane\"},\"titles\":{\"a\":"
                             "{\"name\":\"CEO\"},\"b\":{\"name\":\"CTO\"}},"
                             "\"organizations\":{\"o\":{\"name\":\"ACME\","
                             "\"units\":[{\"name\":\"R&D\"}]}}}");
    cx_jscontact_summary(*state, card, NULL, &summary);
    assert_string_equal(summary.name, "Jane");
    assert_string_equal(summary.title, "CEO");
    assert_string_equal(summary.organisation, "ACME, R&D");

    cx_jscontact_summary(*state, card, read_fields(*state, "[\"titles/b\"]"),
                         &summary);
    assert_string_equal(summary.title, "CTO");
    assert_null(summary.organisation);

    cx_jscontact_summary(*state, cx_json_object(*state), NULL, &summary);
    assert_null(summary.name);
    assert_null(summary.title);
    assert_null(summary.organisation);
}


int
main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(test_refused),     UNIT(test_taken),        UNIT(test_limits),
        UNIT(test_fields),      UNIT(test_fields_check), UNIT(test_view_name),
        UNIT(test_fields_show), UNIT(test_views),        UNIT(test_full_name),
        UNIT(test_summary),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);

    return cmocka_run_group_tests(tests, NULL, NULL);
}
