/*
 * A holder's entry and the live card behind it, merged (D7, F7, RFC 9553);
 * docs/contacts.md has the rules.
 *
 * Items are compared by normalised value.  Equal: the holder's spelling
 * stays.  Only live: added.  Same place (property, contexts, label), other
 * value: the live one is shown.  What is pinned is the holder's.
 */

#ifndef CX_MERGE_H
#define CX_MERGE_H

#include "cx_json.h"

#define CX_NUMBER_SIZE 40

/* Brings a phone number into a form in which equal numbers are equal texts
 * (E.164); false: it can't, and its digits are compared.  NULL: digits. */
typedef struct {
    bool (*number)(void *data, const char *text, char out[CX_NUMBER_SIZE]);
    void *data;
} cx_merge_rules_t;

/* What is shown, owned by ctx: a Card.  live NULL: own alone.  pinned: an
 * array of properties ("name") and items ("phones/p1") of own, or NULL.  The
 * uid is own's, if it has one. */
cx_json_t *cx_merge(TALLOC_CTX *ctx, const cx_merge_rules_t *rules,
                    const cx_json_t *own, const cx_json_t *live,
                    const cx_json_t *pinned);

/* What differs, owned by ctx: an array of {path, old?, new?}, where a path
 * names a property, or an item of one.  `updated` is no difference. */
cx_json_t *cx_merge_changes(TALLOC_CTX *ctx, const cx_json_t *before,
                            const cx_json_t *after);

/* Whether two values are the same, whatever the order of their members. */
bool cx_json_same(const cx_json_t *a, const cx_json_t *b);

/* Whether a property consists of items: an object of objects. */
bool cx_is_items(const cx_json_t *property);

/* The normalised value of an item of a property, without where it stands. */
char *cx_merge_value(TALLOC_CTX *ctx, const cx_merge_rules_t *rules,
                     const char *property, const cx_json_t *item);

/* A text for comparing and searching: letters in lower case, white space as
 * one space, none at the ends. */
char *cx_merge_text(TALLOC_CTX *ctx, const char *text);

/* All that is to be found of a card by its words: normalised, a line each;
 * numbers also as digits alone. */
char *cx_merge_words(TALLOC_CTX *ctx, const cx_json_t *card);

#endif
