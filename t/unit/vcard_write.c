#include "unit.h"
#include "cx_jscontact.h"
#include "cx_vcard.h"


static char *
write_card(TALLOC_CTX *ctx, const char *card, cx_vcard_version_t version)
{
    size_t len;
    char *text;

    text = cx_vcard_write(ctx, unit_json(ctx, card), version, NULL, 0, &len);
    assert_int_equal(strlen(text), len);

    return text;
}


/* Without folds, to look for lines. */
static char *
unfolded(TALLOC_CTX *ctx, const char *text)
{
    char *copy, *out;

    copy = out = talloc_strdup(ctx, text);

    for (; *text != '\0'; text++) {
        if (strncmp(text, "\r\n ", 3) == 0) {
            text += 2;
            continue;
        }

        *out++ = *text;
    }

    *out = '\0';

    return copy;
}


static void
assert_line(TALLOC_CTX *ctx, const char *vcard, const char *line)
{
    char *text, *whole;

    text = unfolded(ctx, vcard);
    whole = talloc_asprintf(ctx, "\r\n%s\r\n", line);

    if (strstr(text, whole) == NULL) {
        fail_msg("no %s in %s", line, text);
    }
}


typedef struct {
    const char *card;
    const char *line;   /* 4.0; NULL: not looked at */
    const char *line_3; /* 3.0 */
} case_t;


