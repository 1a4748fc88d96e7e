#include "cx_vcard_line.h"
#include "cx_vcard_reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>


#define N_OF(array) (sizeof(array) / sizeof((array)[0]))
#define KEYWORDS_MAX 1000

/* Parts of a date and time; -1: not said. */
typedef struct {
    int year, month, day;
    int hour, minute, second;
    bool has_time, has_zone;
    int offset; /* minutes east of UTC */
} moment_t;


/* n digits at *p, which moves past them; -1: they are not there. */
static int
take_digits(const char **p, int n)
{
    int number = 0, i;

    for (i = 0; i < n; i++) {
        if ((*p)[i] < '0' || (*p)[i] > '9') {
            return -1;
        }

        number = number * 10 + ((*p)[i] - '0');
    }

    *p += n;

    return number;
}


static void
skip(const char **p, char c)
{
    if (**p == c) {
        (*p)++;
    }
}


/* Dates of RFC 6350, 4.3.1, basic or extended: 19850412, 1985-04-12, 1985-04,
 * 1985, --0412, --04-12, --04, ---12. */
static bool
read_date(const char **p, moment_t *moment)
{
    moment->year = moment->month = moment->day = -1;

    if (strncmp(*p, "---", 3) == 0) {
        *p += 3;
        moment->day = take_digits(p, 2);
        return moment->day != -1;
    }

    if (strncmp(*p, "--", 2) == 0) {
        *p += 2;
        moment->month = take_digits(p, 2);

    } else {
        moment->year = take_digits(p, 4);

        if (moment->year == -1) {
            return false;
        }

        if (**p == '\0') {
            return true;
        }

        skip(p, '-');
        moment->month = take_digits(p, 2);
    }

    if (moment->month == -1) {
        return false;
    }

    skip(p, '-');
    moment->day = take_digits(p, 2);

    return true;
}


static bool
read_clock(const char **p, moment_t *moment)
{
    int hours, minutes, sign;

    moment->hour = take_digits(p, 2);
    skip(p, ':');
    moment->minute = take_digits(p, 2);
    skip(p, ':');
    moment->second = take_digits(p, 2);

    if (moment->hour == -1 || moment->hour > 23 || moment->minute == -1
        || moment->minute > 59 || moment->second == -1 || moment->second > 60) {
        return false;
    }

    if (**p == '.' || **p == ',') {
        (*p)++;
        *p += strspn(*p, "0123456789");
    }

    if (**p == 'Z' || **p == 'z') {
        (*p)++;
        moment->has_zone = true;
        return true;
    }

    if (**p == '+' || **p == '-') {
        sign = **p == '-' ? -1 : 1;
        (*p)++;
        hours = take_digits(p, 2);
        skip(p, ':');
        minutes = take_digits(p, 2);

        if (hours == -1 || hours > 23) {
            return false;
        }

        moment->has_zone = true;
        moment->offset = sign * (hours * 60 + (minutes == -1 ? 0 : minutes));
    }

    return true;
}


static bool
read_moment(const char *text, moment_t *moment)
{
    const char *p = text;

    memset(moment, 0, sizeof(moment_t));

    if (!read_date(&p, moment)) {
        return false;
    }

    if ((moment->month != -1 && (moment->month < 1 || moment->month > 12))
        || (moment->day != -1 && (moment->day < 1 || moment->day > 31))) {
        return false;
    }

    if (*p == 'T' || *p == 't' || *p == ' ') {
        p++;
        moment->has_time = read_clock(&p, moment);

        if (!moment->has_time) {
            return false;
        }
    }

    return *p == '\0';
}


