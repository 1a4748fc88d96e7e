#include "cx_vcard_line.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <openssl/evp.h>


#define N_OF(array) (sizeof(array) / sizeof((array)[0]))


/* Properties that are URIs (RFC 9553, 1.4.4), by property and kind.  The kind
 * of the last row of a property is for all others. */
static const struct {
    const char *property;
    const char *kind; /* NULL: none, or any */
    const char *name;
    bool old; /* in 3.0 too (RFC 2426, RFC 2739) */
} resources[] = {
    { "links", "contact", "CONTACT-URI", false },
    { "links", NULL, "URL", true },
    { "media", "photo", "PHOTO", true },
    { "media", "logo", "LOGO", true },
    { "media", "sound", "SOUND", true },
    { "calendars", "calendar", "CALURI", true },
    { "calendars", "freeBusy", "FBURL", true },
    { "schedulingAddresses", NULL, "CALADRURI", true },
    { "cryptoKeys", NULL, "KEY", true },
    { "directories", "directory", "ORG-DIRECTORY", false },
    { "directories", "entry", "SOURCE", true },
};

static const char *const resource_properties[] = {
    "links",      "calendars",   "schedulingAddresses",
    "cryptoKeys", "directories", "media",
};


bool
cx_vcard_basic_time(const char *text, char *out, size_t room)
{
    int year, month, day, hour, minute, second, end = 0;

    if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2dZ%n", &year, &month, &day, &hour,
               &minute, &second, &end)
            != 6
        || end == 0 || text[end] != '\0') {
        return false;
    }

    snprintf(out, room, "%04u%02u%02uT%02u%02u%02uZ", (unsigned) year % 10000,
             (unsigned) month % 100, (unsigned) day % 100,
             (unsigned) hour % 100, (unsigned) minute % 100,
             (unsigned) second % 100);

    return true;
}


/* The name of a type as 3.0 has it: "image/jpeg" is JPEG. */
static void
old_type(char *out, size_t room, const char *type, size_t len)
{
    const char *slash;
    size_t i;

    slash = memchr(type, '/', len);

    if (slash != NULL) {
        len -= (size_t) (slash + 1 - type);
        type = slash + 1;
    }

    for (i = 0; i < len && i < room - 1; i++) {
        out[i] =
            (char) (type[i] >= 'a' && type[i] <= 'z' ? type[i] - 32 : type[i]);
    }

    out[i] = '\0';
}


/* A data: URI in base64 (RFC 2397) becomes ENCODING=b in 3.0.  false: it is
 * none. */
static bool
old_inline(cx_vcard_writer_t *writer, const char *uri)
{
    const char *comma, *semicolon;
    char type[40];

    if (strncasecmp(uri, "data:", 5) != 0) {
        return false;
    }

    comma = strchr(uri, ',');
    semicolon = strchr(uri, ';');

    if (comma == NULL || comma - uri < 12
        || strncmp(comma - 7, ";base64", 7) != 0 || semicolon == NULL) {
        return false;
    }

    cx_vline_param(writer, "ENCODING", "b");
    old_type(type, sizeof(type), uri + 5, (size_t) (semicolon - uri - 5));

    if (type[0] != '\0' && cx_vcard_is_name(type)) {
        cx_vline_param(writer, "TYPE", type);
    }

    cx_vline_value(writer);
    cx_vline_raw(writer, comma + 1);

    return true;
}


/* RFC 6715's INDEX, of directories and personal information. */
static void
index_param(cx_vcard_writer_t *writer, const cx_json_t *item)
{
    char text[24];
    int64_t number;

    if (cx_json_to_integer(cx_json_get(item, "listAs"), &number)
        && number >= 0) {
        snprintf(text, sizeof(text), "%lld", (long long) number);
        cx_vline_param(writer, "INDEX", text);
    }
}


static void
write_resource(cx_vcard_writer_t *writer, const char *property,
               const cx_json_t *item)
{
    const char *kind = cx_json_text(item, "kind");
    const char *uri = cx_json_text(item, "uri");
    const char *type = cx_json_text(item, "mediaType");
    size_t i;

    for (i = 0; i < N_OF(resources); i++) {
        if (strcmp(resources[i].property, property) == 0
            && (resources[i].kind == NULL
                || (kind != NULL && strcmp(resources[i].kind, kind) == 0))) {
            break;
        }
    }

    if (uri == NULL || i == N_OF(resources)
        || (writer->version == CX_VCARD_3 && !resources[i].old)) {
        return;
    }

    cx_vitem_begin(writer, resources[i].name, item, NULL);

    if (writer->version == CX_VCARD_3) {
        if (old_inline(writer, uri)) {
            cx_vline_end(writer);
            return;
        }

        if (strcmp(property, "media") == 0
            || strcmp(property, "cryptoKeys") == 0) {
            cx_vline_param(writer, "VALUE", "uri");
        }

    } else {
        if (type != NULL) {
            cx_vline_param(writer, "MEDIATYPE", type);
        }

        index_param(writer, item);
    }

    cx_vline_value(writer);
    cx_vline_uri(writer, uri);
    cx_vline_end(writer);
}


