/*
 * What the unit tests share: cmocka with its TAP output, trees from text.
 */

#ifndef CX_UNIT_H
#define CX_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "cx_json.h"

#define N_OF(array) (sizeof(array) / sizeof((array)[0]))

/* A talloc context for each test, freed with all that the test made. */
static inline int
unit_setup(void **state)
{
    *state = talloc_new(NULL);

    return *state == NULL ? -1 : 0;
}


static inline int
unit_teardown(void **state)
{
    talloc_free(*state);

    return 0;
}


#define UNIT(test)                                                             \
    cmocka_unit_test_setup_teardown(test, unit_setup, unit_teardown)


/* A tree; fails the test if the text is none. */
static inline cx_json_t *
unit_json(TALLOC_CTX *ctx, const char *text)
{
    const char *why;
    cx_json_t *json;

    json = cx_json_read(ctx, text, strlen(text), &why);

    if (json == NULL) {
        fail_msg("%s: %s", why, text);
    }

    return json;
}


/* Whether a tree is written as this text. */
static inline void
unit_same_text(TALLOC_CTX *ctx, const cx_json_t *json, const char *text)
{
    assert_non_null(json);
    assert_string_equal(cx_json_write(ctx, json, NULL), text);
}


static inline bool unit_contains(const cx_json_t *want, const cx_json_t *have);


/* Whether each item of `want` is in `have`, in whatever order. */
static inline bool
unit_bag(const cx_json_t *want, const cx_json_t *have)
{
    size_t i, j;

    for (i = 0; i < want->n; i++) {
        for (j = 0; j < have->n; j++) {
            if (unit_contains(want->items[i], have->items[j])) {
                break;
            }
        }

        if (j == have->n) {
            return false;
        }
    }

    return want->n == have->n;
}


/* Whether all that `want` has is in `have` too; members of objects and
 * components that are not ordered in any order. */
static inline bool
unit_contains(const cx_json_t *want, const cx_json_t *have)
{
    const cx_json_t *ordered, *item;
    size_t i;

    if (have == NULL || want->type != have->type) {
        return false;
    }

    if (want->text != NULL) {
        return want->len == have->len && strcmp(want->text, have->text) == 0;
    }

    if (want->type == CX_JSON_BOOLEAN) {
        return want->boolean == have->boolean;
    }

    if (want->type == CX_JSON_ARRAY && want->n != have->n) {
        return false;
    }

    ordered = cx_json_get(want, "isOrdered");

    for (i = 0; i < want->n; i++) {
        item = want->type == CX_JSON_ARRAY
                   ? have->items[i]
                   : cx_json_get(have, want->items[i]->name);

        if (item != NULL && want->type == CX_JSON_OBJECT
            && strcmp(item->name, "components") == 0
            && item->type == CX_JSON_ARRAY && ordered == NULL
            && unit_bag(want->items[i], item)) {
            continue;
        }

        if (!unit_contains(want->items[i], item)) {
            return false;
        }
    }

    return true;
}


static inline void
unit_has(TALLOC_CTX *ctx, const cx_json_t *have, const char *want)
{
    if (!unit_contains(unit_json(ctx, want), have)) {
        fail_msg("no %s in %s", want,
                 have == NULL ? "nothing" : cx_json_write(ctx, have, NULL));
    }
}

#endif
