#include "cx_json_node.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>


cx_json_t *
cx_json_node(TALLOC_CTX *ctx, cx_json_type_t type, const char *name,
             size_t name_len, const char *text, size_t len)
{
    cx_json_t *json;
    size_t extra = 0;
    char *p;

    if (name != NULL) {
        extra += name_len + 1;
    }

    if (text != NULL) {
        extra += len + 1;
    }

    json = cx_must(talloc_size(ctx, sizeof(cx_json_t) + extra));
    memset(json, 0, sizeof(cx_json_t));
    talloc_set_name_const(json, "cx_json_t");
    json->type = type;
    p = (char *) (json + 1);

    if (name != NULL) {
        json->name = p;
        memcpy(p, name, name_len);
        p += name_len;
        *p++ = '\0';
    }

    if (text != NULL) {
        json->text = p;
        json->len = len;
        memcpy(p, text, len);
        p[len] = '\0';
    }

    return json;
}


void
cx_json_attach(cx_json_t *container, cx_json_t *value)
{
    if (container->n == container->room) {
        container->room = container->room == 0 ? 4 : container->room * 2;
        container->items = cx_must(talloc_realloc(
            container, container->items, cx_json_t *, container->room));
    }

    container->items[container->n++] = value;
}


int
cx_json_by_name(const void *a, const void *b)
{
    const cx_json_t *const *x = a;
    const cx_json_t *const *y = b;

    return strcmp((*x)->name, (*y)->name);
}


cx_json_t **
cx_json_sorted(const cx_json_t *object)
{
    cx_json_t **sorted;

    if (object->n == 0) {
        return NULL;
    }

    sorted = cx_must(
        talloc_memdup(object, object->items, object->n * sizeof(cx_json_t *)));
    qsort(sorted, object->n, sizeof(cx_json_t *), cx_json_by_name);

    return sorted;
}


static void
write_string(cx_buf_t *buf, const char *text, size_t len)
{
    static const char hex[] = "0123456789abcdef";
    char escape[6] = { '\\', 'u', '0', '0', 0, 0 };
    size_t i, start = 0;
    unsigned char c;

    cx_buf_putc(buf, '"');

    for (i = 0; i < len; i++) {
        c = (unsigned char) text[i];

        if (c >= 0x20 && c != 0x7F && c != '"' && c != '\\') {
            continue;
        }

        cx_buf_add(buf, text + start, i - start);
        start = i + 1;

        if (c == '"' || c == '\\') {
            cx_buf_putc(buf, '\\');
            cx_buf_putc(buf, (char) c);

        } else if (c == '\n') {
            cx_buf_puts(buf, "\\n");

        } else {
            escape[4] = hex[c >> 4];
            escape[5] = hex[c & 15];
            cx_buf_add(buf, escape, 6);
        }
    }

    cx_buf_add(buf, text + start, len - start);
    cx_buf_putc(buf, '"');
}


static void
write_value(cx_buf_t *buf, const cx_json_t *json)
{
    const cx_json_t *item;
    size_t i;

    switch (json->type) {
    case CX_JSON_NULL:
        cx_buf_add(buf, "null", 4);
        return;

    case CX_JSON_BOOLEAN:
        cx_buf_puts(buf, json->boolean ? "true" : "false");
        return;

    case CX_JSON_NUMBER:
        cx_buf_add(buf, json->text, json->len);
        return;

    case CX_JSON_STRING:
        write_string(buf, json->text, json->len);
        return;

    case CX_JSON_ARRAY:
    case CX_JSON_OBJECT:
        break;
    }

    cx_buf_putc(buf, json->type == CX_JSON_OBJECT ? '{' : '[');

    for (i = 0; i < json->n; i++) {
        item = json->items[i];

        if (i > 0) {
            cx_buf_putc(buf, ',');
        }

        if (json->type == CX_JSON_OBJECT) {
            write_string(buf, item->name, strlen(item->name));
            cx_buf_putc(buf, ':');
        }

        write_value(buf, item);
    }

    cx_buf_putc(buf, json->type == CX_JSON_OBJECT ? '}' : ']');
}


