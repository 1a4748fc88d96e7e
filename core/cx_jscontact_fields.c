/* Lists of fields: what in them can name nothing of any card. */

#include "cx_jscontact.h"
#include "cx_jscontact_schema.h"

#include <string.h>
#include <strings.h>


/* What may be listed besides the properties that are in the schema. */
static const cx_property_t others[] = {
    { "@type", CX_STRING, NULL, true },  { "version", CX_STRING, NULL, true },
    { "photo", CX_STRING, NULL, false }, { "logo", CX_STRING, NULL, false },
    { "sound", CX_STRING, NULL, false }, { "video", CX_STRING, NULL, false },
    { NULL, CX_END, NULL, false }
};


/* The property whose name this is, in upper or lower case; or NULL. */
static const cx_property_t *
find(const cx_property_t *property, const char *name, size_t len)
{
    for (; property->name != NULL; property++) {
        if (strlen(property->name) == len
            && strncasecmp(property->name, name, len) == 0) {
            return property;
        }
    }

    return NULL;
}


static bool
has_items(cx_kind_t kind)
{
    return kind == CX_OBJECT || kind == CX_ITEMS || kind == CX_NAMED
           || kind == CX_SET || kind == CX_PATCHES;
}


/* RFC 6901, 3: ~0 and ~1 alone. */
static bool
is_escaped(const char *path)
{
    while ((path = strchr(path, '~')) != NULL) {
        path++;

        if (*path != '0' && *path != '1') {
            return false;
        }
    }

    return true;
}


static const char *
refuse(TALLOC_CTX *ctx, const char *field, const char *why)
{
    return cx_must(
        talloc_asprintf(ctx, "`%s` in fields names nothing: %s", field, why));
}


/* Of a property that is not known, any item may be there. */
static const char *
check_item(TALLOC_CTX *ctx, const char *field, const cx_property_t *property,
           const char *item)
{
    if (strcmp(item, "*") == 0) {
        return refuse(ctx, field, "a property alone shows all its items.");
    }

    if (property == NULL) {
        return NULL;
    }

    if (!has_items(property->kind)) {
        return refuse(ctx, field, "there are no items in it.");
    }

    if (property->kind == CX_ITEMS && !cx_jscontact_is_id(item)) {
        return refuse(ctx, field,
                      "an item's id has A-Z, a-z, 0-9, - and _ alone.");
    }

    return NULL;
}


static const char *
check_field(TALLOC_CTX *ctx, const char *field)
{
    const cx_property_t *property;
    const char *why;
    size_t len;

    len = strcspn(field, "/");

    if (memchr(field, '*', len) != NULL) {
        return refuse(ctx, field, "a property is listed by its whole name.");
    }

    if (!is_escaped(field)) {
        return refuse(ctx, field, "a ~ in a name is written ~0.");
    }

    property = find(cx_card_class.properties, field, len);

    if (property == NULL) {
        property = find(others, field, len);
    }

    if (property != NULL && memcmp(property->name, field, len) != 0) {
        why = cx_must(
            talloc_asprintf(ctx, "it is written `%s`.", property->name));
        return refuse(ctx, field, why);
    }

    return field[len] == '\0'
               ? NULL
               : check_item(ctx, field, property, field + len + 1);
}


const char *
cx_fields_check(TALLOC_CTX *ctx, const cx_json_t *list)
{
    const char *why = NULL;
    size_t i;

    for (i = 0; list != NULL && i < list->n && why == NULL; i++) {
        why = check_field(ctx, list->items[i]->text);
    }

    return why;
}