static const case_t cases[] = {
    { "{\"name\":{\"full\":\"A;B,C\\\\\\n\"}}", "FN:A\\;B\\,C\\\\\\n",
      "N:A\\;B\\,C\\\\\\n;;;;" },
    { "{\"nicknames\":{\"n\":{\"name\":\"Z\"}}}", "FN;DERIVED=TRUE:Z", "FN:Z" },
    { "{}", "FN;DERIVED=TRUE:?", "FN:?" },
    { "{\"name\":{\"components\":[{\"kind\":\"title\",\"value\":\"Ms.\"},"
      "{\"kind\":\"given\",\"value\":\"Mary\"},"
      "{\"kind\":\"surname\",\"value\":\"Halen\"},"
      "{\"kind\":\"surname2\",\"value\":\"Bar\"},"
      "{\"kind\":\"generation\",\"value\":\"III\"},"
      "{\"kind\":\"separator\",\"value\":\", \"},"
      "{\"kind\":\"credential\",\"value\":\"PhD\"}],\"isOrdered\":true}}",
      "N;JSCOMPS=\";3;1;0;5;6;s,\\, ;4\":Halen,Bar;Mary;;Ms.;PhD,III;Bar;III",
      "N:Halen Bar;Mary;;Ms.;III PhD" },
    { "{\"name\":{\"components\":[{\"kind\":\"given\",\"value\":\"John\","
      "\"phonetic\":\"jan\"}],\"phoneticSystem\":\"ipa\"}}",
      "N;PHONETIC=ipa;ALTID=1:;jan;;;", "X-PHONETIC-FIRST-NAME:jan" },
    { "{\"nicknames\":{\"n\":{\"name\":\"Jo\",\"contexts\":"
      "{\"work\":true},\"pref\":1}}}",
      "NICKNAME;TYPE=work;PROP-ID=n;PREF=1:Jo", "NICKNAME;TYPE=WORK,PREF:Jo" },
    { "{\"organizations\":{\"o\":{\"name\":\"A, B\",\"units\":"
      "[{\"name\":\"C\"}],\"sortAs\":\"B\"}}}",
      "ORG;PROP-ID=o;SORT-AS=B:A\\, B;C", "ORG:A\\, B;C" },
    { "{\"titles\":{\"t\":{\"name\":\"CEO\"}}}", "TITLE;PROP-ID=t:CEO",
      "TITLE:CEO" },
    { "{\"titles\":{\"t\":{\"name\":\"Lead\",\"kind\":\"role\","
      "\"organizationId\":\"o\"}},\"organizations\":{\"o\":{\"name\":\"X\"}}}",
      "item1.ROLE;PROP-ID=t:Lead", "item1.ORG:X" },
    { "{\"emails\":{\"e\":{\"address\":\"a@b.c\",\"label\":\"L;\"}}}",
      "item1.EMAIL;PROP-ID=e:a@b.c", "item1.EMAIL;TYPE=INTERNET:a@b.c" },
    { "{\"emails\":{\"e\":{\"address\":\"a@b.c\",\"label\":\"L;\"}}}",
      "item1.X-ABLabel:L\\;", "item1.X-ABLabel:L\\;" },
    { "{\"phones\":{\"p\":{\"number\":\"+86138\",\"features\":"
      "{\"mobile\":true},\"contexts\":{\"private\":true},\"pref\":1}}}",
      "TEL;TYPE=cell,home;PROP-ID=p;PREF=1:+86138",
      "TEL;TYPE=CELL,VOICE,HOME,PREF:+86138" },
    { "{\"phones\":{\"p\":{\"number\":\"tel:+1-5;ext=9\"}}}",
      "TEL;PROP-ID=p;VALUE=uri:tel:+1-5;ext=9", "TEL;TYPE=VOICE:+1-5x9" },
    { "{\"phones\":{\"p\":{\"number\":\"1\",\"features\":{\"fax\":true},"
      "\"contexts\":{\"work\":true}}}}",
      "TEL;TYPE=fax,work;PROP-ID=p:1", "TEL;TYPE=FAX,WORK:1" },
    { "{\"onlineServices\":{\"s\":{\"uri\":\"xmpp:a@b\","
      "\"vCardName\":\"impp\"}}}",
      "IMPP;PROP-ID=s:xmpp:a@b", "IMPP:xmpp:a@b" },
    { "{\"onlineServices\":{\"s\":{\"service\":\"M\",\"user\":\"@a\","
      "\"uri\":\"https://e/@a\"}}}",
      "SOCIALPROFILE;PROP-ID=s;SERVICE-TYPE=M;USERNAME=@a:https://e/@a",
      "X-SOCIALPROFILE;TYPE=M;X-USER=@a:https://e/@a" },
    { "{\"onlineServices\":{\"s\":{\"service\":\"WeChat\","
      "\"user\":\"jn\"}}}",
      "SOCIALPROFILE;PROP-ID=s;SERVICE-TYPE=WeChat;VALUE=text:jn",
      "X-SOCIALPROFILE;TYPE=WeChat;X-USER=jn:x-apple:jn" },
    { "{\"links\":{\"l\":{\"uri\":\"java\\tscript:x\\n\"}}}",
      "URL;PROP-ID=l:java%09script:x%0A", "URL:java%09script:x%0A" },
    { "{\"onlineServices\":{\"s\":{\"uri\":\"java\\tscript:x\"}}}",
      "SOCIALPROFILE;PROP-ID=s:java%09script:x",
      "X-SOCIALPROFILE:java%09script:x" },
    { "{\"addresses\":{\"a\":{\"components\":["
      "{\"kind\":\"number\",\"value\":\"12\"},"
      "{\"kind\":\"name\",\"value\":\"Main St\"},"
      "{\"kind\":\"floor\",\"value\":\"3\"},"
      "{\"kind\":\"locality\",\"value\":\"Town\"}],"
      "\"countryCode\":\"US\",\"full\":\"x\\ny\"}}}",
      "ADR;PROP-ID=a;LABEL=x^ny;CC=US:;3;12 Main St;Town;;;;;;3;12;Main St;"
      ";;;;;",
      "ADR:;3;12 Main St;Town;;;" },
    { "{\"addresses\":{\"a\":{\"full\":\"here, there\"}}}",
      "ADR;PROP-ID=a;LABEL=\"here, there\":;;;;;;", "ADR:;;here\\, there;;;;" },
    { "{\"addresses\":{\"a\":{\"components\":["
      "{\"kind\":\"locality\",\"value\":\"\xE4\xB8\x8A\xE6\xB5\xB7\"},"
      "{\"kind\":\"name\",\"value\":\"\xE8\xB7\xAF\"},"
      "{\"kind\":\"number\",\"value\":\"1\xE5\x8F\xB7\"}]}}}",
      NULL, "ADR:;;\xE8\xB7\xAF 1\xE5\x8F\xB7;\xE4\xB8\x8A\xE6\xB5\xB7;;;" },
    { "{\"anniversaries\":{\"d\":{\"kind\":\"birth\","
      "\"date\":{\"year\":1953,\"month\":4,\"day\":15}}}}",
      "BDAY;PROP-ID=d:19530415", "BDAY:1953-04-15" },
    { "{\"anniversaries\":{\"d\":{\"kind\":\"birth\","
      "\"date\":{\"month\":4,\"day\":15}}}}",
      "BDAY;PROP-ID=d:--0415", "BDAY;X-APPLE-OMIT-YEAR=1604:1604-04-15" },
    { "{\"anniversaries\":{\"d\":{\"kind\":\"wedding\","
      "\"date\":{\"year\":2000,\"month\":1,\"day\":2}}}}",
      "ANNIVERSARY;PROP-ID=d:20000102", "item1.X-ABDATE:2000-01-02" },
    { "{\"anniversaries\":{\"d\":{\"kind\":\"death\",\"date\":"
      "{\"@type\":\"Timestamp\",\"utc\":\"2019-10-15T23:10:00Z\"}}}}",
      "DEATHDATE;PROP-ID=d;VALUE=timestamp:20191015T231000Z", NULL },
    { "{\"links\":{\"u\":{\"uri\":\"https://e.c\"}}}",
      "URL;PROP-ID=u:https://e.c", "URL:https://e.c" },
    { "{\"links\":{\"u\":{\"uri\":\"mailto:a@b\",\"kind\":\"contact\"}}}",
      "CONTACT-URI;PROP-ID=u:mailto:a@b", NULL },
    { "{\"keywords\":{\"a\":true,\"b,c\":true}}", "CATEGORIES:a,b\\,c",
      "CATEGORIES:a,b\\,c" },
    { "{\"notes\":{\"n\":{\"note\":\"hi\",\"created\":"
      "\"2022-11-23T15:01:32Z\",\"author\":{\"name\":\"J\"}}}}",
      "NOTE;PROP-ID=n;CREATED=20221123T150132Z;AUTHOR-NAME=J:hi", "NOTE:hi" },
    { "{\"personalInfo\":{\"p\":{\"kind\":\"expertise\","
      "\"value\":\"tea\",\"level\":\"high\",\"listAs\":2}}}",
      "EXPERTISE;PROP-ID=p;INDEX=2;LEVEL=expert:tea", NULL },
    { "{\"preferredLanguages\":{\"l\":{\"language\":\"fr\",\"pref\":2}}}",
      "LANG;PROP-ID=l;PREF=2:fr", NULL },
    { "{\"relatedTo\":{\"urn:x\":{\"relation\":{\"friend\":true}}}}",
      "RELATED;TYPE=friend:urn:x", NULL },
    { "{\"calendars\":{\"c\":{\"kind\":\"freeBusy\",\"uri\":\"h:c\"}}}",
      "FBURL;PROP-ID=c:h:c", "FBURL:h:c" },
    { "{\"schedulingAddresses\":{\"c\":{\"uri\":\"mailto:c\"}}}",
      "CALADRURI;PROP-ID=c:mailto:c", "CALADRURI:mailto:c" },
    { "{\"cryptoKeys\":{\"k\":{\"uri\":"
      "\"data:application/pgp-keys;base64,LS0t\"}}}",
      "KEY;PROP-ID=k:data:application/pgp-keys;base64,LS0t",
      "KEY;ENCODING=b;TYPE=PGP-KEYS:LS0t" },
    { "{\"directories\":{\"d\":{\"kind\":\"directory\","
      "\"uri\":\"ldap://l/o=E,ou=F\",\"pref\":1}}}",
      "ORG-DIRECTORY;PROP-ID=d;PREF=1:ldap://l/o=E,ou=F", NULL },
    { "{\"speakToAs\":{\"grammaticalGender\":\"neuter\",\"pronouns\":"
      "{\"p\":{\"pronouns\":\"they/them\"}}}}",
      "GRAMGENDER:neuter", NULL },
    { "{\"speakToAs\":{\"pronouns\":{\"p\":{\"pronouns\":\"they/them\"}}}}",
      "PRONOUNS;PROP-ID=p:they/them", NULL },
    { "{\"uid\":\"urn:uuid:1\",\"updated\":\"2022-09-30T14:35:10Z\"}",
      "UID:urn:uuid:1", "REV:2022-09-30T14:35:10Z" },
    { "{\"uid\":\"me@x\",\"updated\":\"2022-09-30T14:35:10Z\"}",
      "UID;VALUE=text:me@x", "UID:me@x" },
    { "{\"created\":\"2022-09-30T14:35:10Z\"}", "CREATED:20220930T143510Z",
      NULL },
    { "{\"kind\":\"group\",\"members\":{\"urn:x\":true}}", "MEMBER:urn:x",
      "X-ADDRESSBOOKSERVER-MEMBER:urn:x" },
    { "{\"kind\":\"org\"}", "KIND:org", "X-ABShowAs:COMPANY" },
    { "{\"language\":\"de-AT\"}", "LANGUAGE:de-AT", NULL },
    { "{\"media\":{\"m\":{\"kind\":\"photo\",\"uri\":\"https://e/p\"}}}",
      "PHOTO;PROP-ID=m:https://e/p", "PHOTO;VALUE=uri:https://e/p" },
    { "{\"vCardProps\":[[\"x-foo\",{\"group\":\"g\",\"pref\":1},\"unknown\","
      "\"b,c\"]]}",
      "g.X-FOO;pref=1:b,c", NULL },
    /* it would be read as a medium, and grow each time */
    { "{\"vCardProps\":[[\"photo\",{},\"unknown\",\":\"]]}",
      "JSPROP;JSPTR=vCardProps:[[\"photo\"\\,{}\\,\"unknown\"\\,\":\"]]",
      NULL },
    { "{\"example.com:foo\":{\"a\":[1,\"b\"]}}",
      "JSPROP;JSPTR=\"example.com:foo\":{\"a\":[1\\,\"b\"]}", NULL },
    { "{\"localizations\":{\"es\":{\"titles/t/name\":\"autor\"}},"
      "\"titles\":{\"t\":{\"name\":\"novelist\"}}}",
      "TITLE;PROP-ID=t;LANGUAGE=es;ALTID=1:autor", "TITLE:novelist" },
    { "{\"localizations\":{\"es\":{\"titles/t/name\":\"autor\"}},"
      "\"titles\":{\"t\":{\"name\":\"novelist\"}}}",
      "TITLE;PROP-ID=t;ALTID=1:novelist", NULL },
};