void
cx_vcard_write_medium(cx_vcard_writer_t *writer, const cx_vcard_media_t *medium)
{
    bool modern = writer->version == CX_VCARD_4;
    char type[40], name[24];
    char *base64;

    if (!cx_vcard_is_name(medium->kind)) {
        return;
    }

    /* neither version knows videos */
    snprintf(name, sizeof(name), "%s%s",
             strcmp(medium->kind, "video") == 0 ? "X-" : "", medium->kind);

    for (base64 = name; *base64 != '\0'; base64++) {
        *base64 =
            (char) (*base64 >= 'a' && *base64 <= 'z' ? *base64 - 32 : *base64);
    }

    cx_vline_begin(writer, NULL, name);
    old_type(type, sizeof(type), medium->type, strlen(medium->type));

    if (medium->bytes == NULL) {
        if (modern) {
            cx_vline_param(writer, "MEDIATYPE", medium->type);
        } else {
            cx_vline_param(writer, "VALUE", "uri");
            cx_vline_param(writer, "TYPE", type);
        }

        cx_vline_value(writer);
        cx_vline_raw(writer, medium->address == NULL ? "" : medium->address);
        cx_vline_end(writer);
        return;
    }

    base64 = cx_must(talloc_size(writer->ctx, (medium->len + 2) / 3 * 4 + 1));
    EVP_EncodeBlock((unsigned char *) base64, medium->bytes, (int) medium->len);

    if (modern) {
        cx_vline_value(writer);
        cx_vline_raw(writer, "data:");
        cx_vline_raw(writer, medium->type);
        cx_vline_raw(writer, ";base64,");
    } else {
        cx_vline_param(writer, "ENCODING", "b");
        cx_vline_param(writer, "TYPE", type);
        cx_vline_value(writer);
    }

    cx_buf_puts(&writer->line, base64);
    cx_vline_end(writer);
    talloc_free(base64);
}


/* Part of a date, or -1. */
static int
part(const cx_json_t *date, const char *name, int low, int high)
{
    int64_t number;

    if (!cx_json_to_integer(cx_json_get(date, name), &number) || number < low
        || number > high) {
        return -1;
    }

    return (int) number;
}


/* RFC 6350, 4.3.1, in the basic format; the empty text if there is no such
 * date. */
static void
date_write(char *out, size_t room, int year, int month, int day)
{
    out[0] = '\0';

    if (year != -1 && month != -1 && day != -1) {
        snprintf(out, room, "%04d%02d%02d", year, month, day);
    } else if (year != -1 && month != -1) {
        snprintf(out, room, "%04d-%02d", year, month);
    } else if (year != -1 && day == -1) {
        snprintf(out, room, "%04d", year);
    } else if (year == -1 && month != -1 && day != -1) {
        snprintf(out, room, "--%02d%02d", month, day);
    } else if (year == -1 && month != -1) {
        snprintf(out, room, "--%02d", month);
    } else if (year == -1 && day != -1) {
        snprintf(out, room, "---%02d", day);
    }
}


/* 3.0 has whole dates only; a birthday without its year is written as Apple
 * does, and wedding days are its labelled dates. */
static void
write_old_date(cx_vcard_writer_t *writer, const char *kind,
               const cx_json_t *date)
{
    int year, month, day;
    char text[32];
    bool birth = strcmp(kind, "birth") == 0;

    year = part(date, "year", 0, 9999);
    month = part(date, "month", 1, 12);
    day = part(date, "day", 1, 31);

    if (month == -1 || day == -1
        || (!birth && (strcmp(kind, "wedding") != 0 || year == -1))) {
        return;
    }

    cx_vline_begin(writer, birth ? NULL : cx_vline_group(writer),
                   birth ? "BDAY" : "X-ABDATE");

    if (year == -1) {
        cx_vline_param(writer, "X-APPLE-OMIT-YEAR", "1604");
    }

    snprintf(text, sizeof(text), "%04d-%02d-%02d", year == -1 ? 1604 : year,
             month, day);
    writer->label = birth ? NULL : "_$!<Anniversary>!$_";
    cx_vline_value(writer);
    cx_vline_raw(writer, text);
    cx_vline_end(writer);
}


