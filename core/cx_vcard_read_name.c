#include "cx_vcard_reader.h"
#include "cx_vcard_slots.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>


#define VALUES_MAX 50 /* in one field of N or ADR */
#define PLACES_MAX 200


/* The fields of N or ADR, each a list of texts. */
typedef struct {
    char **values[CX_SLOTS_MAX];
    size_t n[CX_SLOTS_MAX];
} fields_t;

/* How components become those of an object. */
typedef struct {
    const char *const *kinds;
    size_t n;
} form_t;


/* Splits into fields and these into values; 2.1 has no lists.  Without
 * `empty`, empty values are left out. */
static fields_t *
fields_read(cx_vreader_t *reader, const cx_vline_t *line, size_t n, bool empty)
{
    char **parts, **values, *text;
    size_t i, j, n_parts, n_values;
    fields_t *fields;

    fields = cx_must(talloc_zero(reader->ctx, fields_t));
    parts = cx_vtext_split(fields, line->value, ';', n, &n_parts);

    for (i = 0; i < n_parts; i++) {
        if (reader->source->version == 2) {
            values = &parts[i];
            n_values = 1;
        } else {
            values =
                cx_vtext_split(fields, parts[i], ',', VALUES_MAX, &n_values);
        }

        fields->values[i] = cx_must(talloc_array(fields, char *, n_values));

        for (j = 0; j < n_values; j++) {
            text = cx_vtext_plain(fields, values[j]);

            if (text[0] != '\0' || empty) {
                fields->values[i][fields->n[i]++] = text;
            }
        }
    }

    return fields;
}


static void
add_component(cx_json_t *components, const char *kind, const char *value)
{
    cx_json_t *component;

    component = cx_json_append(components, cx_json_object(components));
    cx_json_put(component, "kind", cx_json_string(component, kind));
    cx_json_put(component, "value", cx_json_string(component, value));
}


/* One entry of JSCOMPS: a place, or a separator; false: neither. */
static bool
read_place(const char *entry, const fields_t *fields, const form_t *form,
           size_t *slot, size_t *index)
{
    unsigned a, b = 0;
    int end = 0;

    if (sscanf(entry, "%3u%n", &a, &end) != 1) {
        return false;
    }

    if (entry[end] == ',') {
        entry += end + 1;

        if (sscanf(entry, "%3u%n", &b, &end) != 1) {
            return false;
        }
    }

    if (entry[end] != '\0' || a >= form->n || form->kinds[a] == NULL
        || b >= fields->n[a]) {
        return false;
    }

    *slot = a;
    *index = b;

    return true;
}


/* RFC 9555, 3.3.1; false: it does not fit the fields. */
static bool
read_ordered(cx_vreader_t *reader, const char *order, const fields_t *fields,
             const form_t *form, cx_json_t *object)
{
    cx_json_t *components;
    size_t i, n, slot, index;
    char **entries;

    entries = cx_vtext_split(reader->ctx, order, ';', PLACES_MAX, &n);
    components = cx_json_array(object);

    for (i = 1; i < n; i++) {
        if (entries[i][0] == 's' && entries[i][1] == ',') {
            add_component(components, "separator",
                          cx_vtext_plain(reader->ctx, entries[i] + 2));

        } else if (read_place(entries[i], fields, form, &slot, &index)) {
            add_component(components, form->kinds[slot],
                          fields->values[slot][index]);

        } else {
            talloc_free(components);
            return false;
        }
    }

    if (entries[0][0] == 's' && entries[0][1] == ',') {
        cx_json_put(object, "defaultSeparator",
                    cx_json_string(
                        object, cx_vtext_plain(reader->ctx, entries[0] + 2)));
    }

    cx_json_put(object, "components", components);
    cx_json_put(object, "isOrdered", cx_json_boolean(object, true));

    return true;
}


static void
read_components(cx_vreader_t *reader, const cx_vline_t *line,
                const fields_t *fields, const form_t *form, cx_json_t *object)
{
    const char *order = cx_vline_get(line, "JSCOMPS");
    cx_json_t *components;
    size_t i, j;

    if (order != NULL && read_ordered(reader, order, fields, form, object)) {
        return;
    }

    components = cx_json_array(object);

    for (i = 0; i < form->n; i++) {
        for (j = 0; form->kinds[i] != NULL && j < fields->n[i]; j++) {
            add_component(components, form->kinds[i], fields->values[i][j]);
        }
    }

    if (components->n > 0) {
        cx_json_put(object, "components", components);
    } else {
        talloc_free(components);
    }
}


