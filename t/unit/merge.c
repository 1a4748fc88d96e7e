#include "unit.h"
#include "cx_merge.h"


/* A sentence of docs/contacts.md each: own, live, what is pinned (or NULL),
 * and what is to be shown. */
typedef struct {
    const char *rule, *own, *live, *pinned, *shown;
} rule_t;

static const rule_t equal[] = {
    { "nothing live: the holder's own is shown", "{\"name\":{\"full\":\"A\"}}",
      NULL, NULL, "{\"name\":{\"full\":\"A\"}}" },
    { "equal numbers: the holder's spelling stays",
      "{\"phones\":{\"a\":{\"number\":\"+49 (30) 111\"}}}",
      "{\"phones\":{\"x\":{\"number\":\"+4930111\"}}}", NULL,
      "{\"phones\":{\"a\":{\"number\":\"+49 (30) 111\"}}}" },
    { "equal addresses of e-mail: case does not matter",
      "{\"emails\":{\"a\":{\"address\":\"Anna@Example.ORG\"}}}",
      "{\"emails\":{\"x\":{\"address\":\"anna@example.org\","
      "\"contexts\":{\"work\":true}}}}",
      NULL, "{\"emails\":{\"a\":{\"address\":\"Anna@Example.ORG\"}}}" },
    { "equal names: spaces and case do not matter",
      "{\"name\":{\"full\":\"ANNA  Ångström\"}}",
      "{\"name\":{\"full\":\"Anna ångström\"}}", NULL,
      "{\"name\":{\"full\":\"ANNA  Ångström\"}}" },
    { "equal addresses: how they are separated does not matter",
      "{\"addresses\":{\"a\":{\"full\":\"Way 1\\n12345 Town\"}}}",
      "{\"addresses\":{\"x\":{\"full\":\"Way 1, 12345 Town\"}}}", NULL,
      "{\"addresses\":{\"a\":{\"full\":\"Way 1\\n12345 Town\"}}}" },
    { "equal links: scheme and host know no case",
      "{\"links\":{\"a\":{\"uri\":\"https://Example.org/\"}}}",
      "{\"links\":{\"x\":{\"uri\":\"https://example.org\"}}}", NULL,
      "{\"links\":{\"a\":{\"uri\":\"https://Example.org/\"}}}" },
    { "only live: added",
      "{\"phones\":{\"a\":{\"number\":\"1\",\"label\":\"x\"}}}",
      "{\"phones\":{\"b\":{\"number\":\"2\"}},\"titles\":{\"t\":"
      "{\"name\":\"T\"}}}",
      NULL,
      "{\"phones\":{\"a\":{\"number\":\"1\",\"label\":\"x\"},\"b\":"
      "{\"number\":\"2\"}},\"titles\":{\"t\":{\"name\":\"T\"}}}" },
    { "only live, under an id that is taken: another id",
      "{\"phones\":{\"a\":{\"number\":\"1\",\"label\":\"x\"}}}",
      "{\"phones\":{\"a\":{\"number\":\"2\"}}}", NULL,
      "{\"phones\":{\"a\":{\"number\":\"1\",\"label\":\"x\"},\"a-2\":"
      "{\"number\":\"2\"}}}" }
};