/* Days since 1970-01-01 of a date of the Gregorian calendar, and back. */
static long
days_of(int year, int month, int day)
{
    long era, in_era, in_year, y;

    y = year - (month <= 2);
    era = (y >= 0 ? y : y - 399) / 400;
    in_year = (153L * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    in_era = (y - era * 400) * 365 + (y - era * 400) / 4 - (y - era * 400) / 100
             + in_year;

    return era * 146097 + in_era - 719468;
}


static void
date_of(long days, moment_t *moment)
{
    long era, in_era, y, in_year, m;

    days += 719468;
    era = (days >= 0 ? days : days - 146096) / 146097;
    in_era = days - era * 146097;
    y = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    in_year = in_era - (365 * y + y / 4 - y / 100);
    m = (5 * in_year + 2) / 153;
    moment->day = (int) (in_year - (153 * m + 2) / 5 + 1);
    moment->month = (int) (m < 10 ? m + 3 : m - 9);
    moment->year = (int) (y + era * 400 + (moment->month <= 2));
}


/* Moves a moment to UTC. */
static void
to_utc(moment_t *moment)
{
    long minutes, days;

    minutes = moment->hour * 60L + moment->minute - moment->offset;
    days = days_of(moment->year, moment->month, moment->day);

    while (minutes < 0) {
        minutes += 1440;
        days--;
    }

    days += minutes / 1440;
    minutes %= 1440;
    date_of(days, moment);
    moment->hour = (int) (minutes / 60);
    moment->minute = (int) (minutes % 60);
}


bool
cx_vtime_read(const char *text, char *out, size_t room)
{
    moment_t moment;

    text += strspn(text, " ");

    if (!read_moment(text, &moment) || moment.year == -1 || moment.month == -1
        || moment.day == -1) {
        return false;
    }

    if (moment.offset != 0) {
        to_utc(&moment);
    }

    if (moment.year < 0 || moment.year > 9999) {
        return false;
    }

    snprintf(out, room, "%04d-%02d-%02dT%02d:%02d:%02dZ", moment.year,
             moment.month, moment.day, moment.hour, moment.minute,
             moment.second);

    return true;
}


static void
put_part(cx_json_t *date, const char *name, int number)
{
    if (number != -1) {
        cx_json_put(date, name, cx_json_integer(date, number));
    }
}


/* The date of an anniversary, or NULL.  A point in time is one only where it
 * says its zone and the version has them; older phones wrote midnight after
 * any birthday. */
static cx_json_t *
date_object(cx_vreader_t *reader, const cx_vline_t *line, cx_json_t *owner)
{
    const char *scale = cx_vline_get(line, "CALSCALE");
    const char *omit = cx_vline_get(line, "X-APPLE-OMIT-YEAR");
    cx_json_t *date;
    moment_t moment;
    char *text, utc[32];

    text = cx_vtext_uri(reader->ctx, line->value);

    if (cx_vline_has(line, "VALUE", "text") || !read_moment(text, &moment)) {
        return NULL;
    }

    date = cx_json_object(owner);

    if (reader->source->version == 4 && moment.has_time && moment.has_zone
        && cx_vtime_read(text, utc, sizeof(utc))) {
        cx_vset(date, "@type", "Timestamp");
        cx_vset(date, "utc", utc);
        return date;
    }

    if (omit != NULL && atoi(omit) == moment.year) {
        moment.year = -1;
    }

    put_part(date, "year", moment.year);
    put_part(date, "month", moment.month);
    put_part(date, "day", moment.day);
    cx_vset(date, "calendarScale", scale);

    return date;
}


static bool
put_anniversary(cx_vreader_t *reader, const cx_vline_t *line, const char *kind)
{
    cx_json_t *item, *date;

    item = cx_vitem_new(reader, line);
    cx_json_remove(item, "label");
    cx_json_remove(item, "contexts");
    cx_json_remove(item, "pref");
    date = date_object(reader, line, item);

    if (date == NULL || date->n == 0) {
        return false;
    }

    cx_vset(item, "kind", kind);
    cx_json_put(item, "date", date);
    cx_vitem_put(reader, line, "anniversaries", "d", item);

    return true;
}


static bool
read_birth(cx_vreader_t *reader, const cx_vline_t *line)
{
    return put_anniversary(reader, line, "birth");
}


static bool
read_death(cx_vreader_t *reader, const cx_vline_t *line)
{
    return put_anniversary(reader, line, "death");
}


static bool
read_wedding(cx_vreader_t *reader, const cx_vline_t *line)
{
    return put_anniversary(reader, line, "wedding");
}


/* Apple's dates are told apart by their labels. */
static bool
read_labelled_date(cx_vreader_t *reader, const cx_vline_t *line)
{
    const char *label = cx_vline_label(reader, line);

    return label != NULL && strcasecmp(label, "Anniversary") == 0
           && put_anniversary(reader, line, "wedding");
}


/* RFC 6474: the place of the anniversary before it. */
static bool
read_place(cx_vreader_t *reader, const cx_vline_t *line)
{
    const char *kind = line->name[0] == 'B' ? "birth" : "death", *other;
    cx_json_t *all, *place;
    bool uri;
    char *text;
    size_t i;

    all = cx_json_get(reader->card, "anniversaries");
    uri = cx_vline_has(line, "VALUE", "uri");
    text = uri ? cx_vtext_uri(reader->ctx, line->value)
               : cx_vline_plain(reader, line);

    for (i = 0; all != NULL && i < all->n && text[0] != '\0'; i++) {
        other = cx_json_text(all->items[i], "kind");

        if (other != NULL && strcmp(other, kind) == 0
            && cx_json_get(all->items[i], "place") == NULL) {
            place = cx_json_put(all->items[i], "place",
                                cx_json_object(all->items[i]));
            cx_vset(place, uri ? "coordinates" : "full", text);
            return true;
        }
    }

    return false;
}


/* The media type of what is embedded: TYPE, else what the bytes start with. */
static const char *
embedded_type(const cx_vline_t *line, const char *base64)
{
    static const char *const types[][2] = {
        { "JPEG", "image/jpeg" },
        { "JPG", "image/jpeg" },
        { "PNG", "image/png" },
        { "GIF", "image/gif" },
        { "WEBP", "image/webp" },
        { "BMP", "image/bmp" },
        { "HEIC", "image/heic" },
        { "TIFF", "image/tiff" },
        { "WAVE", "audio/wav" },
        { "WAV", "audio/wav" },
        { "MP3", "audio/mpeg" },
        { "AAC", "audio/aac" },
        { "OGG", "audio/ogg" },
        { "BASIC", "audio/basic" },
        { "PGP", "application/pgp-keys" },
        { "X509", "application/pkix-cert" },
    };
    static const char *const starts[][2] = {
        { "/9j/", "image/jpeg" },
        { "iVBORw0KGgo", "image/png" },
        { "R0lGOD", "image/gif" },
    };
    const char *type = cx_vline_get(line, "MEDIATYPE");
    size_t i;

    if (type != NULL && strpbrk(type, ",; \"") == NULL) {
        return type;
    }

    for (i = 0; i < N_OF(types); i++) {
        if (cx_vline_has(line, "TYPE", types[i][0])) {
            return types[i][1];
        }
    }

    for (i = 0; i < N_OF(starts); i++) {
        if (strncmp(base64, starts[i][0], strlen(starts[i][0])) == 0) {
            return starts[i][1];
        }
    }

    return "application/octet-stream";
}


/* The URI of a medium or key; what is embedded becomes a data: URI.  NULL: it
 * is neither. */
static char *
resource_uri(cx_vreader_t *reader, const cx_vline_t *line)
{
    char *text, *in, *out;

    text = cx_vtext_uri(reader->ctx, line->value);

    if (text[0] == '\0') {
        return NULL;
    }

    if (!cx_vline_has(line, "ENCODING", "b")
        && !cx_vline_has(line, "ENCODING", "BASE64")) {
        return strchr(text, ':') == NULL ? NULL : text;
    }

    for (in = out = text; *in != '\0'; in++) {
        if (strchr(" \t\n", *in) == NULL) {
            *out++ = *in;
        }
    }

    *out = '\0';

    if (strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                     "0123456789+/=")
        != strlen(text)) {
        return NULL;
    }

    return cx_must(talloc_asprintf(reader->ctx, "data:%s;base64,%s",
                                   embedded_type(line, text), text));
}


