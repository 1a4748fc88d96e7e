#include "page_write.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>


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


/* Components that are in order (RFC 9553, 2.5.1) are joined as they stand,
 * by their own separators where they have some. */
static char *
ordered_address(TALLOC_CTX *ctx, const cx_json_t *address,
                const cx_json_t *parts)
{
    size_t i;
    cx_buf_t out;
    const char *usual, *separator, *kind;

    cx_buf_init(&out, ctx);
    usual = cx_json_text(address, "defaultSeparator");
    usual = usual != NULL ? usual : ", ";
    separator = usual;

    for (i = 0; i < parts->n; i++) {
        kind = cx_json_text(parts->items[i], "kind");

        if (kind != NULL && strcmp(kind, "separator") == 0) {
            separator = cx_json_text(parts->items[i], "value");
            separator = separator != NULL ? separator : usual;

        } else {
            add_part(&out, separator, cx_json_text(parts->items[i], "value"));
            separator = usual;
        }
    }

    return out.len > 0 ? cx_buf_text(&out) : NULL;
}


/* How the parts of an address that has no order of its own stand: a line for
 * each list of kinds. */
typedef struct {
    const char *kinds[8][12];
    const char *within;  /* between the parts of a line */
    const char *between; /* between lines */
} address_style_t;

static const address_style_t house_last = {
    { { "name", "number" },
      { "building", "block", "floor", "apartment", "room" },
      { "landmark", "direction", "postOfficeBox" },
      { "subdistrict", "district" },
      { "postcode", "locality" },
      { "region", "country" } },
    " ",
    "\n",
};

static const address_style_t house_first = {
    { { "apartment", "room", "floor", "building", "block" },
      { "number", "name" },
      { "landmark", "direction", "postOfficeBox" },
      { "subdistrict", "district" },
      { "locality", "region", "postcode" },
      { "country" } },
    " ",
    "\n",
};

/* from the whole to the part, as in China, Japan and Korea */
static const address_style_t large_first = {
    { { "country", "region", "locality", "district", "subdistrict", "name",
        "number", "block", "building", "floor", "apartment" },
      { "room", "landmark", "postOfficeBox" },
      { "postcode" } },
    "",
    "\n",
};


static const address_style_t *
address_style(const cx_json_t *address, const cx_json_t *parts)
{
    static const char english[] = "US GB CA AU NZ IE FR IN ZA SG HK PH MY ";

    size_t i;
    const char *value, *country;

    for (i = 0; i < parts->n; i++) {
        value = cx_json_text(parts->items[i], "value");

        /* U+3000 and on: Han, kana; Hangul ends at ED */
        if (value != NULL && (unsigned char) *value >= 0xe3
            && (unsigned char) *value <= 0xed) {
            return &large_first;
        }
    }

    country = cx_json_text(address, "countryCode");

    return country != NULL && strlen(country) == 2
                   && strcasestr(english, country) != NULL
               ? &house_first
               : &house_last;
}


/* All components of the kinds of one line. */
static char *
address_line(TALLOC_CTX *ctx, const cx_json_t *parts, const char *const *kinds,
             const char *separator)
{
    size_t i;
    cx_buf_t line;
    const char *kind;

    cx_buf_init(&line, ctx);

    for (; *kinds != NULL; kinds++) {
        for (i = 0; i < parts->n; i++) {
            kind = cx_json_text(parts->items[i], "kind");

            if (kind != NULL && strcmp(kind, *kinds) == 0) {
                add_part(&line, separator,
                         cx_json_text(parts->items[i], "value"));
            }
        }
    }

    return cx_buf_text(&line);
}


char *
cx_page_address(TALLOC_CTX *ctx, const cx_json_t *address)
{
    size_t i;
    cx_buf_t out;
    const char *full;
    const cx_json_t *parts, *ordered;
    const address_style_t *style;

    full = cx_json_text(address, "full");

    if (full != NULL && *full != '\0') {
        return cx_must(talloc_strdup(ctx, full));
    }

    parts = cx_json_get(address, "components");

    if (parts == NULL || parts->type != CX_JSON_ARRAY) {
        return NULL;
    }

    ordered = cx_json_get(address, "isOrdered");

    if (ordered != NULL && ordered->type == CX_JSON_BOOLEAN
        && ordered->boolean) {
        return ordered_address(ctx, address, parts);
    }

    cx_buf_init(&out, ctx);
    style = address_style(address, parts);

    for (i = 0; style->kinds[i][0] != NULL; i++) {
        add_part(&out, style->between,
                 address_line(ctx, parts, style->kinds[i], style->within));
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

    return talloc_asprintf(ctx, "https://www.openstreetmap.org/search?query=%s",
                           cx_page_encode(ctx, text, "-._~"));
}