char *
cx_json_write(TALLOC_CTX *ctx, const cx_json_t *json, size_t *len)
{
    cx_buf_t buf;

    cx_buf_init(&buf, ctx);
    write_value(&buf, json);

    if (len != NULL) {
        *len = buf.len;
    }

    return cx_buf_text(&buf);
}


cx_json_t *
cx_json_object(TALLOC_CTX *ctx)
{
    return cx_json_node(ctx, CX_JSON_OBJECT, NULL, 0, NULL, 0);
}


cx_json_t *
cx_json_array(TALLOC_CTX *ctx)
{
    return cx_json_node(ctx, CX_JSON_ARRAY, NULL, 0, NULL, 0);
}


cx_json_t *
cx_json_string(TALLOC_CTX *ctx, const char *text)
{
    return cx_json_string_n(ctx, text, strlen(text));
}


cx_json_t *
cx_json_string_n(TALLOC_CTX *ctx, const char *text, size_t len)
{
    return cx_json_node(ctx, CX_JSON_STRING, NULL, 0, text, len);
}


cx_json_t *
cx_json_integer(TALLOC_CTX *ctx, int64_t number)
{
    char text[24];
    int len;

    len = snprintf(text, sizeof(text), "%" PRId64, number);

    return cx_json_node(ctx, CX_JSON_NUMBER, NULL, 0, text, (size_t) len);
}


cx_json_t *
cx_json_boolean(TALLOC_CTX *ctx, bool value)
{
    cx_json_t *json;

    json = cx_json_node(ctx, CX_JSON_BOOLEAN, NULL, 0, NULL, 0);
    json->boolean = value;

    return json;
}


cx_json_t *
cx_json_null(TALLOC_CTX *ctx)
{
    return cx_json_node(ctx, CX_JSON_NULL, NULL, 0, NULL, 0);
}


static cx_json_t *
copy_named(TALLOC_CTX *ctx, const cx_json_t *json, const char *name)
{
    cx_json_t *copy;
    size_t i;

    copy = cx_json_node(ctx, json->type, name, name == NULL ? 0 : strlen(name),
                        json->text, json->len);
    copy->boolean = json->boolean;

    if (json->n > 0) {
        copy->room = json->n;
        copy->items = cx_must(talloc_array(copy, cx_json_t *, json->n));
    }

    for (i = 0; i < json->n; i++) {
        copy->items[copy->n++] =
            copy_named(copy, json->items[i], json->items[i]->name);
    }

    return copy;
}


cx_json_t *
cx_json_copy(TALLOC_CTX *ctx, const cx_json_t *json)
{
    return copy_named(ctx, json, NULL);
}


/* The place of a member; object->n if there is none. */
static size_t
find(const cx_json_t *object, const char *name)
{
    size_t i;

    for (i = 0; i < object->n; i++) {
        if (strcmp(object->items[i]->name, name) == 0) {
            break;
        }
    }

    return i;
}


cx_json_t *
cx_json_get(const cx_json_t *object, const char *name)
{
    size_t i;

    if (object == NULL || object->type != CX_JSON_OBJECT) {
        return NULL;
    }

    i = find(object, name);

    return i < object->n ? object->items[i] : NULL;
}


/* Gives a value its name and owner. */
static void
adopt(cx_json_t *object, cx_json_t *value, const char *name)
{
    if (value->name == NULL || strcmp(value->name, name) != 0) {
        value->name = cx_must(talloc_strdup(value, name));
    }

    talloc_steal(object, value);
}


cx_json_t *
cx_json_put(cx_json_t *object, const char *name, cx_json_t *value)
{
    size_t i;

    i = find(object, name);

    /* before anything is freed: `name` may belong to what is replaced */
    adopt(object, value, name);

    if (i == object->n) {
        cx_json_attach(object, value);

    } else if (object->items[i] != value) {
        talloc_free(object->items[i]);
        object->items[i] = value;
    }

    return value;
}


cx_json_t *
cx_json_append(cx_json_t *array, cx_json_t *value)
{
    value->name = NULL;
    talloc_steal(array, value);
    cx_json_attach(array, value);

    return value;
}