/* RFC 9554, 2.2: what the added fields have is in those of RFC 6350 too, at
 * the end. */
static void
drop_mirrored(fields_t *fields)
{
    static const size_t added[] = { 5, 6 };
    static const size_t old[] = { 0, 4 };
    size_t i, j, k;
    char **values;

    for (i = 0; i < 2; i++) {
        values = fields->values[old[i]];

        for (j = 0; j < fields->n[added[i]]; j++) {
            for (k = fields->n[old[i]]; k > 0; k--) {
                if (strcmp(values[k - 1], fields->values[added[i]][j]) == 0) {
                    memmove(values + k - 1, values + k,
                            (fields->n[old[i]] - k) * sizeof(char *));
                    fields->n[old[i]]--;
                    break;
                }
            }
        }
    }
}


/* The name of the card, or of a translation of it. */
static cx_json_t *
name_of(cx_vreader_t *reader, const cx_vline_t *line)
{
    cx_json_t *name;

    if (cx_vname_translated(reader, line, &name)) {
        return name;
    }

    name = cx_json_get(reader->card, "name");

    return name != NULL ? name
                        : cx_json_put(reader->card, "name",
                                      cx_json_object(reader->card));
}


static void
drop_empty_name(cx_vreader_t *reader)
{
    const cx_json_t *name;

    name = cx_json_get(reader->card, "name");

    if (name != NULL && name->n == 0) {
        cx_json_remove(reader->card, "name");
    }
}


/* The nth component of a kind, or NULL. */
static cx_json_t *
component_at(const cx_json_t *components, const char *kind, size_t n)
{
    const char *other;
    size_t i;

    for (i = 0; components != NULL && i < components->n; i++) {
        other = cx_json_text(components->items[i], "kind");

        if (other != NULL && strcmp(other, kind) == 0 && n-- == 0) {
            return components->items[i];
        }
    }

    return NULL;
}


/* The script of a text that says how something is pronounced (ISO 15924). */
static const char *
script_of(const char *text)
{
    const unsigned char *p = (const unsigned char *) text;

    if (p[0] == 0xE3 && (p[1] == 0x81 || (p[1] == 0x82 && p[2] < 0xA0))) {
        return "Hira";
    }

    if (p[0] == 0xE3 && (p[1] == 0x82 || p[1] == 0x83)) {
        return "Kana";
    }

    if (p[0] >= 0xEA && p[0] <= 0xED) {
        return "Hang";
    }

    return p[0] >= 0xE4 && p[0] <= 0xE9 ? "Hani" : "Latn";
}


/* N with PHONETIC says how the other N is pronounced (RFC 9554, 4.6). */
static void
read_phonetic(cx_vreader_t *reader, const cx_vline_t *line, const char *system)
{
    cx_json_t *name, *components, *component;
    const char *script = cx_vline_get(line, "SCRIPT");
    fields_t *fields;
    size_t i, j;

    name = cx_json_get(reader->card, "name");
    components = cx_json_get(name, "components");
    fields = fields_read(reader, line, CX_N_SLOTS, true);

    if (components == NULL) {
        return;
    }

    for (i = 0; i < CX_N_SLOTS; i++) {
        for (j = 0; j < fields->n[i]; j++) {
            component = component_at(components, cx_n_kinds[i], j);

            if (component != NULL) {
                cx_vset(component, "phonetic", fields->values[i][j]);
            }
        }
    }

    if (strcmp(system, "script") != 0) {
        cx_vset(name, "phoneticSystem", system);
    }

    cx_vset(name, "phoneticScript", script);
}


static bool
read_n(cx_vreader_t *reader, const cx_vline_t *line)
{
    static const form_t form = { cx_n_kinds, CX_N_SLOTS };
    const char *phonetic = cx_vline_get(line, "PHONETIC"), *sort_as, *given;
    cx_json_t *name, *sort;
    fields_t *fields;
    char **parts;
    size_t n;

    if (phonetic != NULL) {
        read_phonetic(reader, line, phonetic);
        return true;
    }

    name = name_of(reader, line);

    if (cx_json_get(name, "components") != NULL) {
        return false;
    }

    fields = fields_read(reader, line, CX_N_SLOTS, false);
    drop_mirrored(fields);
    read_components(reader, line, fields, &form, name);
    sort_as = cx_vline_get(line, "SORT-AS");

    if (sort_as != NULL && name->n > 0) {
        parts = cx_vtext_split(reader->ctx, sort_as, ',', 2, &n);
        sort = cx_json_object(name);
        cx_vset(sort, "surname", parts[0]);
        given = n > 1 ? parts[1] : cx_vline_get_nth(line, "SORT-AS", 1);
        cx_vset(sort, "given", given);

        if (sort->n > 0) {
            cx_json_put(name, "sortAs", sort);
        }
    }

    drop_empty_name(reader);

    return true;
}


