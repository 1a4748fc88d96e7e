#include "cx_jscontact.h"
#include "cx_buf.h"

#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>


#define FIELD_MAX 300 /* bytes of one entry */


/* The card's own, not the person's. */
static bool
is_always_shown(const char *name)
{
    static const char *const always[] = { "@type", "version", "uid",     "kind",
                                          "name",  "updated", "language" };
    size_t i;

    for (i = 0; i < sizeof(always) / sizeof(always[0]); i++) {
        if (strcmp(name, always[i]) == 0) {
            return true;
        }
    }

    return false;
}


/* The length of a path's first segment. */
static size_t
head_length(const char *path)
{
    return strcspn(path, "/");
}


static bool
is_listed(char *const *fields, const char *name, size_t len)
{
    for (; *fields != NULL; fields++) {
        if (strlen(*fields) == len && memcmp(*fields, name, len) == 0) {
            return true;
        }
    }

    return false;
}


/* An entry names a property, or an item of one.  A comma could make two lists
 * have one name of a view. */
static const char *
check_field(const cx_json_t *entry)
{
    const char *p, *slash;

    if (entry->type != CX_JSON_STRING || entry->len == 0
        || entry->len > FIELD_MAX) {
        return "fields must be a list of names of properties.";
    }

    for (p = entry->text; *p != '\0'; p++) {
        if ((unsigned char) *p <= ' ' || *p == ',' || *p == 0x7F) {
            return "An entry of fields has a character that no name has.";
        }
    }

    slash = strchr(entry->text, '/');

    if (slash != NULL
        && (slash == entry->text || slash[1] == '\0'
            || strchr(slash + 1, '/') != NULL)) {
        return "An entry of fields must be a property or property/item.";
    }

    return NULL;
}


static int
by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *) a, *(char *const *) b);
}


/* Leaves out what shows anyway: doubles, items of a property that is in the
 * list itself. */
static void
reduce(char **fields, size_t n)
{
    size_t i, len, kept = 0;
    char *field;

    qsort(fields, n, sizeof(char *), by_text);

    for (i = 0; i < n; i++) {
        field = fields[i];
        len = head_length(field);

        if (kept > 0 && strcmp(fields[kept - 1], field) == 0) {
            continue;
        }

        /* "phones" sorts before "phones/work", so it is among those kept */
        fields[kept] = NULL;

        if (field[len] == '/' && is_listed(fields, field, len)) {
            continue;
        }

        fields[kept++] = field;
    }

    fields[kept] = NULL;
}


const char *
cx_fields_read(TALLOC_CTX *ctx, const cx_json_t *list, char ***fields)
{
    const cx_json_t *entry;
    const char *why;
    char *head;
    size_t i, n = 0;

    *fields = NULL;

    if (list == NULL || list->type == CX_JSON_NULL) {
        return NULL;
    }

    if (list->type != CX_JSON_ARRAY) {
        return "fields must be a list of names of properties.";
    }

    if (list->n > CX_FIELDS_MAX) {
        return "fields has too many entries.";
    }

    *fields = cx_must(talloc_zero_array(ctx, char *, list->n + 1));

    for (i = 0; i < list->n; i++) {
        entry = list->items[i];
        why = check_field(entry);

        if (why != NULL) {
            talloc_free(*fields);
            *fields = NULL;
            return why;
        }

        head = cx_must(
            talloc_strndup(*fields, entry->text, head_length(entry->text)));

        if (!is_always_shown(head)) {
            (*fields)[n++] = cx_must(talloc_strdup(*fields, entry->text));
        }

        talloc_free(head);
    }

    reduce(*fields, n);

    return NULL;
}


void
cx_view_name(char *const *fields, char *out)
{
    unsigned char hash[SHA256_DIGEST_LENGTH];
    cx_buf_t buf;

    out[0] = '\0';

    if (fields == NULL) {
        return;
    }

    cx_buf_init(&buf, NULL);

    for (; *fields != NULL; fields++) {
        if (buf.len > 0) {
            cx_buf_putc(&buf, ',');
        }

        cx_buf_puts(&buf, *fields);
    }

    SHA256((const unsigned char *) cx_buf_text(&buf), buf.len, hash);
    cx_hex(hash, CX_VIEW_LEN / 2, out);
    talloc_free(buf.data);
}


bool
cx_fields_show(char *const *fields, const char *name)
{
    return fields == NULL || is_always_shown(name)
           || is_listed(fields, name, strlen(name));
}


/* A name as a segment of a path (RFC 6901, 3), owned by ctx. */
static char *
escape(TALLOC_CTX *ctx, const char *name)
{
    cx_buf_t buf;

    cx_buf_init(&buf, ctx);

    for (; *name != '\0'; name++) {
        if (*name == '~') {
            cx_buf_puts(&buf, "~0");
        } else if (*name == '/') {
            cx_buf_puts(&buf, "~1");
        } else {
            cx_buf_putc(&buf, *name);
        }
    }

    return cx_buf_text(&buf);
}


/* Whether an entry of the `media` property is of a kind that shows. */
static bool
medium_shows(char *const *fields, const cx_json_t *item)
{
    const char *kind;

    kind = cx_json_text(item, "kind");

    return kind != NULL && is_listed(fields, kind, strlen(kind));
}


