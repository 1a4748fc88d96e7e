/*
 * JSON (RFC 8259) as a tree, read with yajl, owned by talloc.
 *
 * Reading is strict: UTF-8 only, no NUL (nor \u0000), no lone surrogate,
 * at most CX_JSON_DEPTH levels, no member named twice in one object.
 * Numbers are kept as they were written.  A tree belongs to the talloc
 * context it was read or made in; freeing any node frees what is below it.
 */

#ifndef CX_JSON_H
#define CX_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <talloc.h>

#define CX_JSON_DEPTH 64

typedef enum {
    CX_JSON_NULL,
    CX_JSON_BOOLEAN,
    CX_JSON_NUMBER,
    CX_JSON_STRING,
    CX_JSON_ARRAY,
    CX_JSON_OBJECT
} cx_json_type_t;

typedef struct cx_json_s cx_json_t;

struct cx_json_s {
    cx_json_type_t type;
    bool boolean;
    char *name;  /* of a member of an object, else NULL */
    char *text;  /* of a string or number, NUL-terminated; else NULL */
    size_t len;  /* of text, in bytes */
    size_t n;    /* items of an array, members of an object, in order */
    size_t room; /* slots allocated */
    cx_json_t **items;
};

#define CX_JSON_NUMBER_MAX 64 /* bytes of a number */

/* NULL: not acceptable, and *why says so in a sentence for the client
 * (static or owned by ctx). */
cx_json_t *cx_json_read(TALLOC_CTX *ctx, const char *text, size_t len,
                        const char **why);

/* Compact text, NUL-terminated, owned by ctx; *len (or NULL): its length. */
char *cx_json_write(TALLOC_CTX *ctx, const cx_json_t *json, size_t *len);

/* New nodes, owned by ctx.  text must be valid UTF-8. */
cx_json_t *cx_json_object(TALLOC_CTX *ctx);
cx_json_t *cx_json_array(TALLOC_CTX *ctx);
cx_json_t *cx_json_string(TALLOC_CTX *ctx, const char *text);
cx_json_t *cx_json_string_n(TALLOC_CTX *ctx, const char *text, size_t len);
cx_json_t *cx_json_integer(TALLOC_CTX *ctx, int64_t number);
cx_json_t *cx_json_boolean(TALLOC_CTX *ctx, bool value);
cx_json_t *cx_json_null(TALLOC_CTX *ctx);
cx_json_t *cx_json_copy(TALLOC_CTX *ctx, const cx_json_t *json);

/* Members.  get: NULL if absent or `object` is NULL or no object.  put: takes
 * over `value` (talloc_steal) and replaces a member of that name.  append:
 * the same for an array.  Both return the value. */
cx_json_t *cx_json_get(const cx_json_t *object, const char *name);
cx_json_t *cx_json_put(cx_json_t *object, const char *name, cx_json_t *value);
cx_json_t *cx_json_append(cx_json_t *array, cx_json_t *value);
void cx_json_remove(cx_json_t *object, const char *name);

/* The text of a string member, or NULL if it is absent or no string. */
const char *cx_json_text(const cx_json_t *object, const char *name);

/* A whole number that fits; false: it is not. */
bool cx_json_to_integer(const cx_json_t *json, int64_t *number);

/* Applies a merge patch (RFC 7396) to `target`, in place where it can, and
 * returns the result, owned by ctx. */
cx_json_t *cx_json_merge_patch(TALLOC_CTX *ctx, cx_json_t *target,
                               const cx_json_t *patch);

#endif