static const struct {
    const char *name, *property, *kind, *prefix;
} resources[] = {
    { "URL", "links", NULL, "u" },
    { "CONTACT-URI", "links", "contact", "u" },
    { "PHOTO", "media", "photo", "m" },
    { "LOGO", "media", "logo", "m" },
    { "SOUND", "media", "sound", "m" },
    { "CALURI", "calendars", "calendar", "c" },
    { "FBURL", "calendars", "freeBusy", "c" },
    { "CALADRURI", "schedulingAddresses", NULL, "s" },
    { "KEY", "cryptoKeys", NULL, "k" },
    { "ORG-DIRECTORY", "directories", "directory", "r" },
    { "SOURCE", "directories", "entry", "r" },
};


static bool
read_resource(cx_vreader_t *reader, const cx_vline_t *line)
{
    const char *type = cx_vline_get(line, "MEDIATYPE");
    const char *index = cx_vline_get(line, "INDEX");
    cx_json_t *item;
    bool web;
    char *uri;
    size_t i;

    for (i = 0; i < N_OF(resources) - 1; i++) {
        if (strcmp(resources[i].name, line->name) == 0) {
            break;
        }
    }

    /* "www.example.com" is what people type; it is kept for links alone */
    web = strcmp(line->name, "URL") == 0;
    uri = web ? cx_vtext_uri(reader->ctx, line->value)
              : resource_uri(reader, line);

    if (uri == NULL) {
        return false;
    }

    item = cx_vitem_new(reader, line);

    if (!cx_vset(item, "uri", uri)) {
        return true;
    }

    cx_vset(item, "kind", resources[i].kind);
    cx_vset(item, "mediaType",
            strncmp(uri, "data:", 5) == 0
                    && cx_vline_get(line, "ENCODING") != NULL
                ? NULL
                : type);

    if (index != NULL && strcmp(resources[i].property, "directories") == 0
        && index[0] != '\0' && strlen(index) < 10
        && strspn(index, "0123456789") == strlen(index)) {
        cx_json_put(item, "listAs", cx_json_integer(item, atoi(index)));
    }

    cx_vitem_put(reader, line, resources[i].property, resources[i].prefix,
                 item);

    return true;
}