static const rule_t places[] = {
    { "same place, other value: the live one, under the holder's id",
      "{\"phones\":{\"a\":{\"number\":\"1\",\"contexts\":{\"work\":true"
      "}}}}",
      "{\"phones\":{\"x\":{\"number\":\"2\",\"contexts\":{\"work\":true"
      "}}}}",
      NULL,
      "{\"phones\":{\"a\":{\"number\":\"2\",\"contexts\":{\"work\":true"
      "}}}}" },
    { "other contexts are another place",
      "{\"phones\":{\"a\":{\"number\":\"1\",\"contexts\":{\"private\":"
      "true}}}}",
      "{\"phones\":{\"x\":{\"number\":\"2\",\"contexts\":{\"work\":true"
      "}}}}",
      NULL,
      "{\"phones\":{\"a\":{\"number\":\"1\"},\"x\":{\"number\":\"2\"}}}" },
    { "a fax is in another place than a phone",
      "{\"phones\":{\"a\":{\"number\":\"1\"}}}",
      "{\"phones\":{\"x\":{\"number\":\"2\",\"features\":{\"fax\":true}}"
      "}}",
      NULL,
      "{\"phones\":{\"a\":{\"number\":\"1\"},\"x\":{\"number\":\"2\"}}}" },
    { "another label is another place",
      "{\"phones\":{\"a\":{\"number\":\"1\",\"label\":\"desk\"}}}",
      "{\"phones\":{\"x\":{\"number\":\"2\",\"label\":\"lab\"}}}", NULL,
      "{\"phones\":{\"a\":{\"number\":\"1\",\"label\":\"desk\"},\"x\":"
      "{\"number\":\"2\",\"label\":\"lab\"}}}" },
    { "a birthday is in another place than a wedding",
      "{\"anniversaries\":{\"a\":{\"kind\":\"birth\",\"date\":"
      "{\"year\":1980}}}}",
      "{\"anniversaries\":{\"x\":{\"kind\":\"wedding\",\"date\":"
      "{\"year\":2010}}}}",
      NULL,
      "{\"anniversaries\":{\"a\":{\"kind\":\"birth\",\"date\":"
      "{\"year\":1980}},\"x\":{\"kind\":\"wedding\",\"date\":"
      "{\"year\":2010}}}}" },
    { "equal names: punctuation does not matter",
      "{\"name\":{\"full\":\"Ito, Dr. Anna\"}}",
      "{\"name\":{\"full\":\"ITO Dr Anna\"}}", NULL,
      "{\"name\":{\"full\":\"Ito, Dr. Anna\"}}" },
    { "only own: it stays", "{\"titles\":{\"a\":{\"name\":\"plumber\"}}}",
      "{\"nicknames\":{\"x\":{\"name\":\"B\"}}}", NULL,
      "{\"titles\":{\"a\":{\"name\":\"plumber\"}},\"nicknames\":{\"x\":"
      "{\"name\":\"B\"}}}" },
    { "the uid is the holder's", "{\"uid\":\"u:1\"}", "{\"uid\":\"u:2\"}", NULL,
      "{\"uid\":\"u:1\"}" },
    { "what is equal to another is in no one's place",
      "{\"phones\":{\"a\":{\"number\":\"1\"},\"b\":{\"number\":\"2\"}}}",
      "{\"phones\":{\"x\":{\"number\":\"2\"},\"y\":{\"number\":\"3\"}}}", NULL,
      "{\"phones\":{\"a\":{\"number\":\"3\"},\"b\":{\"number\":\"2\"}}}" },
    { "the holder's items that the card has no place for stay",
      "{\"phones\":{\"a\":{\"number\":\"1\"},\"b\":{\"number\":\"2\"}}}",
      "{\"phones\":{\"x\":{\"number\":\"3\"}}}", NULL,
      "{\"phones\":{\"a\":{\"number\":\"3\"},\"b\":{\"number\":\"2\"}}}" },
    { "a name that differs is the live one", "{\"name\":{\"full\":\"Boss\"}}",
      "{\"name\":{\"full\":\"Anna\"}}", NULL,
      "{\"name\":{\"full\":\"Anna\"}}" },
    { "a property that is pinned is the holder's",
      "{\"name\":{\"full\":\"Boss\"}}", "{\"name\":{\"full\":\"Anna\"}}",
      "[\"name\"]", "{\"name\":{\"full\":\"Boss\"}}" },
    { "an item that is pinned is the holder's",
      "{\"phones\":{\"a\":{\"number\":\"1\"}}}",
      "{\"phones\":{\"x\":{\"number\":\"2\"}}}", "[\"phones/a\"]",
      "{\"phones\":{\"a\":{\"number\":\"1\"}}}" },
    { "who is related is told by the name: another one is another person",
      "{\"relatedTo\":{\"u:a\":{\"relation\":{\"friend\":true}},\"u:b\":"
      "{\"relation\":{\"friend\":true}},\"u:p\":{\"relation\":{}}}}",
      "{\"relatedTo\":{\"u:b\":{\"relation\":{\"spouse\":true}},\"u:c\":"
      "{\"relation\":{\"friend\":true}},\"u:p\":{\"relation\":{\"kin\":"
      "true}}}}",
      "[\"relatedTo/u:p\"]",
      "{\"relatedTo\":{\"u:a\":{\"relation\":{\"friend\":true}},\"u:b\":"
      "{\"relation\":{\"spouse\":true}},\"u:c\":{\"relation\":{\"friend\":"
      "true}},\"u:p\":{\"relation\":{}}}}" },
    { "keywords of both", "{\"keywords\":{\"a\":true}}",
      "{\"keywords\":{\"b\":true}}", NULL,
      "{\"keywords\":{\"a\":true,\"b\":true}}" },
    { "unknown properties by the same rules",
      "{\"x.org:a\":\"1\",\"x.org:b\":{\"i\":{\"v\":\"1\"}}}",
      "{\"x.org:a\":\"2\",\"x.org:b\":{\"j\":{\"v\":\"1\"}},\"x.org:c\":"
      "[1]}",
      NULL,
      "{\"x.org:a\":\"2\",\"x.org:b\":{\"i\":{\"v\":\"1\"}},\"x.org:c\":"
      "[1]}" },
    { "lists have what is in either",
      "{\"vCardProps\":[[\"x-a\",{},\"text\",\"1\"]]}",
      "{\"vCardProps\":[[\"x-a\",{},\"text\",\"1\"],[\"x-b\",{},\"text\","
      "\"2\"]]}",
      NULL,
      "{\"vCardProps\":[[\"x-a\",{},\"text\",\"1\"],[\"x-b\",{},\"text\","
      "\"2\"]]}" },
    { "the uid is the holder's", "{\"uid\":\"a\"}", "{\"uid\":\"b\"}", NULL,
      "{\"uid\":\"a\"}" },
    { "a title follows its organization to the holder's id",
      "{\"organizations\":{\"mine\":{\"name\":\"ORG\"}}}",
      "{\"organizations\":{\"o\":{\"name\":\"Org\"}},\"titles\":{\"t\":"
      "{\"name\":\"T\",\"organizationId\":\"o\"}}}",
      NULL,
      "{\"organizations\":{\"mine\":{\"name\":\"ORG\"}},\"titles\":{\"t\":"
      "{\"name\":\"T\",\"organizationId\":\"mine\"}}}" },
    { "a translation follows what it translates",
      "{\"name\":{\"full\":\"Anna\"}}",
      "{\"name\":{\"full\":\"anna\"},\"titles\":{\"t\":{\"name\":\"T\"}},"
      "\"localizations\":{\"de\":{\"titles/t/name\":\"D\","
      "\"name/full\":\"X\"}}}",
      NULL,
      "{\"name\":{\"full\":\"Anna\"},\"titles\":{\"t\":{\"name\":\"T\"}},"
      "\"localizations\":{\"de\":{\"titles/t/name\":\"D\"}}}" },
    { "`updated` is the later one", "{\"updated\":\"2024-01-01T00:00:00Z\"}",
      "{\"updated\":\"2025-01-01T00:00:00Z\"}", NULL,
      "{\"updated\":\"2025-01-01T00:00:00Z\"}" }
};


