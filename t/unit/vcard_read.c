#include "unit.h"
#include "cx_jscontact.h"
#include "cx_vcard.h"


#define VCARD(version, lines)                                                  \
    "BEGIN:VCARD\r\nVERSION:" version "\r\n" lines "END:VCARD\r\n"


static cx_json_t *
read_card(TALLOC_CTX *ctx, const char *text)
{
    const char *why;
    cx_json_t *card;
    size_t len;

    len = strlen(text);
    card = cx_vcard_read(ctx, &text, &len, &why);

    if (card == NULL) {
        fail_msg("%s: %s", why, text);
    }

    assert_int_equal(len, 0);

    return card;
}


/* vCards, and what their cards must contain. */
static void
test_lines(void **state)
{
    static const char *const cases[][2] = {
        { VCARD("4.0", "FN:A\\, B\\; C\\\\D\\nE\r\n"),
          "{\"name\":{\"full\":\"A, B; C\\\\D\\nE\"}}" },
        { "BEGIN:VCARD\nVERSION:3.0\nFN:Bare\nEND:VCARD\n",
          "{\"name\":{\"full\":\"Bare\"}}" },
        { "BEGIN:VCARD\rFN:Mac\rEND:VCARD\r", "{\"name\":{\"full\":\"Mac\"}}" },
        { "\xEF\xBB\xBF" VCARD("3.0", "FN:Mark\r\n"),
          "{\"name\":{\"full\":\"Mark\"}}" },
        { "junk\n\n begin:vcard \nfn:lower\nend:vcard",
          "{\"name\":{\"full\":\"lower\"}}" },
        { VCARD("4.0", "NOTE:fol\r\n ded\r\n\t twice\r\n"),
          "{\"notes\":{\"n1\":{\"note\":\"folded twice\"}}}" },
        { VCARD("3.0", "NOTE:\xE5\xBC\r\n \xA0\r\n"),
          "{\"notes\":{\"n1\":{\"note\":\"\xE5\xBC\xA0\"}}}" },
        { VCARD("4.0", "NOTE;X-A=\"b:c;d\":e\r\n"),
          "{\"notes\":{\"n1\":{\"note\":\"e\","
          "\"vCardParams\":{\"x-a\":\"b:c;d\"}}}}" },
        { VCARD("4.0", "NOTE;AUTHOR-NAME=a^'b^^c^nd:e\r\n"),
          "{\"notes\":{\"n1\":{\"author\":{\"name\":\"a\\\"b^c\\nd\"}}}}" },
        { VCARD("3.0", "NOTE:J\xFCrgen \x80\r\n"),
          "{\"notes\":{\"n1\":{\"note\":\"J\xC3\xBCrgen \xE2\x82\xAC\"}}}" },
        { VCARD("3.0", "NOTE:a\x01\x7F"
                       "b\r\n"),
          "{\"notes\":{\"n1\":{\"note\":\"ab\"}}}" },
        { "BEGIN:VCARD\nFN:no end", "{\"name\":{\"full\":\"no end\"}}" },
    };
    size_t i;

    for (i = 0; i < N_OF(cases); i++) {
        unit_has(*state, read_card(*state, cases[i][0]), cases[i][1]);
    }
}


