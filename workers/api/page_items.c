#include "page_write.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define UNRESERVED "-._~:/?#[]@!$&()*+,;=%"

/* What a link may be: nothing that runs, nothing that reads a file. */
static const char *const schemes[] = { "https:", "http:", "mailto:",
                                       "tel:",   "sms:",  "geo:",
                                       "sip:",   "sips:", "xmpp:" };


/* Percent-encodes what may not stand in an address (RFC 3986, 2); `keep` are
 * the characters besides letters and digits that may. */
static char *
encode(TALLOC_CTX *ctx, const char *text, const char *keep)
{
    char hex[4];
    cx_buf_t out;
    const unsigned char *p;

    cx_buf_init(&out, ctx);

    for (p = (const unsigned char *) text; *p != '\0'; p++) {
        if (*p < 0x80 && (isalnum(*p) || strchr(keep, *p) != NULL)) {
            cx_buf_putc(&out, (char) *p);

        } else {
            snprintf(hex, sizeof(hex), "%%%02X", *p);
            cx_buf_puts(&out, hex);
        }
    }

    return cx_buf_text(&out);
}


char *
cx_page_link(TALLOC_CTX *ctx, const char *uri)
{
    size_t i, len;

    for (i = 0; uri != NULL && i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        len = strlen(schemes[i]);

        if (strncasecmp(uri, schemes[i], len) == 0 && uri[len] != '\0') {
            return encode(ctx, uri, UNRESERVED);
        }
    }

    return NULL;
}


typedef struct {
    const cx_json_t *item;
    int64_t pref;
    size_t place;
} ranked_t;


static int
by_pref(const void *a, const void *b)
{
    const ranked_t *one, *other;

    one = a;
    other = b;

    if (one->pref != other->pref) {
        return one->pref < other->pref ? -1 : 1;
    }

    return one->place < other->place ? -1 : 1;
}


const cx_json_t **
cx_page_items(TALLOC_CTX *ctx, const cx_json_t *object, size_t *n)
{
    size_t i;
    ranked_t *ranked;
    const cx_json_t **items;

    *n = 0;

    if (object == NULL || object->type != CX_JSON_OBJECT || object->n == 0) {
        return NULL;
    }

    ranked = cx_must(talloc_array(ctx, ranked_t, object->n));
    items = cx_must(talloc_array(ctx, const cx_json_t *, object->n));

    for (i = 0; i < object->n; i++) {
        if (object->items[i]->type == CX_JSON_OBJECT) {
            ranked[*n].item = object->items[i];
            ranked[*n].place = *n;

            if (!cx_json_to_integer(cx_json_get(object->items[i], "pref"),
                                    &ranked[*n].pref)) {
                ranked[*n].pref = 101; /* after all that have one */
            }

            (*n)++;
        }
    }

    qsort(ranked, *n, sizeof(*ranked), by_pref);

    for (i = 0; i < *n; i++) {
        items[i] = ranked[i].item;
    }

    talloc_free(ranked);

    return items;
}


static bool
is_set(const cx_json_t *object, const char *set, const char *name)
{
    const cx_json_t *value;

    value = cx_json_get(cx_json_get(object, set), name);

    return value != NULL && value->type == CX_JSON_BOOLEAN && value->boolean;
}


static bool
has_features(const cx_json_t *phone)
{
    const cx_json_t *features;

    features = cx_json_get(phone, "features");

    return features != NULL && features->type == CX_JSON_OBJECT
           && features->n > 0;
}


bool
cx_page_callable(const cx_json_t *phone)
{
    return !has_features(phone) || is_set(phone, "features", "voice")
           || is_set(phone, "features", "mobile")
           || is_set(phone, "features", "video")
           || is_set(phone, "features", "main-number");
}


bool
cx_page_textable(const cx_json_t *phone)
{
    return is_set(phone, "features", "mobile")
           || is_set(phone, "features", "text");
}


/* RFC 3966: digits, and an extension of its own.  Letters end the number,
 * unless they stand for an extension. */