static void
check(void **state, const rule_t *cases, size_t n)
{
    size_t i;
    cx_json_t *shown, *again, *own, *live;

    for (i = 0; i < n; i++) {
        own = unit_json(*state, cases[i].own);
        live = cases[i].live != NULL ? unit_json(*state, cases[i].live) : NULL;
        shown = cx_merge(*state, NULL, own, live,
                         cases[i].pinned != NULL
                             ? unit_json(*state, cases[i].pinned)
                             : NULL);

        if (!unit_contains(unit_json(*state, cases[i].shown), shown)) {
            fail_msg("%s: %s", cases[i].rule,
                     cx_json_write(*state, shown, NULL));
        }

        /* what was merged once has all of it: merging again is no change */
        again = cx_merge(*state, NULL, shown, live,
                         cases[i].pinned != NULL
                             ? unit_json(*state, cases[i].pinned)
                             : NULL);

        if (!cx_json_same(shown, again)) {
            fail_msg("%s, again: %s", cases[i].rule,
                     cx_json_write(*state, again, NULL));
        }

        unit_same_text(*state, own, cases[i].own);
    }
}


static void
test_equal(void **state)
{
    check(state, equal, N_OF(equal));
}


static void
test_places(void **state)
{
    check(state, places, N_OF(places));
}


/* The translation of what is not shown any more is not shown either. */
static void
test_not_shown(void **state)
{
    cx_json_t *shown;

    shown = cx_merge(
        *state, NULL, unit_json(*state, "{\"name\":{\"full\":\"Anna\"}}"),
        unit_json(*state, "{\"name\":{\"full\":\"anna\"},\"localizations\":"
                          "{\"de\":{\"name/full\":\"X\"}}}"),
        NULL);
    assert_null(cx_json_get(shown, "localizations"));

    shown = cx_merge(*state, NULL,
                     unit_json(*state, "{\"phones\":{\"a\":{\"number\":"
                                       "\"1\"}}}"),
                     unit_json(*state, "{\"phones\":{\"x\":{\"number\":"
                                       "\"2\"}}}"),
                     unit_json(*state, "[\"phones\"]"));
    assert_int_equal(cx_json_get(shown, "phones")->n, 1);
}


