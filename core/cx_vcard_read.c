#include "cx_jscontact_schema.h"
#include "cx_vcard_patch.h"
#include "cx_vcard_reader.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>


#define N_OF(array) (sizeof(array) / sizeof((array)[0]))
#define KEPT_MAX 4096 /* bytes of a value that JSContact has no place for */
#define PATCH_DEPTH 20

/* Parameters that are read, or that say nothing once the value is. */
static const char *const known_params[] = {
    "TYPE",
    "PREF",
    "PROP-ID",
    "VALUE",
    "ENCODING",
    "CHARSET",
    "ALTID",
    "MEDIATYPE",
    "LEVEL",
    "INDEX",
    "SORT-AS",
    "JSCOMPS",
    "LABEL",
    "GEO",
    "TZ",
    "CC",
    "USERNAME",
    "X-USER",
    "SERVICE-TYPE",
    "X-SERVICE-TYPE",
    "AUTHOR",
    "AUTHOR-NAME",
    "CREATED",
    "CALSCALE",
    "DERIVED",
    "PHONETIC",
    "SCRIPT",
    "JSPTR",
    "X-DISPLAYNAME",
    "X-USERID",
    "X-APPLE-OMIT-YEAR",
};


bool
cx_vset(cx_json_t *object, const char *name, const char *text)
{
    if (text == NULL || text[0] == '\0') {
        return false;
    }

    cx_json_put(object, name, cx_json_string(object, text));

    return true;
}


char *
cx_vname_plain(TALLOC_CTX *ctx, const char *name)
{
    char *plain, *p;

    plain = cx_must(talloc_strdup(ctx, name));

    for (p = plain; *p != '\0'; p++) {
        *p = (char) ((unsigned char) *p < 0x20 || *p == 0x7F ? ' ' : *p);
    }

    return plain;
}


void
cx_vset_add(cx_json_t *object, const char *set, const char *name)
{
    cx_json_t *names;
    char *plain;

    names = cx_json_get(object, set);

    if (names == NULL) {
        names = cx_json_put(object, set, cx_json_object(object));
    }

    plain = cx_vname_plain(names, name);
    cx_json_put(names, plain, cx_json_boolean(names, true));
    talloc_free(plain);
}


char *
cx_vline_plain(cx_vreader_t *reader, const cx_vline_t *line)
{
    return cx_vtext_plain(reader->ctx, line->value);
}


/* Apple writes the labels it translates as _$!<Home>!$_. */
const char *
cx_vline_label(const cx_vreader_t *reader, const cx_vline_t *line)
{
    const char *label;
    size_t len;

    if (line->group == NULL) {
        return NULL;
    }

    label = cx_json_text(reader->labels, line->group);

    if (label == NULL || label[0] == '\0') {
        return NULL;
    }

    len = strlen(label);

    if (len > 8 && strncmp(label, "_$!<", 4) == 0
        && strcmp(label + len - 4, ">!$_") == 0) {
        return cx_must(talloc_strndup(reader->ctx, label + 4, len - 8));
    }

    return label;
}


/* What a label of Apple's says is said by contexts elsewhere. */
static void
apply_label(cx_vreader_t *reader, const cx_vline_t *line, cx_json_t *item)
{
    static const char *const silent[] = { "Other", "HomePage", "Anniversary" };
    const char *label, *raw;
    size_t i;

    label = cx_vline_label(reader, line);

    if (label == NULL) {
        return;
    }

    raw = cx_json_text(reader->labels, line->group);

    if (raw == label) {
        cx_vset(item, "label", label);

    } else if (strcasecmp(label, "Home") == 0) {
        cx_vset_add(item, "contexts", "private");

    } else if (strcasecmp(label, "Work") == 0) {
        cx_vset_add(item, "contexts", "work");

    } else {
        for (i = 0; i < N_OF(silent); i++) {
            if (strcasecmp(label, silent[i]) == 0) {
                return;
            }
        }

        cx_vset(item, "label", label);
    }
}