static void
test_properties(void **state)
{
    size_t i;

    for (i = 0; i < N_OF(cases); i++) {
        assert_null(
            cx_jscontact_check(*state, unit_json(*state, cases[i].card)));

        if (cases[i].line != NULL) {
            assert_line(*state, write_card(*state, cases[i].card, CX_VCARD_4),
                        cases[i].line);
        }

        if (cases[i].line_3 != NULL) {
            assert_line(*state, write_card(*state, cases[i].card, CX_VCARD_3),
                        cases[i].line_3);
        }
    }
}


/* No line is longer than 75 octets, and none ends inside a character. */
static void
test_folding(void **state)
{
    const char *p, *end;
    char *card, *text;
    size_t pad;

    for (pad = 0; pad < 8; pad++) {
        card = talloc_asprintf(
            *state,
            "{\"name\":{\"full\":\"%.*s"
            "\xE5\xBC\xA0\xF0\x9F\x98\x80\xE5\xBC\xA0\xF0\x9F\x98\x80"
            "\xE5\xBC\xA0\xF0\x9F\x98\x80\xE5\xBC\xA0\xF0\x9F\x98\x80"
            "\xE5\xBC\xA0\xF0\x9F\x98\x80\xE5\xBC\xA0\xF0\x9F\x98\x80"
            "\xE5\xBC\xA0\xF0\x9F\x98\x80\xE5\xBC\xA0\xF0\x9F\x98\x80"
            "\xE5\xBC\xA0\xF0\x9F\x98\x80\xE5\xBC\xA0\xF0\x9F\x98\x80"
            "\xE5\xBC\xA0\xF0\x9F\x98\x80\xE5\xBC\xA0\xF0\x9F\x98\x80\"}}",
            (int) pad, "abcdefgh");
        text = write_card(*state, card, CX_VCARD_3);

        for (p = text; *p != '\0'; p = end + 2) {
            end = strstr(p, "\r\n");
            assert_non_null(end);
            assert_true(end - p <= 75);
            assert_int_not_equal((unsigned char) p[0] & 0xC0, 0x80);
            assert_int_not_equal((unsigned char) p[1] & 0xC0,
                                 p[0] == ' ' ? 0x80 : 0x100);
        }
    }
}


