#include "cx_buf.h"
#include "cx_jscontact.h"

#include <string.h>


/* The kinds of components of a name in the order in which western names are
 * written, for names that say no order of their own (RFC 9553, 2.2.1). */
static const char *const western[] = { "title",      "given",     "given2",
                                       "surname",    "surname2",  "generation",
                                       "credential", "separator", NULL };

static const char *const eastern[] = { "title",      "surname",   "surname2",
                                       "given",      "given2",    "generation",
                                       "credential", "separator", NULL };


/* Scripts that are written without spaces between the parts of a name: Han,
 * kana, hangul. */
static bool
is_cjk(const char *text)
{
    unsigned c;

    c = cx_utf8_read(text, cx_utf8_length(text, strlen(text)));

    return (c >= 0x2E80 && c <= 0x30FF) || (c >= 0x3400 && c <= 0x9FFF)
           || (c >= 0xAC00 && c <= 0xD7AF) || (c >= 0xF900 && c <= 0xFAFF)
           || (c >= 0x20000 && c <= 0x3FFFF);
}


/* Whether a text ends with such a character. */
static bool
ends_cjk(const char *text, size_t len)
{
    size_t i = len;

    while (i > 0) {
        i--;

        if (((unsigned char) text[i] & 0xC0) != 0x80) {
            return is_cjk(text + i);
        }
    }

    return false;
}


void
cx_jscontact_join(cx_buf_t *buf, const char *value, const char *separator)
{
    if (value[0] == '\0') {
        return;
    }

    if (buf->len > 0) {
        if (separator != NULL) {
            cx_buf_puts(buf, separator);

        } else if (!is_cjk(value) || !ends_cjk(buf->data, buf->len)) {
            cx_buf_putc(buf, ' ');
        }
    }

    cx_buf_puts(buf, value);
}


/* Components as they stand, with separators between them (2.2.1.2). */
static void
add_ordered(cx_buf_t *buf, const cx_json_t *components, const char *separator)
{
    const char *kind, *value;
    bool separated = false;
    size_t i;

    for (i = 0; i < components->n; i++) {
        kind = cx_json_text(components->items[i], "kind");
        value = cx_json_text(components->items[i], "value");

        if (kind == NULL || value == NULL) {
            continue;
        }

        if (strcmp(kind, "separator") == 0) {
            cx_buf_puts(buf, value);
            separated = true;
            continue;
        }

        cx_jscontact_join(buf, value, separated ? "" : separator);
        separated = false;
    }
}


static bool
is_eastern(const cx_json_t *components)
{
    const char *kind, *value;
    size_t i;

    for (i = 0; i < components->n; i++) {
        kind = cx_json_text(components->items[i], "kind");
        value = cx_json_text(components->items[i], "value");

        if (kind != NULL && value != NULL && strcmp(kind, "surname") == 0) {
            return is_cjk(value);
        }
    }

    return false;
}


static void
add_unordered(cx_buf_t *buf, const cx_json_t *components)
{
    const char *const *order;
    const char *kind, *value;
    size_t i;

    order = is_eastern(components) ? eastern : western;

    for (; strcmp(*order, "separator") != 0; order++) {
        for (i = 0; i < components->n; i++) {
            kind = cx_json_text(components->items[i], "kind");
            value = cx_json_text(components->items[i], "value");

            if (kind != NULL && value != NULL && strcmp(kind, *order) == 0) {
                cx_jscontact_join(buf, value, NULL);
            }
        }
    }
}


/* The first value of `member` in the items of a property, those with the
 * least `pref` first (1.5.3).  NULL: there is none. */
static const cx_json_t *
first_item(const cx_json_t *items, const char *member)
{
    const cx_json_t *best = NULL;
    int64_t pref, best_pref = 0;
    const char *text;
    size_t i;

    if (items == NULL || items->type != CX_JSON_OBJECT) {
        return NULL;
    }

    for (i = 0; i < items->n; i++) {
        text = cx_json_text(items->items[i], member);

        if (text == NULL || text[0] == '\0') {
            continue;
        }

        if (!cx_json_to_integer(cx_json_get(items->items[i], "pref"), &pref)) {
            pref = 101;
        }

        if (best == NULL || pref < best_pref) {
            best = items->items[i];
            best_pref = pref;
        }
    }

    return best;
}


char *
cx_jscontact_full_name(TALLOC_CTX *ctx, const cx_json_t *card)
{
    static const struct {
        const char *property, *member;
    } others[] = {
        { "nicknames", "name" },
        { "organizations", "name" },
        { "emails", "address" },
    };
    const cx_json_t *name, *components, *ordered, *item;
    const char *full;
    cx_buf_t buf;
    size_t i;

    name = cx_json_get(card, "name");
    full = cx_json_text(name, "full");

    if (full != NULL && full[0] != '\0') {
        return cx_must(talloc_strdup(ctx, full));
    }

    cx_buf_init(&buf, ctx);
    components = cx_json_get(name, "components");

    if (components != NULL && components->type == CX_JSON_ARRAY) {
        ordered = cx_json_get(name, "isOrdered");

        if (ordered != NULL && ordered->boolean) {
            add_ordered(&buf, components,
                        cx_json_text(name, "defaultSeparator"));
        } else {
            add_unordered(&buf, components);
        }
    }

    for (i = 0; buf.len == 0 && i < sizeof(others) / sizeof(others[0]); i++) {
        item =
            first_item(cx_json_get(card, others[i].property), others[i].member);

        if (item != NULL) {
            cx_buf_puts(&buf, cx_json_text(item, others[i].member));
        }
    }

    return cx_buf_text(&buf);
}


static char *
organisation_text(TALLOC_CTX *ctx, const cx_json_t *organizations)
{
    const cx_json_t *item, *units;
    const char *name, *unit = NULL;

    item = first_item(organizations, "name");

    if (item == NULL && organizations != NULL && organizations->n > 0) {
        item = organizations->items[0];
    }

    name = cx_json_text(item, "name");
    units = cx_json_get(item, "units");

    if (units != NULL && units->type == CX_JSON_ARRAY && units->n > 0) {
        unit = cx_json_text(units->items[0], "name");
    }

    if (name == NULL || name[0] == '\0') {
        return unit == NULL ? NULL : cx_must(talloc_strdup(ctx, unit));
    }

    if (unit == NULL || unit[0] == '\0') {
        return cx_must(talloc_strdup(ctx, name));
    }

    return cx_must(talloc_asprintf(
        ctx, "%s%s%s", name,
        is_cjk(unit) && ends_cjk(name, strlen(name)) ? " " : ", ", unit));
}


void
cx_jscontact_summary(TALLOC_CTX *ctx, const cx_json_t *card,
                     char *const *fields, cx_summary_t *summary)
{
    const cx_json_t *item;
    cx_json_t *view;

    view = cx_jscontact_view(ctx, card, fields);
    summary->name = cx_jscontact_full_name(ctx, view);
    summary->title = NULL;

    if (summary->name[0] == '\0') {
        TALLOC_FREE(summary->name);
    }

    item = first_item(cx_json_get(view, "titles"), "name");

    if (item != NULL) {
        summary->title =
            cx_must(talloc_strdup(ctx, cx_json_text(item, "name")));
    }

    summary->organisation =
        organisation_text(ctx, cx_json_get(view, "organizations"));
    talloc_free(view);
}
