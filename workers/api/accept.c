#include "accept.h"

#include <stddef.h>
#include <string.h>
#include <strings.h>

/* One element of a list such as `text/html;level=1;q=0.5`. */
typedef struct {
    const char *name; /* up to the first ; */
    size_t len;
    const char *parameters; /* after it */
    size_t parameters_len;
    int quality; /* 0 to 1000 */
} range_t;


static const char *
skip_blank(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\t')) {
        p++;
    }

    return p;
}


static size_t
trimmed(const char *p, const char *end)
{
    while (end > p && (end[-1] == ' ' || end[-1] == '\t')) {
        end--;
    }

    return (size_t) (end - p);
}


/* The next of `name=value` pairs between semicolons, values without their
 * quotes.  False: no more. */
static bool
next_parameter(const char **p, const char *end, const char **name,
               size_t *name_len, const char **value, size_t *value_len)
{
    const char *stop, *equals;

    while (*p < end) {
        *p = skip_blank(*p, end);
        stop = memchr(*p, ';', (size_t) (end - *p));
        stop = stop != NULL ? stop : end;
        equals = memchr(*p, '=', (size_t) (stop - *p));

        if (equals == NULL) {
            *p = stop < end ? stop + 1 : end;
            continue;
        }

        *name = *p;
        *name_len = trimmed(*p, equals);
        *value = skip_blank(equals + 1, stop);
        *value_len = trimmed(*value, stop);

        if (*value_len >= 2 && **value == '"') {
            (*value)++;
            *value_len -= 2;
        }

        *p = stop < end ? stop + 1 : end;

        return true;
    }

    return false;
}


/* A qvalue (RFC 9110, 12.4.2) in thousandths; what is none counts as 1. */
static int
quality_read(const char *text, size_t len)
{
    int value, unit;
    size_t i;

    if (len == 0 || (text[0] != '0' && text[0] != '1')) {
        return 1000;
    }

    value = (text[0] - '0') * 1000;

    for (i = 2, unit = 100; i < len && unit > 0; i++, unit /= 10) {
        if (text[1] != '.' || text[i] < '0' || text[i] > '9') {
            return 1000;
        }

        value += (text[i] - '0') * unit;
    }

    return value > 1000 ? 1000 : value;
}


static bool
next_range(const char **header, range_t *range)
{
    size_t name_len, value_len;
    const char *p, *end, *stop, *name, *value;

    p = *header;

    while (*p == ' ' || *p == '\t' || *p == ',') {
        p++;
    }

    if (*p == '\0') {
        return false;
    }

    end = p + strcspn(p, ",");
    *header = end;

    stop = memchr(p, ';', (size_t) (end - p));
    stop = stop != NULL ? stop : end;

    range->name = p;
    range->len = trimmed(p, stop);
    range->parameters = stop < end ? stop + 1 : end;
    range->parameters_len = (size_t) (end - range->parameters);
    range->quality = 1000;

    p = range->parameters;

    while (next_parameter(&p, end, &name, &name_len, &value, &value_len)) {
        if (name_len == 1 && (*name == 'q' || *name == 'Q')) {
            range->quality = quality_read(value, value_len);
        }
    }

    return true;
}


static bool
same(const char *text, size_t len, const char *word)
{
    return strlen(word) == len && strncasecmp(text, word, len) == 0;
}


bool
cx_accept_parameter(const char *header, const char *type, const char *name,
                    const char *value)
{
    size_t name_len, value_len;
    range_t range;
    const char *p, *end, *found_name, *found;

    while (header != NULL && next_range(&header, &range)) {
        if (!same(range.name, range.len, type) || range.quality == 0) {
            continue;
        }

        p = range.parameters;
        end = p + range.parameters_len;

        while (next_parameter(&p, end, &found_name, &name_len, &found,
                              &value_len)) {
            if (same(found_name, name_len, name)
                && same(found, value_len, value)) {
                return true;
            }
        }
    }

    return false;
}


int
cx_accept_language(const char *header, const char *language)
{
    int quality, any, position;
    size_t len;
    range_t range;

    len = strlen(language);
    quality = -1;
    any = 0;

    for (position = 0; header != NULL && next_range(&header, &range);
         position += position < 99) {
        /* who lists two languages without a weight means the first */
        range.quality = range.quality * 100 - position;

        if (same(range.name, range.len, "*")) {
            any = range.quality;

        } else if (range.len >= len
                   && strncasecmp(range.name, language, len) == 0
                   && (range.len == len || range.name[len] == '-')
                   && range.quality > quality) {
            quality = range.quality;
        }
    }

    return quality >= 0 ? quality : any > 0 ? any : 0;
}
