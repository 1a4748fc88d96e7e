#include "cx_vcard_patch.h"

#include <string.h>
#include <strings.h>


#define SINGLY_MAX 20 /* members told one by one, more as a whole */


/* The next segment of a path, unescaped, owned by ctx; *path moves past it,
 * and is NULL after the last. */
static char *
next_segment(TALLOC_CTX *ctx, const char **path)
{
    char *segment, *in, *out;
    size_t len;

    len = strcspn(*path, "/");
    segment = cx_must(talloc_strndup(ctx, *path, len));
    *path = (*path)[len] == '\0' ? NULL : *path + len + 1;

    for (in = out = segment; *in != '\0'; in++) {
        *out = *in;

        if (*in == '~' && (in[1] == '0' || in[1] == '1')) {
            *out = in[1] == '0' ? '~' : '/';
            in++;
        }

        out++;
    }

    *out = '\0';

    return segment;
}


bool
cx_patch_apply(cx_json_t *object, const char *path, const cx_json_t *value)
{
    TALLOC_CTX *scratch;
    cx_json_t *next;
    char *segment;
    unsigned n = 0;

    if (path[0] == '\0') {
        return false;
    }

    scratch = cx_must(talloc_new(NULL));

    for (;;) {
        segment = next_segment(scratch, &path);

        if (object->type != CX_JSON_OBJECT || ++n > CX_PATCH_SEGMENTS) {
            talloc_free(scratch);
            return false;
        }

        if (path == NULL) {
            break;
        }

        next = cx_json_get(object, segment);

        if (next == NULL) {
            next = cx_json_put(object, segment, cx_json_object(object));
        }

        object = next;
    }

    if (value->type == CX_JSON_NULL) {
        cx_json_remove(object, segment);
    } else {
        cx_json_put(object, segment, cx_json_copy(object, value));
    }

    talloc_free(scratch);

    return true;
}


static bool same(const cx_json_t *a, const cx_json_t *b);


/* Components that are in no order may have come back in another. */
static bool
same_bag(const cx_json_t *a, const cx_json_t *b)
{
    bool taken[64] = { false };
    size_t i, j;

    if (a->n != b->n || a->n > 64) {
        return false;
    }

    for (i = 0; i < a->n; i++) {
        for (j = 0; j < b->n; j++) {
            if (!taken[j] && same(a->items[i], b->items[j])) {
                taken[j] = true;
                break;
            }
        }

        if (j == b->n) {
            return false;
        }
    }

    return true;
}


static bool
is_unordered(const cx_json_t *object)
{
    const cx_json_t *ordered;

    ordered = cx_json_get(object, "isOrdered");

    return ordered == NULL || !ordered->boolean;
}


/* A type is implied by where an object stands; so is false by the absence of
 * isOrdered. */
static bool
is_implied(const cx_json_t *member)
{
    return strcmp(member->name, "@type") == 0
           || (strcmp(member->name, "isOrdered") == 0 && !member->boolean);
}


static size_t
count(const cx_json_t *object)
{
    size_t i, n = 0;

    for (i = 0; i < object->n; i++) {
        n += is_implied(object->items[i]) ? 0 : 1;
    }

    return n;
}


static bool
same_member(const cx_json_t *a, const cx_json_t *b, const cx_json_t *parent)
{
    if (b != NULL && a->type == CX_JSON_ARRAY && b->type == CX_JSON_ARRAY
        && strcmp(a->name, "components") == 0 && is_unordered(parent)) {
        return same_bag(a, b);
    }

    return b != NULL && same(a, b);
}


static bool
same(const cx_json_t *a, const cx_json_t *b)
{
    const cx_json_t *member;
    size_t i;

    if (a->type != b->type) {
        return false;
    }

    switch (a->type) {
    case CX_JSON_NULL:
        return true;

    case CX_JSON_BOOLEAN:
        return a->boolean == b->boolean;

    case CX_JSON_NUMBER:
    case CX_JSON_STRING:
        return a->len == b->len && memcmp(a->text, b->text, a->len) == 0;

    case CX_JSON_ARRAY:
        for (i = 0; i < a->n && a->n == b->n; i++) {
            if (!same(a->items[i], b->items[i])) {
                return false;
            }
        }

        return a->n == b->n;

    case CX_JSON_OBJECT:
        break;
    }

    if (count(a) != count(b)) {
        return false;
    }

    for (i = 0; i < a->n; i++) {
        member = a->items[i];

        if (!is_implied(member)
            && !same_member(member, cx_json_get(b, member->name), a)) {
            return false;
        }
    }

    return true;
}


