#include "page_write.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define UNRESERVED "-._~:/?#[]@!$&()*+,;=%"

/* What a link may be: nothing that runs, nothing that reads a file. */
static const char *const schemes[] = { "https://", "http://", "mailto:", "geo:",
                                       "sip:",     "sips:",   "xmpp:" };


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

    if (uri != NULL && strncasecmp(uri, "tel:", 4) == 0) {
        return cx_page_tel(ctx, "tel:", uri);
    }

    if (uri != NULL && strncasecmp(uri, "sms:", 4) == 0) {
        return cx_page_tel(ctx, "sms:", uri + 4);
    }

    for (i = 0; uri != NULL && i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        len = strlen(schemes[i]);

        if (strncasecmp(uri, schemes[i], len) == 0 && uri[len] != '\0') {
            return cx_page_encode(ctx, uri, UNRESERVED);
        }
    }

    return NULL;
}


/* RFC 6068, 2: what has a meaning in such a link is percent-encoded. */
char *
cx_page_mail(TALLOC_CTX *ctx, const char *address)
{
    const char *p, *at;

    at = address != NULL ? strrchr(address, '@') : NULL;

    if (at == NULL || at == address || at[1] == '\0') {
        return NULL;
    }

    for (p = address; *p != '\0'; p++) {
        if ((unsigned char) *p <= ' ' || *p == 0x7f) {
            return NULL;
        }
    }

    return cx_must(talloc_asprintf(
        ctx, "mailto:%s@%s",
        cx_page_encode(ctx, talloc_strndup(ctx, address, at - address),
                       "-._~!$*+"),
        cx_page_encode(ctx, at + 1, "-._~")));
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


/* Digits and what people set between them; what follows. */
static const char *
add_digits(cx_buf_t *out, const char *text)
{
    for (;;) {
        if (*text >= '0' && *text <= '9') {
            cx_buf_putc(out, *text++);

        } else if (*text != '\0' && strchr(" -./()", *text) != NULL) {
            text++;

        } else if (strncmp(text, "\xc2\xa0", 2) == 0) {
            text += 2;

        } else if (strncmp(text, "\xe2\x80", 2) == 0 && text[2] != '\0') {
            text += 3; /* other spaces, dashes, marks of direction */

        } else {
            return text;
        }
    }
}


/* What follows the word for an extension, or text. */
static const char *
skip_extension(const char *text)
{
    static const char *const words[] = {
        ";ext=", "extension", "ext", "x", "转", "轉",
    };

    size_t i, len;

    for (i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        len = strlen(words[i]);

        if (strncasecmp(text, words[i], len) == 0) {
            text += len;
            return text + strspn(text, " .:");
        }
    }

    return text;
}


/* RFC 3966: digits, and those of an extension, which people write after x,
 * ext. or in that RFC's own way.  With anything else in it, as the * and # of
 * codes, the digits alone would be another number. */
char *
cx_page_tel(TALLOC_CTX *ctx, const char *scheme, const char *number)
{
    size_t start;
    cx_buf_t out;
    const char *rest, *trunk;

    if (number == NULL) {
        return NULL;
    }

    if (strncasecmp(number, "tel:", 4) == 0) {
        number += 4;
    }

    cx_buf_init(&out, ctx);
    cx_buf_puts(&out, scheme);

    number += strspn(number, " (");
    start = out.len;
    rest = number;

    if (*number == '+') {
        cx_buf_putc(&out, '+');
        start++;
        trunk = strstr(++number, "(0)");
        rest = number;

        /* not dialled from abroad */
        if (trunk != NULL) {
            rest =
                add_digits(&out, talloc_strndup(ctx, number, trunk - number));

            if (*rest != '\0') {
                return NULL;
            }

            rest = trunk + strlen("(0)");
        }
    }

    rest = add_digits(&out, rest);

    if (out.len < start + 2) {
        return NULL;
    }

    if (*rest != '\0') {
        number = skip_extension(rest);

        if (*number < '0' || *number > '9') {
            return NULL;
        }

        cx_buf_puts(&out, ";ext=");
        rest = add_digits(&out, number);
    }

    return *rest == '\0' ? cx_buf_text(&out) : NULL;
}
