#include "cx_json_node.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_parse.h>


/* A value of two bytes takes some 200 bytes of memory: a bound on what one
 * request may take. */
#define VALUES_MAX 500000

typedef struct {
    TALLOC_CTX *ctx;
    cx_json_t *root;
    cx_json_t *stack[CX_JSON_DEPTH];
    size_t depth;
    size_t values;
    cx_buf_t name;
    const char *why;
} reader_t;


static int
refuse(reader_t *reader, const char *why)
{
    reader->why = why;
    return 0;
}


/* Puts a value where the text stands; NULL: refused. */
static cx_json_t *
take(reader_t *reader, cx_json_type_t type, const char *text, size_t len)
{
    cx_json_t *json, *parent;

    if (++reader->values > VALUES_MAX) {
        refuse(reader, "The JSON has too many values.");
        return NULL;
    }

    if (reader->depth == 0) {
        json = cx_json_node(reader->ctx, type, NULL, 0, text, len);
        reader->root = json;
        return json;
    }

    parent = reader->stack[reader->depth - 1];

    if (parent->type == CX_JSON_OBJECT) {
        json = cx_json_node(parent, type, cx_buf_text(&reader->name),
                            reader->name.len, text, len);

    } else {
        json = cx_json_node(parent, type, NULL, 0, text, len);
    }

    cx_json_attach(parent, json);

    return json;
}


static int
on_null(void *data)
{
    return take(data, CX_JSON_NULL, NULL, 0) != NULL;
}


static int
on_boolean(void *data, int value)
{
    cx_json_t *json;

    json = take(data, CX_JSON_BOOLEAN, NULL, 0);

    if (json == NULL) {
        return 0;
    }

    json->boolean = value != 0;

    return 1;
}


static int
on_number(void *data, const char *text, size_t len)
{
    const cx_json_t *json;

    if (len > CX_JSON_NUMBER_MAX) {
        return refuse(data, "The JSON has a number that is too long.");
    }

    json = take(data, CX_JSON_NUMBER, text, len);

    if (json == NULL) {
        return 0;
    }

    if (!isfinite(strtod(json->text, NULL))) {
        return refuse(data, "The JSON has a number that is too large.");
    }

    return 1;
}


static int
on_string(void *data, const unsigned char *text, size_t len)
{
    return take(data, CX_JSON_STRING, (const char *) text, len) != NULL;
}


static int
on_name(void *data, const unsigned char *text, size_t len)
{
    reader_t *reader = data;

    reader->name.len = 0;
    cx_buf_add(&reader->name, text, len);

    return 1;
}


static int
on_open(reader_t *reader, cx_json_type_t type)
{
    cx_json_t *json;

    if (reader->depth == CX_JSON_DEPTH) {
        return refuse(reader, "The JSON is nested too deeply.");
    }

    json = take(reader, type, NULL, 0);

    if (json == NULL) {
        return 0;
    }

    reader->stack[reader->depth++] = json;

    return 1;
}


static int
on_object(void *data)
{
    return on_open(data, CX_JSON_OBJECT);
}


static int
on_array(void *data)
{
    return on_open(data, CX_JSON_ARRAY);
}


static bool
names_differ(const cx_json_t *object)
{
    cx_json_t **sorted;
    bool differ = true;
    size_t i, j;

    if (object->n <= 8) {
        for (i = 1; i < object->n; i++) {
            for (j = 0; j < i; j++) {
                if (cx_json_by_name(&object->items[i], &object->items[j])
                    == 0) {
                    return false;
                }
            }
        }

        return true;
    }

    sorted = cx_json_sorted(object);

    for (i = 1; i < object->n && differ; i++) {
        differ = cx_json_by_name(&sorted[i - 1], &sorted[i]) != 0;
    }

    talloc_free(sorted);

    return differ;
}


static int
on_object_end(void *data)
{
    reader_t *reader = data;

    if (!names_differ(reader->stack[--reader->depth])) {
        return refuse(reader, "The JSON names a member twice in one object.");
    }

    return 1;
}