/* A FN that was made from other properties is not kept (RFC 9554, 4.4). */
static bool
read_fn(cx_vreader_t *reader, const cx_vline_t *line)
{
    cx_json_t *name;
    char *text;

    if (cx_vline_has(line, "DERIVED", "TRUE")) {
        if (cx_vline_get(line, "LANGUAGE") == NULL) {
            cx_vname_translated(reader, line, &name);
        }

        return true;
    }

    text = cx_vline_plain(reader, line);

    if (text[0] == '\0') {
        return true;
    }

    name = name_of(reader, line);

    if (cx_json_get(name, "full") != NULL) {
        return false;
    }

    return cx_vset(name, "full", text);
}


static bool
read_old_phonetic(cx_vreader_t *reader, const cx_vline_t *line)
{
    static const struct {
        const char *name, *kind;
    } kinds[] = {
        { "X-PHONETIC-FIRST-NAME", "given" },
        { "X-PHONETIC-LAST-NAME", "surname" },
        { "X-PHONETIC-MIDDLE-NAME", "given2" },
    };
    cx_json_t *name, *component = NULL;
    char *text;
    size_t i;

    name = cx_json_get(reader->card, "name");
    text = cx_vline_plain(reader, line);

    if (text[0] == '\0') {
        return true;
    }

    for (i = 0; i < 3; i++) {
        if (strcmp(kinds[i].name, line->name) == 0) {
            component =
                component_at(cx_json_get(name, "components"), kinds[i].kind, 0);
        }
    }

    if (component == NULL) {
        return false;
    }

    cx_vset(component, "phonetic", text);

    if (cx_json_get(name, "phoneticScript") == NULL) {
        cx_vset(name, "phoneticScript", script_of(text));
    }

    return true;
}


static bool
read_nickname(cx_vreader_t *reader, const cx_vline_t *line)
{
    cx_json_t *item;
    char **parts, *text;
    size_t i, n;

    parts = cx_vtext_split(reader->ctx, line->value, ',', VALUES_MAX, &n);

    for (i = 0; i < n; i++) {
        text = cx_vtext_plain(reader->ctx, parts[i]);

        if (text[0] != '\0') {
            item = cx_vitem_new(reader, line);
            cx_json_remove(item, "label");
            cx_vset(item, "name", text);
            cx_vitem_put(reader, line, "nicknames", "k", item);
        }
    }

    return true;
}


/* The parameters of ADR that are members of an address. */
static void
address_params(cx_vreader_t *reader, const cx_vline_t *line, cx_json_t *item)
{
    static const struct {
        const char *param, *member;
    } params[] = {
        { "LABEL", "full" },
        { "GEO", "coordinates" },
        { "TZ", "timeZone" },
        { "CC", "countryCode" },
    };
    const char *text;
    size_t i;

    for (i = 0; i < sizeof(params) / sizeof(params[0]); i++) {
        text = cx_vline_get(line, params[i].param);

        if (text != NULL) {
            cx_vset(item, params[i].member,
                    i == 0 ? cx_vtext_plain(reader->ctx, text) : text);
        }
    }

    if (cx_vline_has(line, "TYPE", "billing")) {
        cx_vset_add(item, "contexts", "billing");
    }

    if (cx_vline_has(line, "TYPE", "delivery")) {
        cx_vset_add(item, "contexts", "delivery");
    }
}


/* Apple has the country's code in a line of the same group. */
static void
group_country(cx_vreader_t *reader, const cx_vline_t *line, cx_json_t *item)
{
    const cx_vline_t *other;
    char code[3];
    size_t i;

    for (i = 0; line->group != NULL && i < reader->source->n; i++) {
        other = &reader->source->lines[i];

        if (strcmp(other->name, "X-ABADR") == 0 && other->group != NULL
            && strcmp(other->group, line->group) == 0
            && strlen(other->value) == 2) {
            code[0] = (char) (other->value[0] & ~0x20);
            code[1] = (char) (other->value[1] & ~0x20);
            code[2] = '\0';
            cx_vset(item, "countryCode", code);
        }
    }
}


