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


typedef struct {
    const char *text;
    size_t len;
} part_t;

typedef struct {
    part_t name;
    part_t parameters; /* with the semicolon before them */
    int quality;       /* in thousandths */
} range_t;


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


/* The next of the parameters that `rest`, from its semicolon on, begins with;
 * blanks are taken off.  0: no more. */
static int
next_parameter(part_t *rest, part_t *name, part_t *value)
{
    size_t n, at;

    while (rest->len > 0) {
        rest->text++;
        rest->len--;

        n = span(rest->text, rest->len, ';');
        at = span(rest->text, n, '=');

        name->text = rest->text;
        name->len = at;
        value->text = rest->text + at + 1;
        value->len = at < n ? n - at - 1 : 0;

        rest->text += n;
        rest->len -= n;

        if (at < n) {
            trim(&name->text, &name->len);
            trim(&value->text, &value->len);
            return 1;
        }
    }

    return 0;
}


static int
same(const part_t *part, const char *word)
{
    return strlen(word) == part->len
           && strncasecmp(part->text, word, part->len) == 0;
}


/* The next element of a list such as "text/html;level=1;q=0.5, *": its name,
 * and what comes behind that.  Elements whose weight can't be read are left
 * out.  0: no more. */
static int
next_range(part_t *rest, range_t *range)
{
    size_t n;
    part_t parameters, name, value;

    while (rest->len > 0) {
        n = span(rest->text, rest->len, ',');
        range->name.text = rest->text;
        range->name.len = span(rest->text, n, ';');
        range->parameters.text = rest->text + range->name.len;
        range->parameters.len = n - range->name.len;
        range->quality = 1000;

        rest->text += n < rest->len ? n + 1 : n;
        rest->len -= n < rest->len ? n + 1 : n;

        trim(&range->name.text, &range->name.len);
        parameters = range->parameters;

        while (next_parameter(&parameters, &name, &value)) {
            if (same(&name, "q")) {
                range->quality = quality(value.text, value.len);
                break;
            }
        }

        if (range->name.len > 0 && range->quality >= 0) {
            return 1;
        }
    }

    return 0;
}


void
cx_accept_init(cx_accept_t *accept)
{
    memset(accept, 0, sizeof(*accept));
}


void
cx_accept_add(cx_accept_t *accept, const char *value, size_t len)
{
    size_t i;
    cx_form_t form;
    range_t range;
    part_t rest = { value, len };

    while (next_range(&rest, &range)) {
        for (i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
            form = ranges[i].form;

            if (same(&range.name, ranges[i].range)
                && (ranges[i].exactness > accept->exactness[form]
                    || (ranges[i].exactness == accept->exactness[form]
                        && range.quality >= accept->quality[form]))) {
                accept->exactness[form] = ranges[i].exactness;
                accept->quality[form] = range.quality;
            }
        }
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


int
cx_accept_parameter(const char *header, size_t len, const char *type,
                    const char *name, const char *value)
{
    range_t range;
    part_t rest = { header, len }, found_name, found;

    while (next_range(&rest, &range)) {
        if (!same(&range.name, type) || range.quality == 0) {
            continue;
        }

        while (next_parameter(&range.parameters, &found_name, &found)) {
            if (found.len >= 2 && found.text[0] == '"') {
                found.text++;
                found.len -= 2;
            }

            if (same(&found_name, name) && same(&found, value)) {
                return 1;
            }
        }
    }

    return 0;
}


int
cx_accept_language(const char *header, size_t len, const char *language)
{
    int wanted, any, position;
    size_t language_len;
    range_t range;
    part_t rest = { header, len };

    language_len = strlen(language);
    wanted = -1;
    any = 0;

    for (position = 0; next_range(&rest, &range); position += position < 99) {
        /* who lists two languages without a weight means the first; one
         * without any weight is not wanted, whatever else is */
        if (range.quality > 0) {
            range.quality = range.quality * 100 - position;
        }

        if (same(&range.name, "*")) {
            any = range.quality;

        } else if (range.name.len >= language_len
                   && strncasecmp(range.name.text, language, language_len) == 0
                   && (range.name.len == language_len
                       || range.name.text[language_len] == '-')
                   && range.quality > wanted) {
            wanted = range.quality;
        }
    }

    return wanted >= 0 ? wanted : any > 0 ? any : 0;
}
