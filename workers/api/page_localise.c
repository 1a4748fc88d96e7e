#include "page_write.h"

#include <string.h>
#include <strings.h>


/* The localisation for "zh" may be told apart further, as zh-Hans or zh-TW;
 * the plain one is better, then the first. */
static const cx_json_t *
find(const cx_json_t *localizations, const char *language)
{
    size_t i, len;
    const cx_json_t *item, *found;

    if (localizations == NULL || localizations->type != CX_JSON_OBJECT) {
        return NULL;
    }

    len = strlen(language);
    found = NULL;

    for (i = 0; i < localizations->n; i++) {
        item = localizations->items[i];

        if (item->type != CX_JSON_OBJECT
            || strncasecmp(item->name, language, len) != 0) {
            continue;
        }

        if (item->name[len] == '\0') {
            return item;
        }

        if (item->name[len] == '-' && found == NULL) {
            found = item;
        }
    }

    return found;
}


/* The next reference token of a JSON pointer (RFC 6901) in place. */
static char *
next_token(char **pointer)
{
    char *token, *from, *to;

    token = *pointer;
    from = token;
    to = token;

    for (; *from != '\0' && *from != '/'; from++) {
        if (from[0] == '~' && (from[1] == '0' || from[1] == '1')) {
            *to++ = from[1] == '0' ? '~' : '/';
            from++;

        } else {
            *to++ = *from;
        }
    }

    *pointer = *from == '/' ? from + 1 : NULL;
    *to = '\0';

    return token;
}


/* One member of a PatchObject (RFC 9553, 1.4.3): arrays are replaced whole,
 * never reached into.  What has no place in the card is passed over. */
static void
patch(cx_json_t *card, const char *path, const cx_json_t *value)
{
    char *pointer, *token;
    cx_json_t *at, *next;

    pointer = cx_must(talloc_strdup(card, path));
    at = card;

    for (;;) {
        token = next_token(&pointer);

        if (pointer == NULL) {
            break;
        }

        next = cx_json_get(at, token);

        if (next == NULL) {
            return;
        }

        at = next;
    }

    if (at->type != CX_JSON_OBJECT) {
        return;
    }

    if (value->type == CX_JSON_NULL) {
        cx_json_remove(at, token);

    } else {
        cx_json_put(at, token, cx_json_copy(at, value));
    }
}


cx_json_t *
cx_page_localise(TALLOC_CTX *ctx, const cx_json_t *card, const char *language)
{
    size_t i;
    cx_json_t *copy;
    const char *own;
    const cx_json_t *found;

    copy = cx_json_copy(ctx, card);
    own = cx_json_text(card, "language");

    if (own != NULL && strncasecmp(own, language, strlen(language)) == 0) {
        return copy;
    }

    found = find(cx_json_get(card, "localizations"), language);

    for (i = 0; found != NULL && i < found->n; i++) {
        patch(copy, found->items[i]->name, found->items[i]);
    }

    if (found != NULL && found->n > 0) {
        cx_json_put(copy, "language", cx_json_string(copy, found->name));
    }

    return copy;
}