/* What a client supplies can not make lines of its own. */
static void
test_injection(void **state)
{
    static const char *const hostile[] = {
        "{\"name\":{\"full\":\"x\\r\\nEMAIL:evil\"}}",
        "{\"uid\":\"urn:x\\r\\nEMAIL:evil\"}",
        "{\"prodId\":\"x\\nEMAIL:evil\"}",
        "{\"phones\":{\"p\":{\"number\":\"tel:1\\r\\nEMAIL:evil\"}}}",
        "{\"phones\":{\"p\":{\"number\":\"1\",\"label\":\"\\rEMAIL:evil\"}}}",
        "{\"links\":{\"p\":{\"uri\":\"x:\\nEMAIL:evil\"}}}",
        "{\"addresses\":{\"p\":{\"full\":\"\\r\\nEMAIL:evil\"}}}",
        "{\"onlineServices\":{\"p\":{\"user\":\"x\\nEMAIL:evil\","
        "\"service\":\"\\nEMAIL:evil\"}}}",
        "{\"members\":{\"x:\\nEMAIL:evil\":true}}",
        "{\"keywords\":{\"x\\nEMAIL:evil\":true}}",
        "{\"relatedTo\":{\"x:\\nEMAIL:evil\":{\"relation\":"
        "{\"\\nEMAIL:evil\":true}}}}",
        "{\"emails\":{\"e\":{\"address\":\"a\",\"vCardParams\":"
        "{\"x\\nEMAIL:evil\":\"\",\"x-a\":\"\\nEMAIL:evil\"}}}}",
        "{\"vCardProps\":[[\"x\\nEMAIL:evil\",{},\"text\",\"\"]]}",
        "{\"vCardProps\":[[\"x\",{},\"unknown\",\"\\nEMAIL:evil\"]]}",
        "{\"vCardProps\":[[\"x\",{\"group\":\"\\nEMAIL:evil\"},\"text\","
        "\"\"]]}",
        "{\"vCardProps\":[[\"x\",{},\"\\nEMAIL:evil\",\"\"]]}",
        "{\"vCardProps\":[[\"end\",{},\"text\",\"VCARD\\nEMAIL:evil\"]]}",
        "{\"foo\\nEMAIL:evil\":\"\\nEMAIL:evil\"}",
        "{\"localizations\":{\"\\nEMAIL:evil\":{\"name/full\":\"x\"}}}",
        "{\"name\":{\"full\":\"x\",\"phoneticSystem\":\"\\nEMAIL:evil\","
        "\"components\":[{\"kind\":\"given\",\"value\":\"\\nEMAIL:evil\","
        "\"phonetic\":\"\\nEMAIL:evil\"}]}}",
    };
    char *text;
    size_t i;

    for (i = 0; i < N_OF(hostile); i++) {
        text = unfolded(*state, write_card(*state, hostile[i], CX_VCARD_4));
        assert_null(strstr(text, "\nEMAIL:"));
        assert_null(strstr(text, "\rEMAIL:"));
        assert_string_equal(strstr(text, "END:VCARD"), "END:VCARD\r\n");
        text = unfolded(*state, write_card(*state, hostile[i], CX_VCARD_3));
        assert_null(strstr(text, "\nEMAIL:"));
        assert_null(strstr(text, "\rEMAIL:"));
        assert_string_equal(strstr(text, "END:VCARD"), "END:VCARD\r\n");
    }
}


