#include "cx_buf.h"
#include "cx_jscontact.h"
#include "cx_merge.h"

#include <stdlib.h>
#include <string.h>


/* The lower case of the scripts that have one and that people's names are
 * written in; every other character is itself. */
static unsigned
lower(unsigned c)
{
    if ((c >= 'A' && c <= 'Z') || (c >= 0xC0 && c <= 0xDE && c != 0xD7)
        || (c >= 0x391 && c <= 0x3A9) || (c >= 0x410 && c <= 0x42F)) {
        return c + 0x20;
    }

    if (c >= 0x400 && c <= 0x40F) {
        return c + 0x50;
    }

    if ((c >= 0x100 && c <= 0x137) || (c >= 0x14A && c <= 0x177)
        || (c >= 0x1E00 && c <= 0x1EFF)) {
        return c | 1;
    }

    if ((c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17E)) {
        return c + (c & 1);
    }

    return c;
}


static bool
is_space(unsigned c)
{
    return c <= ' ' || c == 0x7F || c == 0xA0 || c == 0x3000
           || (c >= 0x2000 && c <= 0x200D) || c == 0xFEFF;
}


char *
cx_merge_text(TALLOC_CTX *ctx, const char *text)
{
    bool space;
    size_t step, left;
    unsigned c;
    cx_buf_t buf;

    cx_buf_init(&buf, ctx);
    space = false;

    for (left = strlen(text); left > 0; text += step, left -= step) {
        step = cx_utf8_length(text, left);
        step = step > 0 ? step : 1;
        c = cx_utf8_read(text, step);

        if (is_space(c)) {
            space = buf.len > 0;
            continue;
        }

        if (space) {
            cx_buf_putc(&buf, ' ');
            space = false;
        }

        cx_buf_utf8(&buf, lower(c));
    }

    return cx_buf_text(&buf);
}


/* A number as its digits, with the plus that may lead them. */
static void
add_digits(cx_buf_t *buf, const char *number)
{
    bool first;
    const char *p;

    first = true;
    p = strncasecmp(number, "tel:", 4) == 0 ? number + 4 : number;

    for (; *p != '\0' && *p != ';'; p++) {
        if ((*p >= '0' && *p <= '9') || (*p == '+' && first)) {
            cx_buf_putc(buf, *p);
            first = false;
        }
    }
}


static char *
number_value(TALLOC_CTX *ctx, const cx_merge_rules_t *rules, const char *number)
{
    char out[CX_NUMBER_SIZE];
    cx_buf_t buf;

    if (rules != NULL && rules->number != NULL
        && rules->number(rules->data, number, out)) {
        return cx_must(talloc_strdup(ctx, out));
    }

    cx_buf_init(&buf, ctx);
    add_digits(&buf, number);

    /* "call the office" has none */
    return buf.len > 0 ? cx_buf_text(&buf) : cx_merge_text(ctx, number);
}


/* Scheme and host know no case (RFC 3986, 6.2.2.1), and an empty path is "/"
 * (6.2.3). */
static char *
uri_value(TALLOC_CTX *ctx, const char *uri)
{
    char *value, *p, *end;

    value = cx_must(talloc_strdup(ctx, uri));
    end = strstr(value, "://");
    end = end != NULL ? end + 3 + strcspn(end + 3, "/?#")
                      : value + strcspn(value, ":");

    for (p = value; p < end && *p != '\0'; p++) {
        *p = (char) (*p >= 'A' && *p <= 'Z' ? *p + 32 : *p);
    }

    if (strcmp(end, "/") == 0) {
        *end = '\0';
    }

    return value;
}


/* Says where an item stands, or how it is told; not what it is. */
static bool
is_place(const char *name)
{
    static const char *const names[] = {
        "@type",     "contexts",       "label",     "pref",
        "features",  "vCardParams",    "isOrdered", "defaultSeparator",
        "vCardName", "organizationId", "mediaType", "sortAs"
    };
    size_t i;

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(names[i], name) == 0) {
            return true;
        }
    }

    return false;
}


static int
by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *) a, *(char *const *) b);
}