static bool
is_known(const char *name)
{
    size_t i;

    for (i = 0; i < N_OF(known_params); i++) {
        if (strcmp(known_params[i], name) == 0) {
            return true;
        }
    }

    return false;
}


static char *
lower(TALLOC_CTX *ctx, const char *text)
{
    char *copy, *p;

    copy = cx_must(talloc_strdup(ctx, text));

    for (p = copy; *p != '\0'; p++) {
        *p = (char) (*p >= 'A' && *p <= 'Z' ? *p + 32 : *p);
    }

    return copy;
}


/* A parameter as jCard has it: a text, or an array of them. */
static void
put_param(cx_vreader_t *reader, cx_json_t *params, const cx_vparam_t *param)
{
    cx_json_t *list;
    char *name;
    size_t i;

    if (!cx_vcard_is_name(param->name)) {
        return;
    }

    name = lower(reader->ctx, param->name);

    if (param->n == 1) {
        cx_json_put(params, name, cx_json_string(params, param->values[0]));
        return;
    }

    list = cx_json_array(params);

    for (i = 0; i < param->n; i++) {
        cx_json_append(list, cx_json_string(list, param->values[i]));
    }

    cx_json_put(params, name, list);
}


/* RFC 9555, 2.2.3. */
static void
keep_params(cx_vreader_t *reader, const cx_vline_t *line, cx_json_t *item)
{
    cx_json_t *params;
    size_t i;

    params = cx_json_object(item);

    for (i = 0; i < line->n; i++) {
        if (is_known(line->params[i].name)
            || (strcmp(line->params[i].name, "LANGUAGE") == 0
                && cx_vline_get(line, "ALTID") != NULL)) {
            continue;
        }

        put_param(reader, params, &line->params[i]);
    }

    if (params->n > 0) {
        cx_json_put(item, "vCardParams", params);
    } else {
        talloc_free(params);
    }
}


cx_json_t *
cx_vitem_new(cx_vreader_t *reader, const cx_vline_t *line)
{
    cx_json_t *item;
    const char *text;
    int pref;

    item = cx_json_object(reader->ctx);

    if (cx_vline_has(line, "TYPE", "home")) {
        cx_vset_add(item, "contexts", "private");
    }

    if (cx_vline_has(line, "TYPE", "work")) {
        cx_vset_add(item, "contexts", "work");
    }

    text = cx_vline_get(line, "PREF");
    pref = 0;

    if (text != NULL && strlen(text) <= 3
        && strspn(text, "0123456789") == strlen(text)) {
        sscanf(text, "%d", &pref);
    }

    if (pref == 0 && cx_vline_has(line, "TYPE", "pref")) {
        pref = 1;
    }

    if (pref >= 1 && pref <= 100) {
        cx_json_put(item, "pref", cx_json_integer(item, pref));
    }

    apply_label(reader, line, item);
    keep_params(reader, line, item);

    return item;
}


/* The patches of a language. */
static cx_json_t *
language_patches(cx_vreader_t *reader, const char *language)
{
    cx_json_t *all, *patches;

    all = cx_json_get(reader->card, "localizations");

    if (all == NULL) {
        all = cx_json_put(reader->card, "localizations",
                          cx_json_object(reader->card));
    }

    language = cx_vname_plain(reader->ctx, language);
    patches = cx_json_get(all, language);

    return patches != NULL ? patches
                           : cx_json_put(all, language, cx_json_object(all));
}


/* "TITLE/1": what translations of one another have in common. */
static char *
alternative(cx_vreader_t *reader, const cx_vline_t *line)
{
    const char *alt_id = cx_vline_get(line, "ALTID");

    return alt_id == NULL ? NULL
                          : cx_must(talloc_asprintf(reader->ctx, "%s/%s",
                                                    line->name, alt_id));
}


const char *
cx_vitem_id(const cx_vline_t *line, const cx_json_t *items, const char *prefix,
            char number[CX_VITEM_ID])
{
    const char *id = cx_vline_get(line, "PROP-ID");
    size_t n = items->n;

    if (id != NULL && cx_jscontact_is_id(id)
        && cx_json_get(items, id) == NULL) {
        return id;
    }

    do {
        snprintf(number, CX_VITEM_ID, "%s%zu", prefix, ++n);
    } while (cx_json_get(items, number) != NULL);

    return number;
}