/* BIRTHPLACE and DEATHPLACE (RFC 6474): a text or a geo: URI. */
static void
write_place(cx_vcard_writer_t *writer, const cx_json_t *item, const char *name)
{
    const cx_json_t *place = cx_json_get(item, "place");
    const char *full = cx_json_text(place, "full");
    const char *geo = cx_json_text(place, "coordinates");

    if (full == NULL && geo == NULL) {
        return;
    }

    cx_vline_begin(writer, NULL, name);
    cx_vline_param(writer, "PROP-ID", item->name);

    if (full != NULL) {
        cx_vline_value(writer);
        cx_vline_text(writer, full);
    } else {
        cx_vline_param(writer, "VALUE", "uri");
        cx_vline_value(writer);
        cx_vline_uri(writer, geo);
    }

    cx_vline_end(writer);
}


static void
write_anniversary(cx_vcard_writer_t *writer, const cx_json_t *item)
{
    static const struct {
        const char *kind, *name, *place;
    } names[] = {
        { "birth", "BDAY", "BIRTHPLACE" },
        { "death", "DEATHDATE", "DEATHPLACE" },
        { "wedding", "ANNIVERSARY", NULL },
    };
    const cx_json_t *date = cx_json_get(item, "date");
    const char *kind = cx_json_text(item, "kind");
    const char *utc = cx_json_text(date, "utc");
    const char *scale = cx_json_text(date, "calendarScale");
    char text[40];
    size_t i;

    for (i = 0; i < N_OF(names); i++) {
        if (kind != NULL && strcmp(names[i].kind, kind) == 0) {
            break;
        }
    }

    if (i == N_OF(names)) {
        return;
    }

    if (writer->version == CX_VCARD_3) {
        write_old_date(writer, kind, date);
        return;
    }

    if (utc == NULL) {
        date_write(text, sizeof(text), part(date, "year", 0, 9999),
                   part(date, "month", 1, 12), part(date, "day", 1, 31));

    } else if (!cx_vcard_basic_time(utc, text, sizeof(text))) {
        return;
    }

    if (text[0] == '\0') {
        return;
    }

    cx_vitem_begin(writer, names[i].name, item, NULL);

    if (utc != NULL) {
        cx_vline_param(writer, "VALUE", "timestamp");
    }

    if (scale != NULL) {
        cx_vline_param(writer, "CALSCALE", scale);
    }

    cx_vline_value(writer);
    cx_vline_raw(writer, text);
    cx_vline_end(writer);

    if (names[i].place != NULL) {
        write_place(writer, item, names[i].place);
    }
}


/* RFC 6715, whose levels of expertise have names of their own. */
static void
write_personal(cx_vcard_writer_t *writer, const cx_json_t *item)
{
    static const char *const levels[][2] = { { "high", "expert" },
                                             { "medium", "average" },
                                             { "low", "beginner" } };
    const char *kind = cx_json_text(item, "kind");
    const char *value = cx_json_text(item, "value");
    const char *level = cx_json_text(item, "level");
    bool expertise;
    size_t i;

    if (kind == NULL || value == NULL) {
        return;
    }

    expertise = strcmp(kind, "expertise") == 0;

    if (!expertise && strcmp(kind, "hobby") != 0
        && strcmp(kind, "interest") != 0) {
        return;
    }

    cx_vitem_begin(writer,
                   expertise                    ? "EXPERTISE"
                   : strcmp(kind, "hobby") == 0 ? "HOBBY"
                                                : "INTEREST",
                   item, NULL);
    index_param(writer, item);

    for (i = 0; level != NULL && i < N_OF(levels); i++) {
        if (strcmp(level, levels[i][0]) == 0) {
            cx_vline_param(writer, "LEVEL", levels[i][expertise ? 1 : 0]);
        }
    }

    cx_vline_value(writer);
    cx_vline_text(writer, value);
    cx_vline_end(writer);
}


static bool
is_uri(const char *text)
{
    size_t n;

    n = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                     "0123456789+-.");

    return n > 1 && text[n] == ':' && strpbrk(text, " \t\r\n\"<>\\") == NULL;
}


static void
write_relations(cx_vcard_writer_t *writer, const cx_json_t *card)
{
    const cx_json_t *related, *relation;
    size_t i, j;
    bool uri;

    related = cx_json_get(card, "relatedTo");

    for (i = 0; related != NULL && i < related->n; i++) {
        relation = cx_json_get(related->items[i], "relation");
        uri = is_uri(related->items[i]->name);
        cx_vline_begin(writer, NULL, "RELATED");

        for (j = 0; relation != NULL && j < relation->n; j++) {
            cx_vline_param(writer, "TYPE", relation->items[j]->name);
        }

        if (!uri) {
            cx_vline_param(writer, "VALUE", "text");
        }

        cx_vline_value(writer);

        if (uri) {
            cx_vline_raw(writer, related->items[i]->name);
        } else {
            cx_vline_text(writer, related->items[i]->name);
        }

        cx_vline_end(writer);
    }
}