static void
test_media(void **state)
{
    static const unsigned char bytes[] = { 0xFF, 0xD8, 0xFF, 0xE0, 0x00 };
    static const cx_vcard_media_t media[] = {
        { "photo", "image/jpeg", NULL, bytes, sizeof(bytes) },
        { "sound", "audio/mpeg", "https://e/s", NULL, 0 },
        { "video", "video/mp4", "https://e/v", NULL, 0 },
    };
    const cx_json_t *card;
    char *text;
    size_t len;

    card =
        unit_json(*state, "{\"media\":{\"a\":{\"kind\":\"photo\","
                          "\"uri\":\"https://e/p\"},\"b\":{\"kind\":\"logo\","
                          "\"uri\":\"https://e/l\"}}}");
    text = cx_vcard_write(*state, card, CX_VCARD_3, media, N_OF(media), &len);
    assert_line(*state, text, "PHOTO;ENCODING=b;TYPE=JPEG:/9j/4AA=");
    assert_line(*state, text, "SOUND;VALUE=uri;TYPE=MPEG:https://e/s");
    assert_line(*state, text, "X-VIDEO;VALUE=uri;TYPE=MP4:https://e/v");
    assert_line(*state, text, "LOGO;VALUE=uri:https://e/l");
    assert_null(strstr(text, "https://e/p"));
    text = cx_vcard_write(*state, card, CX_VCARD_4, media, N_OF(media), &len);
    assert_line(*state, text, "PHOTO:data:image/jpeg;base64,/9j/4AA=");
    assert_line(*state, text, "SOUND;MEDIATYPE=audio/mpeg:https://e/s");
    assert_line(*state, text, "PHOTO;PROP-ID=a:https://e/p");
}