/* Items of properties that nobody knows may have any names: they are kept
 * whole, or cut between characters. */
static void
test_long_names(void **state)
{
    char name[604] = "x", *text;
    cx_json_t *own, *live, *shown, *items;

    while (strlen(name) < 600) {
        strcat(name, "\xE2\x82\xAC");
    }

    text =
        talloc_asprintf(*state, "{\"x.org:a\":{\"%s\":{\"v\":\"1\"}}}", name);
    live = unit_json(*state, text);
    shown = cx_merge(*state, NULL, unit_json(*state, "{}"), live, NULL);
    assert_true(cx_json_same(shown, live));

    text = talloc_asprintf(
        *state, "{\"x.org:a\":{\"%s\":{\"v\":\"2\",\"label\":\"l\"}}}", name);
    own = unit_json(*state, text);
    shown = cx_merge(*state, NULL, own, live, NULL);
    items = cx_json_get(shown, "x.org:a");
    assert_int_equal(items->n, 2);
    assert_string_equal(items->items[0]->name, name);
    assert_int_equal(strlen(items->items[1]->name), 240);
    unit_json(*state, cx_json_write(*state, shown, NULL));
}


static bool
last_digits(void *data, const char *text, char out[CX_NUMBER_SIZE])
{
    size_t len = strlen(text);

    (void) data;

    if (len < 3) {
        return false;
    }

    strcpy(out, text + len - 3);

    return true;
}


/* Numbers are compared as the caller says, by digits where it can't. */
static void
test_numbers(void **state)
{
    cx_merge_rules_t rules = { last_digits, NULL };

    assert_string_equal(
        cx_merge_value(*state, &rules, "phones",
                       unit_json(*state, "{\"number\":\"030-111\"}")),
        "111");
    assert_string_equal(
        cx_merge_value(*state, &rules, "phones",
                       unit_json(*state, "{\"number\":\"1-\"}")),
        "1");
    assert_string_equal(
        cx_merge_value(*state, NULL, "phones",
                       unit_json(*state, "{\"number\":\"tel:+49-30;x=1\"}")),
        "+4930");
}


static void
test_changes(void **state)
{
    cx_json_t *changes;

    changes = cx_merge_changes(
        *state,
        unit_json(*state, "{\"name\":{\"full\":\"A\"},\"phones\":{\"a\":"
                          "{\"number\":\"1\"},\"b\":{\"number\":\"2\"}},"
                          "\"updated\":\"x\"}"),
        unit_json(*state, "{\"phones\":{\"b\":{\"number\":\"3\"},\"a\":"
                          "{\"number\":\"1\"}},\"emails\":{\"e\":"
                          "{\"address\":\"x\"}},\"name\":{\"full\":\"A\"}}"));
    unit_same_text(*state, changes,
                   "[{\"path\":\"phones/b\",\"old\":{\"number\":\"2\"},"
                   "\"new\":{\"number\":\"3\"}},{\"path\":\"emails/e\","
                   "\"new\":{\"address\":\"x\"}}]");
}


static void
test_words(void **state)
{
    char *words;

    words = cx_merge_words(
        *state,
        unit_json(*state, "{\"name\":{\"full\":\"Anna  ÅNGSTRÖM\"},"
                          "\"uid\":\"hidden\",\"phones\":{\"p\":{\"number\":"
                          "\"+46 8 123\"}},\"titles\":{\"t\":{\"name\":"
                          "\"ИНЖЕНЕР\"}}}"));
    assert_non_null(strstr(words, "anna ångström"));
    assert_non_null(strstr(words, "+468123"));
    assert_non_null(strstr(words, "инженер"));
    assert_null(strstr(words, "hidden"));
}


int
main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(test_equal),     UNIT(test_places),  UNIT(test_not_shown),
        UNIT(test_numbers),   UNIT(test_changes), UNIT(test_words),
        UNIT(test_long_names)
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);

    return cmocka_run_group_tests(tests, NULL, NULL);
}
