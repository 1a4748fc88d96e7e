#include "cx_accept.h"

#include <string.h>
#include <strings.h>


/* How exactly a media range names a form. */
enum {
    NOT_NAMED,
    BY_ANY,  /* any type at all */
    BY_TYPE, /* any subtype of text or application */
    BY_NAME
};


static const struct {
    const char *range;
    cx_form_t form;
    int exactness;
} ranges[] = {
    { "*/*", CX_FORM_JSON, BY_ANY },
    { "*/*", CX_FORM_HTML, BY_ANY },
    { "*/*", CX_FORM_VCARD, BY_ANY },
    { "application/*", CX_FORM_JSON, BY_TYPE },
    { "text/*", CX_FORM_HTML, BY_TYPE },
    { "text/*", CX_FORM_VCARD, BY_TYPE },
    { "application/jscontact+json", CX_FORM_JSON, BY_NAME },
    { "application/json", CX_FORM_JSON, BY_NAME },
    { "text/html", CX_FORM_HTML, BY_NAME },
    { "text/vcard", CX_FORM_VCARD, BY_NAME },
    { "text/x-vcard", CX_FORM_VCARD, BY_NAME },
};


static void
trim(const char **text, size_t *len)
{
    while (*len > 0 && (**text == ' ' || **text == '\t')) {
        (*text)++;
        (*len)--;
    }

    while (*len > 0
           && ((*text)[*len - 1] == ' ' || (*text)[*len - 1] == '\t')) {
        (*len)--;
    }
}


/* The bytes before the next `separator` outside of a quoted string. */
static size_t
span(const char *text, size_t len, char separator)
{
    size_t i;
    int quoted;

    quoted = 0;

    for (i = 0; i < len; i++) {
        if (quoted && text[i] == '\\') {
            i++;

        } else if (text[i] == '"') {
            quoted = !quoted;

        } else if (!quoted && text[i] == separator) {
            return i;
        }
    }

    return len;
}


/* qvalue: 0 or 1 with at most three digits; -1: it is none. */
static int
quality(const char *text, size_t len)
{
    int value, unit;
    size_t i;

    if (len == 0 || len > 5 || (text[0] != '0' && text[0] != '1')
        || (len > 1 && text[1] != '.')) {
        return -1;
    }

    value = (text[0] - '0') * 1000;
    unit = 100;

    for (i = 2; i < len; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return -1;
        }

        value += (text[i] - '0') * unit;
        unit /= 10;
    }

    return value <= 1000 ? value : -1;
}


/* The weight among the parameters of a media range; 1000 if there is none. */
static int
weight(const char *text, size_t len)
{
    size_t n, parameter_len;
    const char *parameter;

    while (len > 0) {
        text++;
        len--;

        n = span(text, len, ';');
        parameter = text;
        parameter_len = n;
        trim(&parameter, &parameter_len);

        if (parameter_len >= 2 && strncasecmp(parameter, "q=", 2) == 0) {
            return quality(parameter + 2, parameter_len - 2);
        }

        text += n;
        len -= n;
    }

    return 1000;
}


static void
add_range(cx_accept_t *accept, const char *text, size_t len)
{
    int q;
    size_t i, n;
    cx_form_t form;
    const char *range;

    n = span(text, len, ';');

    q = weight(text + n, len - n);
    if (q < 0) {
        return;
    }

    range = text;
    trim(&range, &n);

    for (i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        if (strlen(ranges[i].range) != n
            || strncasecmp(ranges[i].range, range, n) != 0) {
            continue;
        }

        form = ranges[i].form;

        if (ranges[i].exactness < accept->exactness[form]
            || (ranges[i].exactness == accept->exactness[form]
                && q < accept->quality[form])) {
            continue;
        }

        accept->exactness[form] = ranges[i].exactness;
        accept->quality[form] = q;
    }
}


void
cx_accept_init(cx_accept_t *accept)
{
    memset(accept, 0, sizeof(*accept));
}


void
cx_accept_add(cx_accept_t *accept, const char *value, size_t len)
{
    size_t n;

    for (;;) {
        n = span(value, len, ',');
        add_range(accept, value, n);

        if (n == len) {
            return;
        }

        value += n + 1;
        len -= n + 1;
    }
}


cx_form_t
cx_accept_choose(const cx_accept_t *accept)
{
    int form, best;

    best = CX_FORM_JSON;

    for (form = CX_FORM_JSON + 1; form < CX_FORMS; form++) {
        if (accept->quality[form] > accept->quality[best]
            || (accept->quality[form] == accept->quality[best]
                && accept->exactness[form] > accept->exactness[best])) {
            best = form;
        }
    }

    return accept->quality[best] > 0 ? (cx_form_t) best : CX_FORM_JSON;
}
