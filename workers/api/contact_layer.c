/* What a client may write of a contact, checked: F4. */

#include "contact_book.h"

#include <string.h>

#include "cx_jscontact.h"

#define TAGS_MAX 100
#define TAG_MAX 100 /* bytes */
#define PINNED_MAX 200
#define PATH_MAX_LEN 300 /* bytes */


/* A list of different texts without control characters. */
static bool
is_list(const cx_json_t *list, size_t most, size_t longest)
{
    size_t i, j;
    const char *p;
    const cx_json_t *item;

    if (list->type != CX_JSON_ARRAY || list->n > most) {
        return false;
    }

    for (i = 0; i < list->n; i++) {
        item = list->items[i];

        if (item->type != CX_JSON_STRING || item->len == 0
            || item->len > longest) {
            return false;
        }

        for (p = item->text; *p != '\0'; p++) {
            if ((unsigned char) *p < 0x20 || *p == 0x7F) {
                return false;
            }
        }

        for (j = 0; j < i; j++) {
            if (strcmp(item->text, list->items[j]->text) == 0) {
                return false;
            }
        }
    }

    return true;
}


/* Puts a list into the layer, or takes it away. */
static void
put_list(cx_json_t *layer, const char *name, const cx_json_t *list)
{
    if (list == NULL) {
        return;
    }

    if (list->type == CX_JSON_NULL
        || (list->type == CX_JSON_ARRAY && list->n == 0)) {
        cx_json_remove(layer, name);

    } else {
        cx_json_put(layer, name, cx_json_copy(layer, list));
    }
}


static bool
good_note(const cx_json_t *note)
{
    return note == NULL
           || (note->type == CX_JSON_STRING && note->len <= CX_NOTE_MAX);
}


static bool
good_tags(const cx_json_t *tags)
{
    return tags == NULL || is_list(tags, TAGS_MAX, TAG_MAX);
}


static bool
good_pinned(const cx_json_t *pinned)
{
    return pinned == NULL || is_list(pinned, PINNED_MAX, PATH_MAX_LEN);
}


const char *
cx_layer_wrong(const cx_json_t *layer)
{
    if (!good_note(cx_json_get(layer, "note"))) {
        return "The note is no text, or too long.";
    }

    if (!good_tags(cx_json_get(layer, "tags"))) {
        return "There are too many tags, or one that is too long.";
    }

    return good_pinned(cx_json_get(layer, "pinned"))
               ? NULL
               : "pinned is no list of properties and items.";
}


bool
cx_layer_members(cx_request_t *r, cx_json_t *layer, const cx_json_t *body)
{
    const cx_json_t *note;

    note = cx_json_get(body, "note");
    put_list(layer, "tags", cx_json_get(body, "tags"));
    put_list(layer, "pinned", cx_json_get(body, "pinned"));

    if (note != NULL
        && (note->type == CX_JSON_NULL
            || (note->type == CX_JSON_STRING && note->len == 0))) {
        cx_json_remove(layer, "note");

    } else if (note != NULL) {
        cx_json_put(layer, "note", cx_json_copy(layer, note));
    }

    if (note != NULL && !good_note(cx_json_get(layer, "note"))) {
        cx_problem(r, 422, "invalid_note",
                   "`note` is a text of at most %d bytes.", CX_NOTE_MAX);
        return false;
    }

    if (cx_json_get(body, "tags") != NULL
        && !good_tags(cx_json_get(layer, "tags"))) {
        cx_problem(r, 422, "invalid_tags",
                   "`tags` has at most %d different texts of 1 to %d bytes.",
                   TAGS_MAX, TAG_MAX);
        return false;
    }

    if (cx_json_get(body, "pinned") != NULL
        && !good_pinned(cx_json_get(layer, "pinned"))) {
        cx_problem(r, 422, "invalid_pinned",
                   "`pinned` has at most %d different paths, as \"name\" or "
                   "\"phones/p1\".",
                   PINNED_MAX);
        return false;
    }

    return true;
}


bool
cx_own_check(cx_request_t *r, cx_json_t *own)
{
    size_t len;
    const char *why;

    if (own->type != CX_JSON_OBJECT) {
        cx_problem(r, 422, "invalid_own", "`own` must be a Card.");
        return false;
    }

    (void) cx_json_write(r, own, &len);

    if (len > CX_CARD_BYTES_MAX) {
        cx_problem(r, 413, "too_large", "An entry has at most %d bytes.",
                   CX_CARD_BYTES_MAX);
        return false;
    }

    why = cx_jscontact_check(r, own);

    if (why != NULL) {
        cx_problem(r, 422, "invalid_own", "%s", why);
        return false;
    }

    return true;
}