/* In the fields of RFC 6350 the street is the name of a street, as far as
 * anyone can tell (RFC 9555, 2.5.1). */
static bool
read_address(cx_vreader_t *reader, const cx_vline_t *line)
{
    static const form_t form = { cx_adr_kinds, CX_ADR_SLOTS };
    static const form_t short_form = { cx_adr_short_kinds, CX_ADR_SHORT };
    cx_json_t *item;
    fields_t *fields;
    bool modern = false;
    size_t i;

    fields = fields_read(reader, line, CX_ADR_SLOTS, false);

    for (i = CX_ADR_SHORT; i < CX_ADR_SLOTS; i++) {
        modern = modern || fields->n[i] > 0;
    }

    item = cx_vitem_new(reader, line);
    read_components(reader, line, fields, modern ? &form : &short_form, item);
    address_params(reader, line, item);
    group_country(reader, line, item);

    if (cx_json_get(item, "components") == NULL
        && cx_json_get(item, "full") == NULL
        && cx_json_get(item, "coordinates") == NULL
        && cx_json_get(item, "timeZone") == NULL
        && cx_json_get(item, "countryCode") == NULL) {
        return true;
    }

    cx_vitem_put(reader, line, "addresses", "a", item);

    return true;
}


/* 2.1 and 3.0: the address as on an envelope, for the one of the same kind. */
static bool
read_label(cx_vreader_t *reader, const cx_vline_t *line)
{
    cx_json_t *addresses, *item, *contexts, *other;
    char *text;
    size_t i;

    text = cx_vline_plain(reader, line);
    item = cx_vitem_new(reader, line);

    if (!cx_vset(item, "full", text)) {
        return true;
    }

    addresses = cx_json_get(reader->card, "addresses");
    contexts = cx_json_get(item, "contexts");

    for (i = 0; addresses != NULL && i < addresses->n; i++) {
        other = cx_json_get(addresses->items[i], "contexts");

        if (cx_json_get(addresses->items[i], "full") == NULL
            && (other == NULL) == (contexts == NULL)
            && (other == NULL
                || strcmp(other->items[0]->name, contexts->items[0]->name)
                       == 0)) {
            cx_vset(addresses->items[i], "full", text);
            return true;
        }
    }

    cx_vitem_put(reader, line, "addresses", "a", item);

    return true;
}


/* GEO and TZ on their own are of an address on their own (RFC 9555, 2.7). */
static bool
read_geo(cx_vreader_t *reader, const cx_vline_t *line)
{
    cx_json_t *item;
    char *text, *uri;
    double latitude, longitude;

    text = cx_vtext_uri(reader->ctx, line->value);
    item = cx_vitem_new(reader, line);

    if (strncmp(text, "geo:", 4) == 0) {
        uri = text;

    } else if (sscanf(text, "%lf%*[;,]%lf", &latitude, &longitude) == 2) {
        uri = cx_must(talloc_asprintf(reader->ctx, "geo:%.*s,%s",
                                      (int) strcspn(text, ";,"), text,
                                      text + strcspn(text, ";,") + 1));
    } else {
        return false;
    }

    cx_vset(item, "coordinates", uri);
    cx_vitem_put(reader, line, "addresses", "a", item);

    return true;
}


static bool
read_tz(cx_vreader_t *reader, const cx_vline_t *line)
{
    cx_json_t *item;

    /* names of the time zone database only, offsets are none */
    if (strchr(line->value, '/') == NULL) {
        return false;
    }

    item = cx_vitem_new(reader, line);
    cx_vset(item, "timeZone", cx_vline_plain(reader, line));
    cx_vitem_put(reader, line, "addresses", "a", item);

    return true;
}


const cx_vproperty_t cx_vread_name[] = {
    { "N", read_n },
    { "FN", read_fn },
    { "X-PHONETIC-FIRST-NAME", read_old_phonetic },
    { "X-PHONETIC-LAST-NAME", read_old_phonetic },
    { "X-PHONETIC-MIDDLE-NAME", read_old_phonetic },
    { "NICKNAME", read_nickname },
    { "ADR", read_address },
    { "LABEL", read_label },
    { "GEO", read_geo },
    { "TZ", read_tz },
    { NULL, NULL },
};