void
cx_vitem_put(cx_vreader_t *reader, const cx_vline_t *line, const char *property,
             const char *prefix, cx_json_t *item)
{
    const char *language = cx_vline_get(line, "LANGUAGE"), *path, *id;
    char *key = alternative(reader, line), number[CX_VITEM_ID];
    cx_json_t *items;

    if (key != NULL && language != NULL) {
        path = cx_json_text(reader->alt_ids, key);

        if (path != NULL) {
            cx_json_put(language_patches(reader, language), path, item);
            return;
        }
    }

    items = cx_json_get(reader->card, property);

    if (items == NULL || items->type != CX_JSON_OBJECT) {
        items =
            cx_json_put(reader->card, property, cx_json_object(reader->card));
    }

    id = cx_vitem_id(line, items, prefix, number);
    cx_json_put(items, id, item);

    if (key != NULL) {
        cx_json_put(reader->alt_ids, key,
                    cx_json_string(reader->alt_ids,
                                   cx_must(talloc_asprintf(reader->ctx, "%s/%s",
                                                           property, id))));
    }

    if (line->group != NULL && strcmp(property, "organizations") == 0) {
        cx_json_put(reader->orgs, line->group,
                    cx_json_string(reader->orgs, id));
    }
}


bool
cx_vname_translated(cx_vreader_t *reader, const cx_vline_t *line,
                    cx_json_t **name)
{
    const char *language = cx_vline_get(line, "LANGUAGE");
    char *key = alternative(reader, line);
    cx_json_t *patches;

    if (key == NULL) {
        return false;
    }

    if (cx_json_get(reader->alt_ids, key) == NULL || language == NULL) {
        cx_json_put(reader->alt_ids, key, cx_json_boolean(reader->ctx, true));
        return false;
    }

    patches = language_patches(reader, language);
    *name = cx_json_get(patches, "name");

    if (*name == NULL) {
        *name = cx_json_put(patches, "name", cx_json_object(patches));
    }

    return true;
}


/* What JSContact has no place for (RFC 9555, 2.2.2).  Its type is unknown, so
 * its value stands as it was. */
static void
keep(cx_vreader_t *reader, const cx_vline_t *line)
{
    const char *type = cx_vline_get(line, "VALUE");
    cx_json_t *all, *property, *params;
    size_t i;

    if (strlen(line->value) > KEPT_MAX || line->value[0] == '\0'
        || strspn(line->value, ";, ") == strlen(line->value)) {
        return;
    }

    all = cx_json_get(reader->card, "vCardProps");

    if (all == NULL) {
        all = cx_json_put(reader->card, "vCardProps",
                          cx_json_array(reader->card));
    }

    property = cx_json_append(all, cx_json_array(all));
    cx_json_append(property,
                   cx_json_string(property, lower(reader->ctx, line->name)));
    params = cx_json_append(property, cx_json_object(property));

    for (i = 0; i < line->n; i++) {
        if (strcmp(line->params[i].name, "VALUE") != 0
            && strcmp(line->params[i].name, "ENCODING") != 0
            && strcmp(line->params[i].name, "CHARSET") != 0) {
            put_param(reader, params, &line->params[i]);
        }
    }

    if (line->group != NULL) {
        cx_vset(params, "group", line->group);
        cx_vset(params, "x-ablabel", cx_json_text(reader->labels, line->group));
    }

    type = lower(reader->ctx, type == NULL ? "unknown" : type);
    cx_json_append(property, cx_json_string(property, type));
    cx_json_append(property,
                   cx_json_string(property, strcmp(type, "text") == 0
                                                ? cx_vline_plain(reader, line)
                                                : line->value));
}


static bool
read_line(cx_vreader_t *reader, const cx_vline_t *line)
{
    static const cx_vproperty_t *const tables[] = { cx_vread_name,
                                                    cx_vread_items,
                                                    cx_vread_more };
    const cx_vproperty_t *property;
    size_t i;

    for (i = 0; i < N_OF(tables); i++) {
        for (property = tables[i]; property->name != NULL; property++) {
            if (strcmp(property->name, line->name) == 0) {
                return property->read(reader, line);
            }
        }
    }

    return false;
}