static void
test_short(void **state)
{
    const cx_json_t *card;
    size_t len;
    char *text;

    card = unit_json(
        *state,
        "{\"uid\":\"u\",\"updated\":\"2022-09-30T14:35:10Z\","
        "\"name\":{\"full\":\"Jane\"},\"nicknames\":{\"n\":{\"name\":\"J\"}},"
        "\"phones\":{\"p\":{\"number\":\"+1\",\"label\":\"l\","
        "\"features\":{\"mobile\":true},\"pref\":1}},"
        "\"emails\":{\"e\":{\"address\":\"a@b.c\"}},"
        "\"titles\":{\"t\":{\"name\":\"CEO\"}},"
        "\"links\":{\"u\":{\"uri\":\"h:u\"}},"
        "\"notes\":{\"n\":{\"note\":\"A note that is so long that any other "
        "vCard would have to fold it somewhere in the middle\"}},"
        "\"media\":{\"m\":{\"kind\":\"photo\",\"uri\":\"h:p\"}},"
        "\"example.com:x\":1}");
    text = cx_vcard_write_short(*state, card, &len);
    assert_int_equal(strlen(text), len);
    assert_string_equal(
        text, "BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Jane\r\nN:Jane;;;;\r\n"
              "TITLE:CEO\r\nTEL;TYPE=CELL:+1\r\nEMAIL:a@b.c\r\n"
              "NOTE:A note that is so long that any other vCard would have to "
              "fold it somewhere in the middle\r\nURL:h:u\r\nEND:VCARD\r\n");
}