static void
write_jsprop(cx_vcard_writer_t *writer, const char *path,
             const cx_json_t *value)
{
    char *text;

    text = cx_json_write(writer->ctx, value, NULL);
    cx_vline_begin(writer, NULL, "JSPROP");
    cx_vline_param(writer, "JSPTR", path);
    cx_vline_value(writer);
    cx_vline_text(writer, text);
    cx_vline_end(writer);
    talloc_free(text);
}


static char *
path_of(TALLOC_CTX *ctx, const char *path, const char *name)
{
    cx_buf_t buf;

    cx_buf_init(&buf, ctx);

    if (path != NULL) {
        cx_buf_puts(&buf, path);
        cx_buf_putc(&buf, '/');
    }

    for (; *name != '\0'; name++) {
        if (*name == '~') {
            cx_buf_puts(&buf, "~0");
        } else if (*name == '/') {
            cx_buf_puts(&buf, "~1");
        } else {
            cx_buf_putc(&buf, *name);
        }
    }

    return buf.data;
}


/* How many members have to be told; none of the rest counts. */
static size_t
count_missing(const cx_json_t *want, const cx_json_t *have)
{
    size_t i, n = 0;

    for (i = 0; i < want->n; i++) {
        n += !is_implied(want->items[i])
                     && cx_json_get(have, want->items[i]->name) == NULL
                 ? 1
                 : 0;
    }

    return n;
}


static void
write_missing(cx_vcard_writer_t *writer, const cx_json_t *want,
              const cx_json_t *have, const char *path, unsigned depth)
{
    const cx_json_t *member, *other;
    char *below;
    size_t i;

    for (i = 0; i < want->n; i++) {
        member = want->items[i];
        other = cx_json_get(have, member->name);

        if (is_implied(member) || (path == NULL && member->name[0] == '\0')
            || same_member(member, other, want)
            || (path == NULL && strcmp(member->name, "version") == 0)) {
            continue;
        }

        below = path_of(writer->ctx, path, member->name);

        /* patches are replaced as a whole: no path may start with another */
        if (other != NULL && depth < CX_PATCH_SEGMENTS - 1
            && (path == NULL || strcmp(path, "localizations") != 0)
            && other->type == CX_JSON_OBJECT && member->type == CX_JSON_OBJECT
            && count_missing(member, other) <= SINGLY_MAX) {
            write_missing(writer, member, other, below, depth + 1);
        } else {
            write_jsprop(writer, below, member);
        }

        talloc_free(below);
    }
}


void
cx_vcard_write_jsprops(cx_vcard_writer_t *writer, const cx_json_t *card,
                       const cx_json_t *read)
{
    write_missing(writer, card, read, NULL, 1);
}


/* One value of a jCard property; false: it is not of the kinds written. */
static bool
kept_value(cx_buf_t *buf, const cx_json_t *value, bool is_text)
{
    size_t i;

    if (value->type == CX_JSON_ARRAY) {
        for (i = 0; i < value->n; i++) {
            if (i > 0) {
                cx_buf_putc(buf, ';');
            }

            if (value->items[i]->type == CX_JSON_ARRAY
                || !kept_value(buf, value->items[i], is_text)) {
                return false;
            }
        }

        return true;
    }

    if (value->type != CX_JSON_STRING) {
        return false;
    }

    if (is_text) {
        cx_vcard_escape(buf, value->text);
    } else {
        cx_buf_add(buf, value->text, value->len);
    }

    return true;
}


