#include "page_write.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define UNRESERVED "-._~:/?#[]@!$&()*+,;=%"

/* What a link may be: nothing that runs, nothing that reads a file. */
static const char *const schemes[] = { "https:", "http:", "mailto:",
                                       "tel:",   "sms:",  "geo:",
                                       "sip:",   "sips:", "xmpp:" };


char *
cx_page_encode(TALLOC_CTX *ctx, const char *text, const char *keep)
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
            return cx_page_encode(ctx, uri, UNRESERVED);
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


static void
add_digits(cx_buf_t *out, const char *text)
{
    for (; *text != '\0' && !isalpha((unsigned char) *text) && *text != ';';
         text++) {
        if (*text >= '0' && *text <= '9') {
            cx_buf_putc(out, *text);
        }
    }
}


/* RFC 3966: digits, and those of an extension, which people write after x,
 * ext. or in that RFC's own way. */
char *
cx_page_tel(TALLOC_CTX *ctx, const char *scheme, const char *number)
{
    size_t start;
    cx_buf_t out;
    const char *extension;

    if (number == NULL) {
        return NULL;
    }

    if (strncasecmp(number, "tel:", 4) == 0) {
        number += 4;
    }

    cx_buf_init(&out, ctx);
    cx_buf_puts(&out, scheme);

    number += strspn(number, " (");

    if (*number == '+') {
        cx_buf_putc(&out, '+');
    }

    start = out.len;
    add_digits(&out, number);

    if (out.len < start + 2) {
        return NULL;
    }

    extension = strpbrk(number, "xX");

    if (extension != NULL
        && extension[strcspn(extension, "0123456789")] != '\0') {
        cx_buf_puts(&out, ";ext=");
        add_digits(&out, extension + strcspn(extension, "0123456789"));
    }

    return cx_buf_text(&out);
}