static bool
read_categories(cx_vreader_t *reader, const cx_vline_t *line)
{
    char **parts, *text;
    size_t i, n;

    parts = cx_vtext_split(reader->ctx, line->value, ',', KEYWORDS_MAX, &n);

    for (i = 0; i < n; i++) {
        text = cx_vtext_plain(reader->ctx, parts[i]);

        if (text[0] != '\0') {
            cx_vset_add(reader->card, "keywords", text);
        }
    }

    return true;
}


static bool
read_member(cx_vreader_t *reader, const cx_vline_t *line)
{
    char *uri;

    uri = cx_vtext_uri(reader->ctx, line->value);

    if (uri[0] != '\0') {
        cx_vset_add(reader->card, "members", uri);
    }

    return true;
}


static bool
read_related(cx_vreader_t *reader, const cx_vline_t *line)
{
    cx_json_t *all, *item;
    const char *type;
    char *name;
    size_t i;

    name = cx_vline_has(line, "VALUE", "text")
               ? cx_vline_plain(reader, line)
               : cx_vtext_uri(reader->ctx, line->value);
    name = cx_vname_plain(reader->ctx, name);
    all = cx_json_get(reader->card, "relatedTo");

    if (name[0] == '\0') {
        return true;
    }

    if (all == NULL) {
        all = cx_json_put(reader->card, "relatedTo",
                          cx_json_object(reader->card));
    }

    item = cx_json_get(all, name);

    if (item == NULL) {
        item = cx_json_put(all, name, cx_json_object(all));
        cx_json_put(item, "relation", cx_json_object(item));
    }

    for (i = 0; (type = cx_vline_get_nth(line, "TYPE", i)) != NULL; i++) {
        cx_vset_add(item, "relation", type);
    }

    return true;
}