static void
kept_params(cx_vcard_writer_t *writer, const cx_json_t *params)
{
    const cx_json_t *param, *value;
    size_t i, j;

    for (i = 0; i < params->n; i++) {
        param = params->items[i];

        if (!cx_vcard_is_name(param->name)
            || strcmp(param->name, "group") == 0) {
            continue;
        }

        for (j = 0; j < (param->type == CX_JSON_ARRAY ? param->n : 1); j++) {
            value = param->type == CX_JSON_ARRAY ? param->items[j] : param;

            if (value->type == CX_JSON_STRING
                || value->type == CX_JSON_NUMBER) {
                cx_vline_param(writer, param->name, value->text);
            }
        }
    }
}


/* Names that would break the vCard, or be taken for what cardx says. */
static bool
is_structural(const char *name)
{
    static const char *const names[] = { "begin", "end", "version",  "jsprop",
                                         "fn",    "n",   "x-ablabel" };
    size_t i;

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcasecmp(name, names[i]) == 0) {
            return true;
        }
    }

    return !cx_vcard_is_name(name);
}


static void
write_jcard(cx_vcard_writer_t *writer, const cx_json_t *property)
{
    const char *name = property->items[0]->text, *type, *group;
    const cx_json_t *params = property->items[1];
    cx_buf_t value;
    char *upper;
    size_t i;
    bool good = true;

    type = property->items[2]->text;
    group = cx_json_text(params, "group");

    if (is_structural(name) || !cx_vcard_is_name(type)
        || (group != NULL && !cx_vcard_is_name(group))) {
        return;
    }

    cx_buf_init(&value, writer->ctx);

    for (i = 3; i < property->n && good; i++) {
        if (i > 3) {
            cx_buf_putc(&value, ',');
        }

        good =
            kept_value(&value, property->items[i], strcmp(type, "text") == 0);
    }

    if (good) {
        upper = cx_must(talloc_strdup(writer->ctx, name));

        for (i = 0; upper[i] != '\0'; i++) {
            upper[i] =
                (char) (upper[i] >= 'a' && upper[i] <= 'z' ? upper[i] - 32
                                                           : upper[i]);
        }

        cx_vline_begin(writer, group, upper);

        if (strcmp(type, "unknown") != 0) {
            cx_vline_param(writer, "VALUE", type);
        }

        kept_params(writer, params);
        cx_vline_value(writer);
        cx_vline_raw(writer, cx_buf_text(&value));
        cx_vline_end(writer);
    }

    talloc_free(value.data);
}


/* Whether what was just written is kept by who reads it, and nothing else.
 * What has a place in JSContact goes there instead, and would be told twice
 * the next time. */
static bool
comes_back(cx_vcard_writer_t *writer, size_t start, const cx_json_t *property)
{
    TALLOC_CTX *ctx;
    cx_json_t *read, *all;
    const char *text, *why;
    size_t len;
    bool good;

    ctx = cx_must(talloc_new(NULL));
    text = cx_must(
        talloc_asprintf(ctx, "BEGIN:VCARD\r\nVERSION:4.0\r\n%sEND:VCARD\r\n",
                        writer->out.data + start));
    len = strlen(text);
    read = cx_vcard_read(ctx, &text, &len, &why);
    all = cx_json_get(read, "vCardProps");
    good =
        all != NULL && all->n == 1 && read->n == 3
        && strcasecmp(property->items[0]->text, all->items[0]->items[0]->text)
               == 0;
    talloc_free(ctx);

    return good;
}


void
cx_vcard_write_kept(cx_vcard_writer_t *writer, const cx_json_t *card)
{
    const cx_json_t *all, *property;
    size_t i, start;

    all = cx_json_get(card, "vCardProps");

    for (i = 0; all != NULL && i < all->n; i++) {
        property = all->items[i];

        if (property->type == CX_JSON_ARRAY && property->n >= 4
            && property->items[0]->type == CX_JSON_STRING
            && property->items[1]->type == CX_JSON_OBJECT
            && property->items[2]->type == CX_JSON_STRING) {
            start = writer->out.len;
            write_jcard(writer, property);

            if (writer->out.len > start
                && !comes_back(writer, start, property)) {
                writer->out.data[start] = '\0';
                writer->out.len = start;
            }
        }
    }
}