static void
write_members(cx_vcard_writer_t *writer, const cx_json_t *card)
{
    bool modern = writer->version == CX_VCARD_4;
    const cx_json_t *members = cx_json_get(card, "members");
    const char *kind = cx_json_text(card, "kind");
    size_t i;

    if (kind != NULL && modern) {
        cx_vline_text_line(writer, "KIND", kind);

    } else if (kind != NULL && strcmp(kind, "group") == 0) {
        cx_vline_text_line(writer, "X-ADDRESSBOOKSERVER-KIND", kind);

    } else if (kind != NULL && strcmp(kind, "org") == 0) {
        cx_vline_text_line(writer, "X-ABShowAs", "COMPANY");
    }

    for (i = 0; members != NULL && i < members->n; i++) {
        cx_vline_raw_line(writer,
                          modern ? "MEMBER" : "X-ADDRESSBOOKSERVER-MEMBER",
                          members->items[i]->name);
    }
}


static void
write_keywords(cx_vcard_writer_t *writer, const cx_json_t *card)
{
    const cx_json_t *keywords = cx_json_get(card, "keywords");
    size_t i;

    if (keywords == NULL || keywords->n == 0) {
        return;
    }

    cx_vline_begin(writer, NULL, "CATEGORIES");
    cx_vline_value(writer);

    for (i = 0; i < keywords->n; i++) {
        if (i > 0) {
            cx_vline_char(writer, ',');
        }

        cx_vline_text(writer, keywords->items[i]->name);
    }

    cx_vline_end(writer);
}


static void
write_speak(cx_vcard_writer_t *writer, const cx_json_t *card)
{
    const cx_json_t *speak = cx_json_get(card, "speakToAs"), *all;
    const char *text;
    size_t i;

    text = cx_json_text(speak, "grammaticalGender");

    if (text != NULL) {
        cx_vline_text_line(writer, "GRAMGENDER", text);
    }

    all = cx_json_get(speak, "pronouns");

    for (i = 0; all != NULL && i < all->n; i++) {
        text = cx_json_text(all->items[i], "pronouns");

        if (text != NULL) {
            cx_vitem_begin(writer, "PRONOUNS", all->items[i], NULL);
            cx_vline_value(writer);
            cx_vline_text(writer, text);
            cx_vline_end(writer);
        }
    }
}


static void
write_time(cx_vcard_writer_t *writer, const char *name, const char *text)
{
    char basic[32];

    if (text != NULL && cx_vcard_basic_time(text, basic, sizeof(basic))) {
        /* 3.0 has both formats, older readers only this (RFC 2426, 4) */
        cx_vline_raw_line(writer, name,
                          writer->version == CX_VCARD_3 ? text : basic);
    }
}


static void
write_single(cx_vcard_writer_t *writer, const cx_json_t *card)
{
    const char *text;

    text = cx_json_text(card, "prodId");
    cx_vline_text_line(writer, "PRODID",
                       text == NULL ? CX_VCARD_PRODUCT : text);
    text = cx_json_text(card, "uid");

    if (text != NULL && is_uri(text)) {
        cx_vline_raw_line(writer, "UID", text);

    } else if (text != NULL) {
        cx_vline_begin(writer, NULL, "UID");

        if (writer->version == CX_VCARD_4) {
            cx_vline_param(writer, "VALUE", "text");
        }

        cx_vline_value(writer);
        cx_vline_text(writer, text);
        cx_vline_end(writer);
    }

    write_time(writer, "REV", cx_json_text(card, "updated"));

    if (writer->version == CX_VCARD_4) {
        write_time(writer, "CREATED", cx_json_text(card, "created"));
        text = cx_json_text(card, "language");

        if (text != NULL) {
            cx_vline_text_line(writer, "LANGUAGE", text);
        }
    }
}


void
cx_vcard_write_rest(cx_vcard_writer_t *writer, const cx_json_t *card)
{
    const cx_json_t *items;
    size_t i, j;

    for (i = 0; i < N_OF(resource_properties); i++) {
        items = cx_json_get(card, resource_properties[i]);

        for (j = 0; items != NULL && j < items->n; j++) {
            if (!writer->brief || i == 0) {
                write_resource(writer, resource_properties[i], items->items[j]);
            }
        }
    }

    if (writer->brief) {
        return;
    }

    items = cx_json_get(card, "anniversaries");

    for (j = 0; items != NULL && j < items->n; j++) {
        write_anniversary(writer, items->items[j]);
    }

    write_keywords(writer, card);
    write_members(writer, card);
    write_single(writer, card);

    if (writer->version == CX_VCARD_3) {
        return;
    }

    items = cx_json_get(card, "personalInfo");

    for (j = 0; items != NULL && j < items->n; j++) {
        write_personal(writer, items->items[j]);
    }

    write_speak(writer, card);
    write_relations(writer, card);
}