/* Anything: its members in order of their names, texts normalised. */
static char *
any_value(TALLOC_CTX *ctx, const cx_json_t *json)
{
    size_t i, n;
    char **parts, *value;

    if (json->type == CX_JSON_STRING) {
        return cx_merge_text(ctx, json->text);
    }

    if (json->type != CX_JSON_OBJECT && json->type != CX_JSON_ARRAY) {
        return cx_json_write(ctx, json, NULL);
    }

    parts = cx_must(talloc_zero_array(ctx, char *, json->n + 1));

    for (i = n = 0; i < json->n; i++) {
        if (json->type == CX_JSON_ARRAY) {
            parts[n++] = any_value(parts, json->items[i]);

        } else if (!is_place(json->items[i]->name)) {
            parts[n++] =
                cx_must(talloc_asprintf(parts, "%s=%s", json->items[i]->name,
                                        any_value(parts, json->items[i])));
        }
    }

    if (json->type == CX_JSON_OBJECT && n > 1) {
        qsort(parts, n, sizeof(char *), by_text);
    }

    value =
        cx_must(talloc_strdup(ctx, json->type == CX_JSON_OBJECT ? "{" : "["));

    for (i = 0; i < n; i++) {
        value = cx_must(talloc_asprintf_append(value, "%s\n", parts[i]));
    }

    talloc_free(parts);

    return value;
}


/* Components in their order, whatever separates them: punctuation and spaces
 * are how an address or a name is written, not what it is. */
static char *
written_value(TALLOC_CTX *ctx, const cx_json_t *item)
{
    size_t i;
    const char *p, *full;
    cx_buf_t words, buf;
    const cx_json_t *parts;

    cx_buf_init(&words, ctx);
    full = cx_json_text(item, "full");
    parts = cx_json_get(item, "components");

    if (full != NULL) {
        cx_buf_puts(&words, full);

    } else if (parts != NULL && parts->type == CX_JSON_ARRAY) {
        for (i = 0; i < parts->n; i++) {
            p = cx_json_text(parts->items[i], "value");

            if (p != NULL
                && strcmp(cx_json_text(parts->items[i], "kind") != NULL
                              ? cx_json_text(parts->items[i], "kind")
                              : "",
                          "separator")
                       != 0) {
                cx_buf_puts(&words, p);
                cx_buf_putc(&words, ' ');
            }
        }

    } else {
        return any_value(ctx, item);
    }

    cx_buf_init(&buf, ctx);

    for (p = cx_merge_text(ctx, cx_buf_text(&words)); *p != '\0'; p++) {
        if (strchr(" ,;.", *p) == NULL) {
            cx_buf_putc(&buf, *p);
        }
    }

    return cx_buf_text(&buf);
}


char *
cx_merge_value(TALLOC_CTX *ctx, const cx_merge_rules_t *rules,
               const char *property, const cx_json_t *item)
{
    const char *text;

    if (item->type != CX_JSON_OBJECT) {
        return any_value(ctx, item);
    }

    if (strcmp(property, "phones") == 0
        && (text = cx_json_text(item, "number")) != NULL) {
        return number_value(ctx, rules, text);
    }

    if (strcmp(property, "name") == 0 || strcmp(property, "addresses") == 0) {
        return written_value(ctx, item);
    }

    if (strcmp(property, "onlineServices") != 0
        && (text = cx_json_text(item, "uri")) != NULL) {
        return uri_value(ctx, text);
    }

    return any_value(ctx, item);
}


static void
add_words(cx_buf_t *buf, TALLOC_CTX *ctx, const cx_json_t *json)
{
    size_t i;
    char *text;

    if (json->type == CX_JSON_STRING
        && (json->name == NULL
            || (json->name[0] != '@' && strcmp(json->name, "kind") != 0))) {
        text = cx_merge_text(ctx, json->text);
        cx_buf_puts(buf, text);
        cx_buf_putc(buf, '\n');

        if (json->name != NULL && strcmp(json->name, "number") == 0) {
            add_digits(buf, json->text);
            cx_buf_putc(buf, '\n');
        }
    }

    for (i = 0; i < json->n; i++) {
        add_words(buf, ctx, json->items[i]);
    }
}


/* What is about the entry, or is no text for people. */
static bool
is_silent(const char *name)
{
    static const char *const names[] = { "@type",     "version", "uid",
                                         "prodId",    "kind",    "language",
                                         "created",   "updated", "media",
                                         "cryptoKeys" };
    size_t i;

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(names[i], name) == 0) {
            return true;
        }
    }

    return false;
}


char *
cx_merge_words(TALLOC_CTX *ctx, const cx_json_t *card)
{
    size_t i;
    char *name;
    cx_buf_t buf;
    TALLOC_CTX *scratch;

    cx_buf_init(&buf, ctx);
    scratch = cx_must(talloc_new(ctx));
    name = cx_jscontact_full_name(scratch, card);
    cx_buf_puts(&buf, cx_merge_text(scratch, name));
    cx_buf_putc(&buf, '\n');

    for (i = 0; i < card->n; i++) {
        if (!is_silent(card->items[i]->name)) {
            add_words(&buf, scratch, card->items[i]);
        }
    }

    talloc_free(scratch);

    return cx_buf_text(&buf);
}