/* Whether one item of a property shows; both names escaped. */
static bool
item_shows(char *const *fields, const char *property, size_t property_len,
           const char *id, size_t id_len)
{
    const char *field;

    for (; *fields != NULL; fields++) {
        field = *fields;

        if (strlen(field) == property_len + 1 + id_len
            && memcmp(field, property, property_len) == 0
            && field[property_len] == '/'
            && memcmp(field + property_len + 1, id, id_len) == 0) {
            return true;
        }
    }

    return false;
}


/* The items of a property that show, or NULL if none does.  `property` is
 * escaped. */
static cx_json_t *
items_view(TALLOC_CTX *ctx, const cx_json_t *items, const char *property,
           char *const *fields)
{
    cx_json_t *view, *item;
    bool shows;
    char *id;
    size_t i;

    if (items->type != CX_JSON_OBJECT) {
        return NULL;
    }

    view = cx_json_object(ctx);

    for (i = 0; i < items->n; i++) {
        item = items->items[i];
        id = escape(view, item->name);
        shows =
            item_shows(fields, property, strlen(property), id, strlen(id))
            || (strcmp(property, "media") == 0 && medium_shows(fields, item));
        talloc_free(id);

        if (shows) {
            cx_json_put(view, item->name, cx_json_copy(view, item));
        }
    }

    if (view->n == 0) {
        talloc_free(view);
        return NULL;
    }

    return view;
}


/* The value of one patch as far as it shows, or NULL. */
static cx_json_t *
patch_view(TALLOC_CTX *ctx, const cx_json_t *patch, const cx_json_t *card,
           char *const *fields)
{
    const char *path = patch->name, *id;
    size_t len, id_len;
    char *head, *item;
    bool shows;

    len = head_length(path);
    head = cx_must(talloc_strndup(ctx, path, len));

    if (is_always_shown(head) || is_listed(fields, head, len)) {
        return cx_json_copy(ctx, patch);
    }

    if (path[len] == '\0') {
        return items_view(ctx, patch, head, fields);
    }

    id = path + len + 1;
    id_len = head_length(id);

    if (item_shows(fields, head, len, id, id_len)) {
        return cx_json_copy(ctx, patch);
    }

    if (strcmp(head, "media") != 0) {
        return NULL;
    }

    if (id[id_len] == '\0') {
        shows = medium_shows(fields, patch);
    } else {
        item = cx_must(talloc_strndup(ctx, id, id_len));
        shows =
            medium_shows(fields, cx_json_get(cx_json_get(card, "media"), item));
    }

    return shows ? cx_json_copy(ctx, patch) : NULL;
}


/* RFC 9553, 2.7.1: patches follow what they are about. */
static void
add_localizations(cx_json_t *view, const cx_json_t *card, char *const *fields)
{
    const cx_json_t *all, *patches;
    cx_json_t *shown, *language, *value;
    TALLOC_CTX *scratch;
    size_t i, j;

    all = cx_json_get(card, "localizations");

    if (all == NULL || all->type != CX_JSON_OBJECT) {
        return;
    }

    shown = cx_json_object(view);
    scratch = cx_must(talloc_new(view));

    for (i = 0; i < all->n; i++) {
        patches = all->items[i];
        language = cx_json_object(shown);

        for (j = 0; patches->type == CX_JSON_OBJECT && j < patches->n; j++) {
            value = patch_view(scratch, patches->items[j], card, fields);

            if (value != NULL) {
                cx_json_put(language, patches->items[j]->name, value);
            }
        }

        if (language->n > 0) {
            cx_json_put(shown, patches->name, language);
        }
    }

    if (shown->n > 0) {
        cx_json_put(view, "localizations", shown);
    }

    talloc_free(scratch);
}


/* A title must not name an organization that does not show. */
static void
drop_dangling(cx_json_t *view)
{
    const cx_json_t *titles, *organizations;
    const char *id;
    size_t i;

    titles = cx_json_get(view, "titles");
    organizations = cx_json_get(view, "organizations");

    for (i = 0; titles != NULL && i < titles->n; i++) {
        id = cx_json_text(titles->items[i], "organizationId");

        if (id != NULL && cx_json_get(organizations, id) == NULL) {
            cx_json_remove(titles->items[i], "organizationId");
        }
    }
}


cx_json_t *
cx_jscontact_view(TALLOC_CTX *ctx, const cx_json_t *card, char *const *fields)
{
    const cx_json_t *member;
    cx_json_t *view, *items;
    char *name;
    size_t i;

    if (fields == NULL) {
        return cx_json_copy(ctx, card);
    }

    view = cx_json_object(ctx);

    for (i = 0; i < card->n; i++) {
        member = card->items[i];

        if (strcmp(member->name, "localizations") == 0) {
            continue;
        }

        name = escape(view, member->name);

        if (is_always_shown(member->name)
            || is_listed(fields, name, strlen(name))) {
            items = cx_json_copy(view, member);
        } else {
            items = items_view(view, member, name, fields);
        }

        if (items != NULL) {
            cx_json_put(view, member->name, items);
        }

        talloc_free(name);
    }

    add_localizations(view, card, fields);
    drop_dangling(view);

    return view;
}