/* What 4.0 says comes back whole, property by property. */
static void
test_round_trip(void **state)
{
    static const char *const more[] = {
        "{\"name\":{\"components\":[{\"kind\":\"given\",\"value\":\"\"}]}}",
        "{\"name\":{\"full\":\"tab\\there\\u0001\\u007f\\r\\n\"}}",
        "{\"name\":{\"full\":\"x\",\"example.com:y\":{\"z\":1}}}",
        "{\"name\":{\"components\":[{\"kind\":\"given\",\"value\":\"A\"},"
        "{\"kind\":\"nobility\",\"value\":\"von\"}],\"isOrdered\":true,"
        "\"defaultSeparator\":\"\\nx^y\\\"z;,\\\\\"}}",
        "{\"name\":{\"components\":[{\"kind\":\"surname\",\"value\":\"X\"},"
        "{\"kind\":\"surname2\",\"value\":\"X\"}]}}",
        "{\"phones\":{\"p\":{\"number\":\"1\",\"features\":"
        "{\"mobile\":true,\"example.com:pager\":true},"
        "\"contexts\":{\"work\":true,\"school\":true},\"label\":\"\"}}}",
        "{\"phones\":{\"p\":{\"number\":\"\"}}}",
        "{\"addresses\":{\"a\":{\"timeZone\":\"Asia/Tokyo\"},"
        "\"b\":{\"coordinates\":\"geo:1,2\",\"pref\":3,"
        "\"contexts\":{\"billing\":true}}}}",
        "{\"addresses\":{\"a\":{\"components\":[{\"kind\":\"block\","
        "\"value\":\"2-7\",\"phonetic\":\"x\"},{\"kind\":\"separator\","
        "\"value\":\"-\"},{\"kind\":\"number\",\"value\":\"2\"}],"
        "\"isOrdered\":true,\"phoneticSystem\":\"ipa\"}}}",
        "{\"addresses\":{\"a\":{\"components\":[{\"kind\":\"name\","
        "\"value\":\"A\"},{\"kind\":\"name\",\"value\":\"B,;\"},"
        "{\"kind\":\"apartment\",\"value\":\"7\"}]}}}",
        "{\"anniversaries\":{\"a\":{\"kind\":\"birth\",\"date\":"
        "{\"year\":1,\"day\":3}},\"b\":{\"kind\":\"birth\",\"date\":"
        "{\"utc\":\"2000-01-01T00:00:00.5Z\"},\"place\":"
        "{\"countryCode\":\"DE\"}}}}",
        "{\"organizations\":{\"o\":{\"units\":[{\"name\":\"\"},"
        "{\"name\":\"U\",\"sortAs\":\"V\"}]}}}",
        "{\"media\":{\"v\":{\"kind\":\"video\",\"uri\":\"x:v\"},"
        "\"p\":{\"kind\":\"photo\",\"uri\":\"not a uri\"}}}",
        "{\"links\":{\"l\":{\"uri\":\"x:\\\\,y\",\"kind\":\"other\"}}}",
        "{\"relatedTo\":{\"a b\":{},\"c\":{\"relation\":{\"x,y\":true}}}}",
        "{\"keywords\":{\"\":true,\" a \":true}}",
        "{\"members\":{\"no uri, but text\":true}}",
        "{\"uid\":\"a, b\",\"prodId\":\"p;q\",\"kind\":\"Odd\"}",
        "{\"language\":\"EN\",\"created\":\"2024-01-01T00:00:00.25Z\"}",
        "{\"speakToAs\":{\"grammaticalGender\":\"Odd\","
        "\"pronouns\":{\"p\":{\"pronouns\":\"\"}}}}",
        "{\"personalInfo\":{\"p\":{\"kind\":\"sport\",\"value\":\"x\"},"
        "\"q\":{\"kind\":\"hobby\",\"value\":\"y\",\"level\":\"odd\"}}}",
        "{\"localizations\":{\"de\":{\"name/full\":\"H\","
        "\"titles/t\":{\"name\":\"Chef\"},\"foo/bar\":1,\"phones\":null}},"
        "\"name\":{\"full\":\"J\"},\"titles\":{\"t\":{\"name\":\"Boss\"}}}",
        "{\"vCardProps\":[[\"x-a\",{\"b\":[\"c\",\"d\"]},\"integer\",5],"
        "[\"end\",{},\"text\",\"VCARD\"],[\"x-b\",{},\"text\",[\"e\",\"f\"]]]}",
        "{\"a/b\":{\"c~d\":{}},\"e\":[{\"@type\":\"X\"}],\"f\":null}",
    };
    const char *text, *why;
    cx_json_t *card, *read;
    size_t i, len;

    for (i = 0; i < N_OF(cases) + N_OF(more); i++) {
        card = unit_json(*state, i < N_OF(cases) ? cases[i].card
                                                 : more[i - N_OF(cases)]);
        assert_null(cx_jscontact_check(*state, card));

        text = cx_vcard_write(*state, card, CX_VCARD_4, NULL, 0, &len);
        read = cx_vcard_read(*state, &text, &len, &why);
        assert_non_null(read);
        assert_int_equal(len, 0);

        /* null can not be told by a patch, which takes it for absence */
        cx_json_remove(card, "f");
        unit_has(*state, read, cx_json_write(*state, card, NULL));
    }
}


int
main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(test_properties), UNIT(test_folding), UNIT(test_injection),
        UNIT(test_media),      UNIT(test_short),   UNIT(test_round_trip),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);

    return cmocka_run_group_tests(tests, NULL, NULL);
}