char *
cx_page_tel(TALLOC_CTX *ctx, const char *scheme, const char *number)
{
    bool extension;
    size_t digits;
    cx_buf_t out;

    if (number == NULL) {
        return NULL;
    }

    if (strncasecmp(number, "tel:", 4) == 0) {
        number += 4;
    }

    cx_buf_init(&out, ctx);
    cx_buf_puts(&out, scheme);
    digits = 0;
    extension = false;

    for (; *number != '\0'; number++) {
        if (*number >= '0' && *number <= '9') {
            cx_buf_putc(&out, *number);
            digits++;

        } else if (*number == '+' && digits == 0) {
            cx_buf_putc(&out, '+');

        } else if (((*number | 0x20) == 'x'
                    || strncasecmp(number, ";ext", 4) == 0)
                   && digits > 0 && !extension
                   && strpbrk(number, "0123456789") != NULL) {
            cx_buf_puts(&out, ";ext=");
            extension = true;

        } else if ((isalpha((unsigned char) *number) || *number == ';')
                   && !extension && strcasestr(number, "ext") != number) {
            break;
        }
    }

    return digits >= 2 ? cx_buf_text(&out) : NULL;
}


static void
add_part(cx_buf_t *out, const char *separator, const char *text)
{
    if (text == NULL || *text == '\0') {
        return;
    }

    if (out->len > 0) {
        cx_buf_puts(out, separator);
    }

    cx_buf_puts(out, text);
}


/* Postal addresses are written differently everywhere; components that are in
 * order (RFC 9553, 2.5.1) are joined as they stand, others get one line for
 * the street, one for the town and one for the country. */
char *
cx_page_address(TALLOC_CTX *ctx, const cx_json_t *address)
{
    static const char *const lines[][8] = {
        { "name", "number", NULL },
        { "block", "building", "floor", "apartment", "room", NULL },
        { "district", "subdistrict", "postOfficeBox", NULL },
        { "postcode", "locality", NULL },
        { "region", "country", NULL },
    };

    size_t i, j, k;
    cx_buf_t out, line;
    const char *full, *kind;
    const cx_json_t *parts, *ordered;

    full = cx_json_text(address, "full");

    if (full != NULL && *full != '\0') {
        return cx_must(talloc_strdup(ctx, full));
    }

    parts = cx_json_get(address, "components");

    if (parts == NULL || parts->type != CX_JSON_ARRAY) {
        return NULL;
    }

    ordered = cx_json_get(address, "isOrdered");
    cx_buf_init(&out, ctx);

    if (ordered != NULL && ordered->boolean) {
        full = cx_json_text(address, "defaultSeparator");

        for (i = 0; i < parts->n; i++) {
            kind = cx_json_text(parts->items[i], "kind");
            add_part(&out,
                     kind != NULL && strcmp(kind, "separator") == 0 ? ""
                     : full != NULL                                 ? full
                                                                    : ", ",
                     cx_json_text(parts->items[i], "value"));
        }

        return out.len > 0 ? cx_buf_text(&out) : NULL;
    }

    for (i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        cx_buf_init(&line, ctx);

        for (j = 0; lines[i][j] != NULL; j++) {
            for (k = 0; k < parts->n; k++) {
                kind = cx_json_text(parts->items[k], "kind");

                if (kind != NULL && strcmp(kind, lines[i][j]) == 0) {
                    add_part(&line, " ",
                             cx_json_text(parts->items[k], "value"));
                }
            }
        }

        add_part(&out, "\n", cx_buf_text(&line));
    }

    return out.len > 0 ? cx_buf_text(&out) : NULL;
}


/* A map that opens everywhere; coordinates are better than words. */
char *
cx_page_map(TALLOC_CTX *ctx, const cx_json_t *address)
{
    char *end, *text;
    double latitude, longitude;
    const char *geo;

    geo = cx_json_text(address, "coordinates");

    if (geo != NULL && strncasecmp(geo, "geo:", 4) == 0) {
        latitude = strtod(geo + 4, &end);

        if (*end == ',') {
            longitude = strtod(end + 1, &end);

            return talloc_asprintf(ctx,
                                   "https://www.openstreetmap.org/"
                                   "?mlat=%.5f&mlon=%.5f#map=17/%.5f/%.5f",
                                   latitude, longitude, latitude, longitude);
        }
    }

    text = cx_page_address(ctx, address);

    if (text == NULL) {
        return NULL;
    }

    for (end = text; *end != '\0'; end++) {
        if (*end == '\n') {
            *end = ' ';
        }
    }

    return talloc_asprintf(ctx,
                           "https://www.openstreetmap.org/search?query=%s",
                           encode(ctx, text, "-._~"));
}