static unsigned
depth_of(const cx_json_t *json)
{
    unsigned depth = 0, below;
    size_t i;

    for (i = 0; i < json->n; i++) {
        below = depth_of(json->items[i]);
        depth = below > depth ? below : depth;
    }

    return depth + 1;
}


/* JSPROP (RFC 9555, 3.2.1): applied last, since it says what the other lines
 * could not. */
static void
apply_jsprop(cx_vreader_t *reader, const cx_vline_t *line)
{
    const char *path = cx_vline_get(line, "JSPTR"), *why;
    cx_json_t *value;
    char *text;

    if (path == NULL || strcmp(path, "@type") == 0
        || strcmp(path, "version") == 0) {
        return;
    }

    text = cx_vline_plain(reader, line);
    value = cx_json_read(reader->ctx, text, strlen(text), &why);

    if (value != NULL && depth_of(value) <= PATCH_DEPTH) {
        cx_patch_apply(reader->card, path, value);
    }
}


static void
collect_labels(cx_vreader_t *reader)
{
    const cx_vline_t *line;
    size_t i;

    for (i = 0; i < reader->source->n; i++) {
        line = &reader->source->lines[i];

        if (line->group != NULL && strcmp(line->name, "X-ABLABEL") == 0) {
            cx_vset(reader->labels, line->group, cx_vline_plain(reader, line));
        }
    }
}


/* Lines that give others their meaning come first. */
static bool
is_first(const cx_vline_t *line)
{
    return strcmp(line->name, "ORG") == 0 || strcmp(line->name, "N") == 0;
}


static void
read_lines(cx_vreader_t *reader, bool first)
{
    const cx_vline_t *line;
    size_t i;

    for (i = 0; i < reader->source->n; i++) {
        line = &reader->source->lines[i];

        if (is_first(line) == first && strcmp(line->name, "JSPROP") != 0
            && (line->group == NULL || strcmp(line->name, "X-ABLABEL") != 0)
            && !read_line(reader, line)) {
            keep(reader, line);
        }
    }
}


/* "Plato;;;;" beside FN:Plato says nothing; 3.0 must have an N. */
static void
drop_idle_name(cx_vreader_t *reader)
{
    cx_json_t *name, *components;
    const char *full, *value, *kind;

    name = cx_json_get(reader->card, "name");
    full = cx_json_text(name, "full");
    components = cx_json_get(name, "components");

    if (full == NULL || components == NULL || components->n != 1) {
        return;
    }

    kind = cx_json_text(components->items[0], "kind");
    value = cx_json_text(components->items[0], "value");

    if (reader->source->version < 4 && kind != NULL && value != NULL
        && strcmp(kind, "surname") == 0 && strcmp(value, full) == 0) {
        cx_json_remove(name, "components");
    }
}


cx_json_t *
cx_vcard_read(TALLOC_CTX *ctx, const char **text, size_t *len, const char **why)
{
    cx_vlines_t *source;
    cx_vreader_t reader;
    size_t i;

    source = cx_vcard_parse(ctx, text, len, why);

    if (source == NULL) {
        return NULL;
    }

    reader.ctx = source;
    reader.source = source;
    reader.card = cx_json_object(ctx);
    reader.labels = cx_json_object(source);
    reader.orgs = cx_json_object(source);
    reader.alt_ids = cx_json_object(source);
    cx_vset(reader.card, "@type", "Card");
    cx_vset(reader.card, "version", "1.0");
    collect_labels(&reader);
    read_lines(&reader, true);
    read_lines(&reader, false);
    drop_idle_name(&reader);

    for (i = 0; i < source->n; i++) {
        if (strcmp(source->lines[i].name, "JSPROP") == 0) {
            apply_jsprop(&reader, &source->lines[i]);
        }
    }

    talloc_free(source);

    return reader.card;
}