/* 2.1, as phones wrote it. */
static void
test_old(void **state)
{
    static const char *const cases[][2] = {
        { VCARD("2.1", "N;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:"
                       "=E5=BC=A0;=E4=B8=\r\n=89;;;\r\n"),
          "{\"name\":{\"components\":[{\"kind\":\"surname\","
          "\"value\":\"\xE5\xBC\xA0\"},{\"kind\":\"given\","
          "\"value\":\"\xE4\xB8\x89\"}]}}" },
        { VCARD("2.1", "N;CHARSET=ISO-8859-1;QUOTED-PRINTABLE:Gro=DF;J=FC\r\n"),
          "{\"name\":{\"components\":[{\"kind\":\"surname\","
          "\"value\":\"Gro\xC3\x9F\"},{\"kind\":\"given\","
          "\"value\":\"J\xC3\xBC\"}]}}" },
        { VCARD("2.1", "N;CHARSET=GBK;ENCODING=QUOTED-PRINTABLE:=D5=C5\r\n"),
          "{\"name\":{\"components\":[{\"kind\":\"surname\","
          "\"value\":\"\xE5\xBC\xA0\"}]}}" },
        { VCARD("2.1", "N;CHARSET=KLINGON:Smith\r\n"),
          "{\"name\":{\"components\":[{\"value\":\"Smith\"}]}}" },
        { VCARD("2.1", "N:Doe, Jr.;John\r\n"),
          "{\"name\":{\"components\":[{\"kind\":\"surname\","
          "\"value\":\"Doe, Jr.\"},{\"kind\":\"given\","
          "\"value\":\"John\"}]}}" },
        { VCARD("2.1", "NOTE;ENCODING=QUOTED-PRINTABLE:a=0D=0A=\r\n"
                       " b =3D=\r\n\r\nFN:x\r\n"),
          "{\"notes\":{\"n1\":{\"note\":\"a\\n b =\"}},"
          "\"name\":{\"full\":\"x\"}}" },
        { VCARD("2.1", "TEL;CELL;PREF:1\r\nTEL;WORK;FAX:2\r\n"),
          "{\"phones\":{\"p1\":{\"number\":\"1\",\"pref\":1,"
          "\"features\":{\"mobile\":true}},\"p2\":{\"number\":\"2\","
          "\"contexts\":{\"work\":true},\"features\":{\"fax\":true}}}}" },
        { VCARD("2.1", "PHOTO;JPEG;ENCODING=BASE64:/9j/\r\n"
                       " 4AAQ\r\nSkZJ\r\n\r\nFN:x\r\n"),
          "{\"media\":{\"m1\":{\"kind\":\"photo\","
          "\"uri\":\"data:image/jpeg;base64,/9j/4AAQSkZJ\"}},"
          "\"name\":{\"full\":\"x\"}}" },
        { VCARD("2.1", "AGENT:\r\nBEGIN:VCARD\r\nFN:inner\r\nEND:VCARD\r\n"
                       "FN:outer\r\n"),
          "{\"name\":{\"full\":\"outer\"}}" },
        { VCARD("2.1", "X-QQ:12345\r\n"),
          "{\"onlineServices\":{\"s1\":{\"service\":\"QQ\","
          "\"user\":\"12345\"}}}" },
        { VCARD("2.1", "ADR;HOME:;;1 Street;Town;;123;Land\r\n"
                       "LABEL;HOME:1 Street, Town\r\n"),
          "{\"addresses\":{\"a1\":{\"full\":\"1 Street, Town\","
          "\"components\":[{\"kind\":\"name\",\"value\":\"1 Street\"},"
          "{\"kind\":\"locality\"},{\"kind\":\"postcode\"},"
          "{\"kind\":\"country\"}]}}}" },
    };
    size_t i;

    for (i = 0; i < N_OF(cases); i++) {
        unit_has(*state, read_card(*state, cases[i][0]), cases[i][1]);
    }
}