static int
on_array_end(void *data)
{
    reader_t *reader = data;

    reader->depth--;

    return 1;
}


static const yajl_callbacks callbacks = {
    .yajl_null = on_null,
    .yajl_boolean = on_boolean,
    .yajl_number = on_number,
    .yajl_string = on_string,
    .yajl_start_map = on_object,
    .yajl_map_key = on_name,
    .yajl_end_map = on_object_end,
    .yajl_start_array = on_array,
    .yajl_end_array = on_array_end,
};


/* Four hex digits after "\u", or -1. */
static int
escape_read(const char *text, size_t len)
{
    char digits[5];
    char *end;
    long unit;

    if (len < 6 || text[0] != '\\' || text[1] != 'u') {
        return -1;
    }

    memcpy(digits, text + 2, 4);
    digits[4] = '\0';

    if (strspn(digits, "0123456789abcdefABCDEF") != 4) {
        return -1;
    }

    unit = strtol(digits, &end, 16);

    return (int) unit;
}


/* What yajl lets pass: escapes for NUL and for half a character.  `*used` is
 * the length of the escape.  What is no escape at all is left to yajl. */
static const char *
escape_check(const char *text, size_t len, size_t *used)
{
    int unit, second;

    *used = len < 2 ? len : 2;
    unit = escape_read(text, len);

    if (unit == -1) {
        return NULL;
    }

    *used = 6;

    if (unit == 0) {
        return "The JSON has a NUL character.";
    }

    if (unit < 0xD800 || unit > 0xDFFF) {
        return NULL;
    }

    second = escape_read(text + 6, len - 6);
    *used = 12;

    if (unit > 0xDBFF || second < 0xDC00 || second > 0xDFFF) {
        return "The JSON has a lone surrogate.";
    }

    return NULL;
}


static const char *
text_check(const char *text, size_t len)
{
    const char *why;
    size_t i, n;

    for (i = 0; i < len; i += n) {
        if (text[i] == '\0') {
            return "The JSON has a NUL character.";
        }

        if (text[i] == '\\') {
            why = escape_check(text + i, len - i, &n);

            if (why != NULL) {
                return why;
            }

            /* what follows a lone backslash may be a longer character */
            n = n == 2 && (text[i + 1] & 0x80) ? 1 : n;
            continue;
        }

        n = cx_utf8_length(text + i, len - i);

        if (n == 0) {
            return "The JSON is not UTF-8.";
        }
    }

    return NULL;
}


cx_json_t *
cx_json_read(TALLOC_CTX *ctx, const char *text, size_t len, const char **why)
{
    reader_t reader;
    yajl_handle parser;
    yajl_status status;
    TALLOC_CTX *own;

    *why = text_check(text, len);

    if (*why != NULL) {
        return NULL;
    }

    own = cx_must(talloc_new(ctx));
    memset(&reader, 0, sizeof(reader_t));
    reader.ctx = own;
    cx_buf_init(&reader.name, own);

    parser = cx_must(yajl_alloc(&callbacks, NULL, &reader));
    yajl_config(parser, yajl_dont_validate_strings, 1);
    status = yajl_parse(parser, (const unsigned char *) text, len);

    if (status == yajl_status_ok) {
        status = yajl_complete_parse(parser);
    }

    if (status != yajl_status_ok && reader.why == NULL) {
        reader.why = cx_must(
            talloc_asprintf(ctx, "The JSON is not well-formed at byte %zu.",
                            yajl_get_bytes_consumed(parser)));
    }

    yajl_free(parser);

    if (reader.why == NULL && reader.root == NULL) {
        reader.why = "There is no JSON.";
    }

    *why = reader.why;

    if (reader.why == NULL) {
        talloc_steal(ctx, reader.root);
    } else {
        reader.root = NULL;
    }

    talloc_free(own);

    return reader.root;
}
