#include "match.h"

#include <string.h>

#include "match_keys.h"
#include "cx_buf.h"
#include "match.sql.h"

#define NUMBERS_MAX 100 /* of one contact */

/* A list of texts that ends with NULL. */
typedef struct {
    char **texts;
    size_t n;
} list_t;

struct cx_match_s {
    cx_request_t *r;
    cx_match_keys_t *keys;
    list_t written;
    list_t contacts; /* these go together */
    list_t tags;
    list_t numbers;
    list_t pairs;
    list_t sides;
};


static void
add(cx_match_t *match, list_t *list, const char *text)
{
    if (list->n + 2 > talloc_array_length(list->texts)) {
        list->texts = cx_must(
            talloc_realloc(match, list->texts, char *, 2 * list->n + 16));
    }

    list->texts[list->n++] = cx_must(talloc_strdup(match, text));
    list->texts[list->n] = NULL;
}


/* Arrays that are given to one statement must have the same length, so there
 * is no null in them: an empty pair is none. */
static void
add_bytes(cx_match_t *match, list_t *list, const void *bytes, size_t len)
{
    char *text;

    text = cx_must(cx_pg_bytea(match, bytes, len));
    add(match, list, text);
    talloc_free(text);
}


cx_match_t *
cx_match_open(cx_request_t *r)
{
    size_t len;
    PGresult *row;
    cx_match_t *match;
    unsigned char *wrapped;

    if (!cx_query(r, &row, &SQL_MATCH_ME)) {
        return NULL;
    }

    if (PQntuples(row) == 0) {
        cx_problem_gone(r);
        return NULL;
    }

    match = cx_must(talloc_zero(r, cx_match_t));
    match->r = r;
    wrapped = cx_pg_bytes(match, row, 0, 3, &len);

    if (len == 0) {
        cx_problem_gone(r);
        return NULL;
    }

    match->keys = cx_match_keys(match, r->api->settings, r->user_id,
                                cx_pg_text(row, 0, 0), cx_pg_text(row, 0, 1),
                                cx_pg_text(row, 0, 2), wrapped, len);

    if (match->keys == NULL) {
        cx_alert("the data key of a user can't be opened");
        cx_try_again(r);
        return NULL;
    }

    return match;
}


/* A number that is none is kept in the contact, and not matched. */
static void
put_number(cx_match_t *match, const char *contact_id, const char *text)
{
    bool side;
    size_t len;
    char e164[CX_PHONE_SIZE];
    unsigned char tag[CX_MATCH_HASH], pair[CX_MATCH_HASH], *sealed;
    const cx_match_keys_t *keys = match->keys;

    if (text == NULL
        || cx_phone_normalise(
               text, keys->region[0] != '\0' ? keys->region : NULL, e164)
               != 0
        || !cx_match_tag(keys, e164, tag)) {
        return;
    }

    sealed = cx_seal(match, keys->number_key, keys->user_id, e164, strlen(e164),
                     &len);
    if (sealed == NULL) {
        return;
    }

    add(match, &match->contacts, contact_id);
    add_bytes(match, &match->tags, tag, sizeof(tag));
    add_bytes(match, &match->numbers, sealed, len);
    add_bytes(match, &match->pairs, pair,
              cx_match_pair(keys, e164, pair, &side) ? sizeof(pair) : 0);
    add(match, &match->sides, side ? "t" : "f");
    talloc_free(sealed);
}


void
cx_match_put(cx_match_t *match, const char *contact_id, const cx_json_t *own)
{
    size_t i;
    const cx_json_t *phones;

    add(match, &match->written, contact_id);
    phones = cx_json_get(own, "phones");

    for (i = 0; phones != NULL && i < phones->n && i < NUMBERS_MAX; i++) {
        put_number(match, contact_id, cx_json_text(phones->items[i], "number"));
    }
}


/* As parameter. */
static const char *
array(cx_match_t *match, const list_t *list)
{
    static char *const none[] = { NULL };

    return cx_must(
        cx_pg_array(match, list->texts != NULL ? list->texts : none));
}


bool
cx_match_close(cx_match_t *match)
{
    PGresult *result;
    cx_request_t *r = match->r;

    if (match->written.n > 0
        && !cx_query(r, &result, &SQL_MATCH_WRITE,
                     array(match, &match->written),
                     array(match, &match->contacts), array(match, &match->tags),
                     array(match, &match->numbers), array(match, &match->pairs),
                     array(match, &match->sides), match->keys->epoch,
                     talloc_asprintf(match, "%d", match->keys->key_id))) {
        return false;
    }

    talloc_free(match);

    return true;
}