/* 3.0 from an iPhone. */
static void
test_apple(void **state)
{
    static const char text[] =
        VCARD("3.0",
              "PRODID:-//Apple Inc.//iPhone OS 17.0//EN\r\n"
              "N:Miller;Jane;Ann,Bea;Dr.;\r\n"
              "FN:Dr. Jane Miller\r\n"
              "X-PHONETIC-LAST-NAME:mila\r\n"
              "ORG:Acme\\, Inc.;R&D;\r\n"
              "item1.EMAIL;type=INTERNET;type=pref:jane@example.com\r\n"
              "item1.X-ABLabel:_$!<Work>!$_\r\n"
              "TEL;type=IPHONE;type=CELL;type=VOICE:+491\r\n"
              "item2.TEL:99\r\n"
              "item2.X-ABLabel:cottage\r\n"
              "item3.ADR;type=HOME:;;High St 5\\nRear;Berlin;;10115;Germany\r\n"
              "item3.X-ABADR:de\r\n"
              "item4.URL;type=pref:https\\://example.com\r\n"
              "item4.X-ABLabel:_$!<HomePage>!$_\r\n"
              "BDAY;X-APPLE-OMIT-YEAR=1604:1604-02-29\r\n"
              "item5.X-ABDATE;type=pref:2011-09-10\r\n"
              "item5.X-ABLabel:_$!<Anniversary>!$_\r\n"
              "item6.X-ABRELATEDNAMES:Bob\r\n"
              "item6.X-ABLabel:_$!<Spouse>!$_\r\n"
              "IMPP;X-SERVICE-TYPE=Skype:skype:jane\r\n"
              "X-SOCIALPROFILE;type=twitter;x-user=jane:http://t.com/jane\r\n"
              "X-SOCIALPROFILE;type=WeChat:x-apple:jn\r\n"
              "REV:2012-09-01T12:00:00+02:00\r\n");
    static const char want[] =
        "{\"name\":{\"full\":\"Dr. Jane Miller\",\"phoneticScript\":\"Latn\","
        "\"components\":[{\"kind\":\"surname\",\"value\":\"Miller\","
        "\"phonetic\":\"mila\"},{\"kind\":\"given\"},{\"kind\":\"given2\","
        "\"value\":\"Ann\"},{\"kind\":\"given2\"},{\"kind\":\"title\"}]},"
        "\"organizations\":{\"o1\":{\"name\":\"Acme, Inc.\","
        "\"units\":[{\"name\":\"R&D\"}]}},"
        "\"emails\":{\"e1\":{\"contexts\":{\"work\":true},\"pref\":1}},"
        "\"phones\":{\"p1\":{\"features\":{\"mobile\":true,\"voice\":true}},"
        "\"p2\":{\"label\":\"cottage\"}},"
        "\"addresses\":{\"a1\":{\"countryCode\":\"DE\","
        "\"contexts\":{\"private\":true}}},"
        "\"links\":{\"u1\":{\"uri\":\"https://example.com\"}},"
        "\"anniversaries\":{\"d1\":{\"kind\":\"birth\","
        "\"date\":{\"month\":2,\"day\":29}},\"d2\":{\"kind\":\"wedding\","
        "\"date\":{\"year\":2011,\"month\":9,\"day\":10}}},"
        "\"vCardProps\":[[\"x-abrelatednames\",{\"group\":\"item6\","
        "\"x-ablabel\":\"_$!<Spouse>!$_\"},\"unknown\",\"Bob\"]],"
        "\"onlineServices\":{\"s1\":{\"uri\":\"skype:jane\","
        "\"vCardName\":\"impp\"},\"s2\":{\"service\":\"twitter\","
        "\"user\":\"jane\"},\"s3\":{\"service\":\"WeChat\",\"user\":\"jn\"}},"
        "\"updated\":\"2012-09-01T10:00:00Z\"}";
    cx_json_t *card;

    card = read_card(*state, text);
    unit_has(*state, card, want);
    assert_null(cx_json_get(
        cx_json_get(cx_json_get(cx_json_get(card, "links"), "u1"), "label"),
        ""));
    assert_null(cx_json_get(card, "prodId"));
    assert_null(cx_json_get(
        cx_json_get(cx_json_get(cx_json_get(card, "anniversaries"), "d1"),
                    "date"),
        "year"));
    assert_null(cx_jscontact_check(*state, card));
}