void
cx_json_remove(cx_json_t *object, const char *name)
{
    cx_json_t *old;
    size_t i;

    if (object == NULL || object->type != CX_JSON_OBJECT) {
        return;
    }

    i = find(object, name);

    if (i == object->n) {
        return;
    }

    old = object->items[i];
    object->n--;
    memmove(object->items + i, object->items + i + 1,
            (object->n - i) * sizeof(cx_json_t *));
    talloc_free(old);
}


const char *
cx_json_text(const cx_json_t *object, const char *name)
{
    const cx_json_t *json;

    json = cx_json_get(object, name);

    return json != NULL && json->type == CX_JSON_STRING ? json->text : NULL;
}


bool
cx_json_to_integer(const cx_json_t *json, int64_t *number)
{
    char *end;
    double real;

    if (json == NULL || json->type != CX_JSON_NUMBER) {
        return false;
    }

    /* 1.0 and 1e2 are whole numbers too (RFC 7493, 2.2); beyond 2^53 a double
     * would round */
    if (strpbrk(json->text, ".eE") != NULL) {
        real = strtod(json->text, NULL);

        if (fabs(real) > 9007199254740992.0 || real != floor(real)) {
            return false;
        }

        *number = (int64_t) real;
        return true;
    }

    errno = 0;
    *number = strtoll(json->text, &end, 10);

    return errno == 0 && *end == '\0';
}


/* The member that has the name of `item`, of a sorted list. */
static cx_json_t *
find_sorted(cx_json_t **sorted, size_t n, const cx_json_t *item)
{
    cx_json_t **found;

    if (n == 0) {
        return NULL;
    }

    found = bsearch(&item, sorted, n, sizeof(cx_json_t *), cx_json_by_name);

    return found == NULL ? NULL : *found;
}


static cx_json_t *merge(TALLOC_CTX *ctx, cx_json_t *target,
                        const cx_json_t *patch);


/* The value of a member that the target has; NULL: it is gone. */
static cx_json_t *
merge_member(cx_json_t *target, cx_json_t *old, const cx_json_t *patch)
{
    cx_json_t *value;

    if (patch->type == CX_JSON_NULL) {
        talloc_free(old);
        return NULL;
    }

    value = merge(target, old, patch);

    if (value != old) {
        adopt(target, value, patch->name);
        talloc_free(old);
    }

    return value;
}


/* By sorted lists, since both may have thousands of members. */
static void
merge_members(cx_json_t *target, const cx_json_t *patch)
{
    cx_json_t **sorted, *item;
    size_t i, n, had = target->n;

    sorted = cx_json_sorted(target);

    for (i = 0; i < patch->n; i++) {
        item = patch->items[i];

        if (item->type != CX_JSON_NULL
            && find_sorted(sorted, had, item) == NULL) {
            cx_json_attach(target, merge(target, NULL, item));
            adopt(target, target->items[target->n - 1], item->name);
        }
    }

    talloc_free(sorted);
    sorted = cx_json_sorted(patch);
    n = had;

    for (i = had = 0; i < target->n; i++) {
        item = i < n ? find_sorted(sorted, patch->n, target->items[i]) : NULL;
        item = item == NULL ? target->items[i]
                            : merge_member(target, target->items[i], item);

        if (item != NULL) {
            target->items[had++] = item;
        }
    }

    target->n = had;
    talloc_free(sorted);
}


static cx_json_t *
merge(TALLOC_CTX *ctx, cx_json_t *target, const cx_json_t *patch)
{
    if (patch->type != CX_JSON_OBJECT) {
        return cx_json_copy(ctx, patch);
    }

    if (target == NULL || target->type != CX_JSON_OBJECT) {
        target = cx_json_object(ctx);
    }

    merge_members(target, patch);

    return target;
}


cx_json_t *
cx_json_merge_patch(TALLOC_CTX *ctx, cx_json_t *target, const cx_json_t *patch)
{
    return talloc_steal(ctx, merge(ctx, target, patch));
}