/* Properties that are one member of the card; the first of a name counts. */
static bool
read_single(cx_vreader_t *reader, const cx_vline_t *line)
{
    static const struct {
        const char *name, *member;
    } members[] = {
        { "UID", "uid" },           { "PRODID", "prodId" },
        { "KIND", "kind" },         { "X-ADDRESSBOOKSERVER-KIND", "kind" },
        { "LANGUAGE", "language" },
    };
    char *text, *p;
    size_t i;

    text = cx_vline_plain(reader, line);

    if (strcmp(line->name, "PRODID") == 0
        && (strcmp(text, CX_VCARD_PRODUCT) == 0
            || reader->source->version < 4)) {
        return true;
    }

    for (i = 0; i < N_OF(members); i++) {
        if (strcmp(members[i].name, line->name) != 0) {
            continue;
        }

        if (strcmp(members[i].member, "kind") == 0) {
            for (p = text; *p != '\0'; p++) {
                *p = (char) (*p >= 'A' && *p <= 'Z' ? *p + 32 : *p);
            }
        }

        if (cx_json_get(reader->card, members[i].member) == NULL) {
            cx_vset(reader->card, members[i].member, text);
        }
    }

    return true;
}


static bool
read_time(cx_vreader_t *reader, const cx_vline_t *line)
{
    char utc[32];

    if (!cx_vtime_read(line->value, utc, sizeof(utc))) {
        return false;
    }

    return cx_vset(reader->card, line->name[0] == 'R' ? "updated" : "created",
                   utc);
}


static bool
read_show_as(cx_vreader_t *reader, const cx_vline_t *line)
{
    if (strcasecmp(line->value, "COMPANY") == 0
        && cx_json_get(reader->card, "kind") == NULL) {
        cx_vset(reader->card, "kind", "org");
    }

    return true;
}


/* Read with the address of their group. */
static bool
read_nothing(cx_vreader_t *reader, const cx_vline_t *line)
{
    (void) reader;

    return line->group != NULL;
}


const cx_vproperty_t cx_vread_more[] = {
    { "BDAY", read_birth },
    { "DEATHDATE", read_death },
    { "ANNIVERSARY", read_wedding },
    { "X-ANNIVERSARY", read_wedding },
    { "X-ABDATE", read_labelled_date },
    { "BIRTHPLACE", read_place },
    { "DEATHPLACE", read_place },
    { "URL", read_resource },
    { "CONTACT-URI", read_resource },
    { "PHOTO", read_resource },
    { "LOGO", read_resource },
    { "SOUND", read_resource },
    { "CALURI", read_resource },
    { "FBURL", read_resource },
    { "CALADRURI", read_resource },
    { "KEY", read_resource },
    { "ORG-DIRECTORY", read_resource },
    { "SOURCE", read_resource },
    { "CATEGORIES", read_categories },
    { "MEMBER", read_member },
    { "X-ADDRESSBOOKSERVER-MEMBER", read_member },
    { "RELATED", read_related },
    { "UID", read_single },
    { "PRODID", read_single },
    { "KIND", read_single },
    { "X-ADDRESSBOOKSERVER-KIND", read_single },
    { "LANGUAGE", read_single },
    { "REV", read_time },
    { "CREATED", read_time },
    { "X-ABSHOWAS", read_show_as },
    { "X-ABADR", read_nothing },
    { NULL, NULL },
};