/* 4.0 by others than cardx. */
static void
test_modern(void **state)
{
    static const char *const cases[][2] = {
        { VCARD("4.0", "N;SORT-AS=Harten,Rene:van der Harten;Rene;;;\r\n"),
          "{\"name\":{\"sortAs\":{\"surname\":\"Harten\","
          "\"given\":\"Rene\"}}}" },
        { VCARD("4.0", "N;JSCOMPS=\";1;0;5\":A,B;C;;;;B;\r\n"),
          "{\"name\":{\"isOrdered\":true,\"components\":["
          "{\"kind\":\"given\",\"value\":\"C\"},{\"kind\":\"surname\","
          "\"value\":\"A\"},{\"kind\":\"surname2\",\"value\":\"B\"}]}}" },
        { VCARD("4.0", "N;JSCOMPS=\";1;9;0,7\":A;C;;;\r\n"),
          "{\"name\":{\"components\":[{\"value\":\"A\"},"
          "{\"value\":\"C\"}]}}" },
        { VCARD("4.0", "BDAY:19531015T231000+0100\r\n"),
          "{\"anniversaries\":{\"d1\":{\"date\":{\"@type\":\"Timestamp\","
          "\"utc\":\"1953-10-15T22:10:00Z\"}}}}" },
        { VCARD("4.0", "BDAY:--0412\r\nDEATHDATE:1996\r\n"
                       "ANNIVERSARY:1985-04\r\n"),
          "{\"anniversaries\":{\"d1\":{\"date\":{\"month\":4,\"day\":12}},"
          "\"d2\":{\"kind\":\"death\",\"date\":{\"year\":1996}},"
          "\"d3\":{\"kind\":\"wedding\","
          "\"date\":{\"year\":1985,\"month\":4}}}}" },
        { VCARD("4.0", "BDAY;VALUE=text:circa 1800\r\n"),
          "{\"vCardProps\":[[\"bday\",{},\"text\",\"circa 1800\"]]}" },
        { VCARD("4.0", "GENDER:O;it's complicated\r\n"),
          "{\"vCardProps\":[[\"gender\",{},\"unknown\","
          "\"O;it's complicated\"]]}" },
        { VCARD("4.0", "TEL;VALUE=uri;TYPE=\"voice,home\":tel:+1-555\r\n"),
          "{\"phones\":{\"p1\":{\"number\":\"tel:+1-555\"}}}" },
        { VCARD("4.0", "PHOTO:data:image/jpeg;base64\\,/9j/\r\n"),
          "{\"media\":{\"m1\":{\"uri\":\"data:image/jpeg;base64,/9j/\"}}}" },
        { VCARD("4.0", "TITLE;ALTID=1;LANGUAGE=en:boss\r\n"
                       "TITLE;ALTID=1;LANGUAGE=fr:patron\r\n"),
          "{\"titles\":{\"t1\":{\"name\":\"boss\"}},\"localizations\":"
          "{\"fr\":{\"titles/t1\":{\"name\":\"patron\"}}}}" },
        { VCARD("4.0", "FN;ALTID=1:Jane\r\nFN;ALTID=1;LANGUAGE=de:Hanna\r\n"),
          "{\"name\":{\"full\":\"Jane\"},"
          "\"localizations\":{\"de\":{\"name\":{\"full\":\"Hanna\"}}}}" },
        { VCARD("4.0", "EMAIL;PROP-ID=e9:a@b\r\nEMAIL;PROP-ID=e9:c@d\r\n"
                       "EMAIL;PROP-ID=a/b:e@f\r\n"),
          "{\"emails\":{\"e9\":{\"address\":\"a@b\"},"
          "\"e2\":{\"address\":\"c@d\"},\"e3\":{\"address\":\"e@f\"}}}" },
        { VCARD("4.0", "PRONOUNS;PROP-ID=_2:she/her\r\nPRONOUNS:they/them\r\n"),
          "{\"speakToAs\":{\"pronouns\":{\"_2\":{\"pronouns\":\"she/her\"},"
          "\"_3\":{\"pronouns\":\"they/them\"}}}}" },
        { VCARD("4.0", "FN:x\r\nJSPROP;JSPTR=\"example.com:foo/a~1b\":"
                       "{\"c\":[1\\,2]}\r\nJSPROP;JSPTR=@type:\"Q\"\r\n"
                       "JSPROP;JSPTR=name/full/x:1\r\nJSPROP;JSPTR=y:{\r\n"),
          "{\"@type\":\"Card\",\"name\":{\"full\":\"x\"},"
          "\"example.com:foo\":{\"a/b\":{\"c\":[1,2]}}}" },
        { VCARD("4.0", "RELATED;TYPE=friend,met:urn:x\r\n"
                       "MEMBER:urn:y\r\nKIND:GROUP\r\nCATEGORIES:a,,b\\,c\r\n"),
          "{\"relatedTo\":{\"urn:x\":{\"relation\":{\"friend\":true,"
          "\"met\":true}}},\"members\":{\"urn:y\":true},\"kind\":\"group\","
          "\"keywords\":{\"a\":true,\"b,c\":true}}" },
        { VCARD("4.0", "EMAIL;PREF=7;TYPE=work,x-y;LANGUAGE=en:a@b\r\n"),
          "{\"emails\":{\"e1\":{\"pref\":7,\"contexts\":{\"work\":true},"
          "\"vCardParams\":{\"type\":\"x-y\",\"language\":\"en\"}}}}" },
    };
    cx_json_t *card;
    size_t i;

    for (i = 0; i < N_OF(cases); i++) {
        card = read_card(*state, cases[i][0]);
        unit_has(*state, card, cases[i][1]);
        assert_null(cx_jscontact_check(*state, card));
    }
}


/* Text with several, some of which are not. */
static void
test_sequence(void **state)
{
    const char *text = "BEGIN:VCARD\nFN:1\n"
                       "BEGIN:VCARD\nFN:2\nEND:VCARD\nnoise\n"
                       "BEGIN:VCARD\nEND:VCARD\n"
                       "BEGIN:VCARD\nFN:3\nEND:VCARD\nnoise";
    static const char *const names[] = { "1", "2", NULL, "3", NULL };
    const char *why;
    cx_json_t *card;
    size_t len = strlen(text), i;

    for (i = 0; i < N_OF(names); i++) {
        assert_int_not_equal(len, 0);
        card = cx_vcard_read(*state, &text, &len, &why);

        if (names[i] == NULL) {
            assert_null(card);
            assert_non_null(why);
        } else {
            assert_string_equal(cx_json_text(cx_json_get(card, "name"), "full"),
                                names[i]);
        }
    }

    assert_int_equal(len, 0);
    card = cx_vcard_read(*state, &text, &len, &why);
    assert_null(card);
    assert_int_equal(len, 0);
}


/* Bytes of no sense must be refused or read, in linear time. */
static void
test_hostile(void **state)
{
    static const struct {
        const char *start, *unit;
    } cases[] = {
        { "BEGIN:VCARD\n", "TEL:1\n" },
        { "BEGIN:VCARD\nFN", ";a=b" },
        { "BEGIN:VCARD\nFN;a=", "\"b\"," },
        { "BEGIN:VCARD\n", "A;\n" },
        { "BEGIN:VCARD\nNOTE:", "a\n " },
        { "BEGIN:VCARD\nNOTE;QUOTED-PRINTABLE:", "=\n" },
        { "BEGIN:VCARD\nPHOTO;ENCODING=b:", "/9j/\n" },
        { "BEGIN:VCARD\n", "AGENT:\nBEGIN:VCARD\n" },
        { "BEGIN:VCARD\nCATEGORIES:", "a," },
        { "BEGIN:VCARD\nN:", ";," },
        { "BEGIN:VCARD\nJSPROP;JSPTR=x:", "[" },
        { "BEGIN:VCARD\nJSPROP;JSPTR=x", "/y" },
        { "BEGIN:VCARD\nFN:", "\xFF\\" },
        { "", "\r\n" },
        { "", "BEGIN" },
    };
    const char *p, *why;
    size_t i, len, left, before;
    unsigned turns;
    TALLOC_CTX *ctx;
    char *text;

    for (i = 0; i < N_OF(cases); i++) {
        ctx = talloc_new(*state);
        text = talloc_strdup(ctx, cases[i].start);
        len = strlen(text);
        before = strlen(cases[i].unit);
        text = talloc_realloc(ctx, text, char, len + 300000 * before + 1);

        for (left = 0; left < 300000; left++) {
            memcpy(text + len, cases[i].unit, before);
            len += before;
        }

        text[len] = '\0';
        p = text;
        left = len;

        for (turns = 0; left > 0 && turns < 100; turns++) {
            before = left;
            cx_vcard_read(ctx, &p, &left, &why);
            assert_true(left < before);
        }

        talloc_free(ctx);
    }
}


int
main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(test_lines),  UNIT(test_old),      UNIT(test_apple),
        UNIT(test_modern), UNIT(test_sequence), UNIT(test_hostile),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);

    return cmocka_run_group_tests(tests, NULL, NULL);
}
