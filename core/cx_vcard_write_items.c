#include "cx_vcard_line.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>


#define N_OF(array) (sizeof(array) / sizeof((array)[0]))


/* A value of JSContact and the TYPE that says it. */
typedef struct {
    const char *name;
    const char *modern; /* 4.0, or NULL */
    const char *old;    /* 3.0, or NULL */
} type_t;

static const type_t contexts[] = {
    { "private", "home", "HOME" },
    { "work", "work", "WORK" },
    { "billing", "billing", NULL },
    { "delivery", "delivery", NULL },
};

static const type_t features[] = {
    { "mobile", "cell", "CELL" },
    { "voice", "voice", "VOICE" },
    { "fax", "fax", "FAX" },
    { "pager", "pager", "PAGER" },
    { "video", "video", "VIDEO" },
    { "text", "text", NULL },
    { "textphone", "textphone", NULL },
    { "main-number", "main-number", "MAIN" },
};


static void
add_type(cx_buf_t *types, const char *type)
{
    if (types->len > 0) {
        cx_buf_putc(types, ',');
    }

    cx_buf_puts(types, type);
}


static bool
has(const cx_json_t *set, const char *name)
{
    const cx_json_t *member;

    member = cx_json_get(set, name);

    return member != NULL && member->type == CX_JSON_BOOLEAN && member->boolean;
}


static void
add_types(const cx_vcard_writer_t *writer, cx_buf_t *types,
          const cx_json_t *set, const type_t *table, size_t n)
{
    const char *type;
    size_t i;

    for (i = 0; i < n; i++) {
        type = writer->version == CX_VCARD_4 ? table[i].modern : table[i].old;

        if (type != NULL && has(set, table[i].name)) {
            add_type(types, type);
        }
    }
}


/* Parameters that the vCard had and JSContact has no place for (RFC 9555,
 * 2.2.3). */
static void
kept_params(cx_vcard_writer_t *writer, const cx_json_t *item)
{
    static const char *const ours[] = { "PROP-ID", "PREF",     "ALTID",
                                        "VALUE",   "ENCODING", "CHARSET" };
    const cx_json_t *params, *param;
    char *name;
    size_t i, j;

    params = cx_json_get(item, "vCardParams");

    for (i = 0; params != NULL && i < params->n; i++) {
        param = params->items[i];

        if (!cx_vcard_is_name(param->name)) {
            continue;
        }

        for (j = 0; j < N_OF(ours) && strcasecmp(ours[j], param->name) != 0;
             j++) {
        }

        if (j < N_OF(ours)) {
            continue;
        }

        name = cx_must(talloc_strdup(writer->ctx, param->name));

        for (j = 0; name[j] != '\0'; j++) {
            name[j] = (char) (name[j] >= 'a' && name[j] <= 'z' ? name[j] - 32
                                                               : name[j]);
        }

        if (param->type == CX_JSON_STRING) {
            cx_vline_param(writer, name, param->text);
        }

        for (j = 0; param->type == CX_JSON_ARRAY && j < param->n; j++) {
            if (param->items[j]->type == CX_JSON_STRING) {
                cx_vline_param(writer, name, param->items[j]->text);
            }
        }
    }
}


/* TYPE's values are written as a list without quotes, which RFC 6350 has as
 * well, since phones do not look inside quotes. */
static void
type_param(cx_vcard_writer_t *writer, cx_buf_t *types)
{
    if (types->len > 0) {
        cx_buf_puts(&writer->line, ";TYPE=");
        cx_buf_add(&writer->line, types->data, types->len);
    }
}


static void
modern_params(cx_vcard_writer_t *writer, const cx_json_t *item)
{
    char number[24];
    int64_t pref;

    if (item->name != NULL) {
        cx_vline_param(writer, "PROP-ID", item->name);
    }

    if (cx_json_to_integer(cx_json_get(item, "pref"), &pref) && pref > 0
        && pref <= 100) {
        snprintf(number, sizeof(number), "%d", (int) pref);
        cx_vline_param(writer, "PREF", number);
    }

    if (writer->language != NULL) {
        cx_vline_param(writer, "LANGUAGE", writer->language);
    }

    if (writer->alt_id > 0) {
        snprintf(number, sizeof(number), "%u", writer->alt_id);
        cx_vline_param(writer, "ALTID", number);
    }

    kept_params(writer, item);
}


static void
item_begin(cx_vcard_writer_t *writer, const char *group, const char *name,
           const cx_json_t *item, const char *more)
{
    const char *label;
    cx_buf_t types;
    int64_t pref;

    label = cx_json_text(item, "label");

    if (label != NULL && label[0] != '\0' && !writer->brief && group == NULL) {
        group = cx_vline_group(writer);
        writer->label = label;
    }

    cx_vline_begin(writer, group, name);
    cx_buf_init(&types, writer->ctx);

    if (more != NULL) {
        cx_buf_puts(&types, more);
    }

    add_types(writer, &types, cx_json_get(item, "contexts"), contexts,
              N_OF(contexts));

    if (writer->version == CX_VCARD_3 && !writer->brief
        && cx_json_to_integer(cx_json_get(item, "pref"), &pref) && pref == 1) {
        add_type(&types, "PREF");
    }

    type_param(writer, &types);

    if (writer->version == CX_VCARD_4) {
        modern_params(writer, item);
    }
}


void
cx_vitem_begin(cx_vcard_writer_t *writer, const char *name,
               const cx_json_t *item, const char *types)
{
    item_begin(writer, NULL, name, item, types);
}


/* An item that is one text. */
static void
text_item(cx_vcard_writer_t *writer, const char *name, const cx_json_t *item,
          const char *member, const char *types)
{
    const char *text;

    text = cx_json_text(item, member);

    if (text == NULL) {
        return;
    }

    cx_vitem_begin(writer, name, item, types);
    cx_vline_value(writer);
    cx_vline_text(writer, text);
    cx_vline_end(writer);
}


static void
write_email(cx_vcard_writer_t *writer, const cx_json_t *item)
{
    text_item(writer, "EMAIL", item, "address",
              writer->version == CX_VCARD_3 && !writer->brief ? "INTERNET"
                                                              : NULL);
}


/* Phones that read 3.0 take a number without VOICE, FAX or PAGER for
 * something else than one to call. */
static void
old_voice(const cx_vcard_writer_t *writer, cx_buf_t *types,
          const cx_json_t *set)
{
    if (writer->version == CX_VCARD_3 && !writer->brief && !has(set, "voice")
        && !has(set, "fax") && !has(set, "pager")) {
        add_type(types, "VOICE");
    }
}


static void
write_phone(cx_vcard_writer_t *writer, const cx_json_t *item)
{
    const cx_json_t *set = cx_json_get(item, "features");
    const char *number = cx_json_text(item, "number"), *extension;
    cx_buf_t types;

    if (number == NULL) {
        return;
    }

    cx_buf_init(&types, writer->ctx);
    add_types(writer, &types, set, features, N_OF(features));
    old_voice(writer, &types, set);
    cx_vitem_begin(writer, "TEL", item, cx_buf_text(&types));

    if (strncasecmp(number, "tel:", 4) != 0) {
        cx_vline_value(writer);
        cx_vline_text(writer, number);

    } else if (writer->version == CX_VCARD_4) {
        cx_vline_param(writer, "VALUE", "uri");
        cx_vline_value(writer);
        cx_vline_uri(writer, number);

    } else {
        /* RFC 3966's extension, as people write it */
        number += 4;
        extension = strstr(number, ";ext=");
        cx_vline_value(writer);
        cx_vline_text(writer, cx_must(talloc_strndup(writer->ctx, number,
                                                     strcspn(number, ";"))));

        if (extension != NULL) {
            cx_vline_char(writer, 'x');
            cx_vline_text(writer, extension + 5);
        }
    }

    cx_vline_end(writer);
}


static void
write_organization(cx_vcard_writer_t *writer, const cx_json_t *item,
                   const char *group)
{
    const cx_json_t *units = cx_json_get(item, "units");
    const char *text;
    size_t i;

    item_begin(writer, group, "ORG", item, NULL);
    text = cx_json_text(item, "sortAs");

    if (text != NULL && writer->version == CX_VCARD_4) {
        cx_vline_param(writer, "SORT-AS", text);
    }

    cx_vline_value(writer);
    text = cx_json_text(item, "name");
    cx_vline_text(writer, text == NULL ? "" : text);

    for (i = 0; units != NULL && i < units->n; i++) {
        text = cx_json_text(units->items[i], "name");
        cx_vline_char(writer, ';');
        cx_vline_text(writer, text == NULL ? "" : text);
    }

    cx_vline_end(writer);
}


static void
write_title(cx_vcard_writer_t *writer, const cx_json_t *item, const char *group)
{
    const char *kind = cx_json_text(item, "kind");
    const char *name = cx_json_text(item, "name");

    if (name == NULL) {
        return;
    }

    item_begin(writer, group,
               kind != NULL && strcmp(kind, "role") == 0 ? "ROLE" : "TITLE",
               item, NULL);
    cx_vline_value(writer);
    cx_vline_text(writer, name);
    cx_vline_end(writer);
}


/* A title belongs to an organization by a group of both (RFC 9555, 2.7.4). */
static void
write_titles(cx_vcard_writer_t *writer, const cx_json_t *card)
{
    const cx_json_t *organizations = cx_json_get(card, "organizations");
    const cx_json_t *titles = cx_json_get(card, "titles");
    const char *id, *group;
    char own[24];
    size_t i, j;

    for (i = 0; organizations != NULL && i < organizations->n; i++) {
        group = NULL;

        for (j = 0; titles != NULL && j < titles->n && !writer->brief; j++) {
            id = cx_json_text(titles->items[j], "organizationId");

            if (id == NULL || strcmp(id, organizations->items[i]->name) != 0) {
                continue;
            }

            if (group == NULL) {
                group = strcpy(own, cx_vline_group(writer));
            }

            cx_vitem_mark(writer, "titles", titles->items[j]->name);
            write_title(writer, titles->items[j], group);
        }

        cx_vitem_mark(writer, "organizations", organizations->items[i]->name);
        write_organization(writer, organizations->items[i], group);
    }

    for (j = 0; titles != NULL && j < titles->n; j++) {
        id = cx_json_text(titles->items[j], "organizationId");

        if (writer->brief || id == NULL
            || cx_json_get(organizations, id) == NULL) {
            cx_vitem_mark(writer, "titles", titles->items[j]->name);
            write_title(writer, titles->items[j], NULL);
        }
    }
}


/* Schemes of instant messages, for which 3.0 has IMPP (RFC 4770). */
static bool
is_message_uri(const char *uri)
{
    static const char *const schemes[] = {
        "xmpp:",  "sip:",   "sips:",  "im:",  "aim:",
        "ymsgr:", "msnim:", "skype:", "irc:", "matrix:"
    };
    size_t i;

    for (i = 0; i < N_OF(schemes); i++) {
        if (strncasecmp(uri, schemes[i], strlen(schemes[i])) == 0) {
            return true;
        }
    }

    return false;
}


static void
write_old_service(cx_vcard_writer_t *writer, const cx_json_t *item)
{
    const char *uri = cx_json_text(item, "uri");
    const char *user = cx_json_text(item, "user");
    const char *service = cx_json_text(item, "service");

    if (uri != NULL && is_message_uri(uri)) {
        cx_vitem_begin(writer, "IMPP", item, NULL);

        if (service != NULL) {
            cx_vline_param(writer, "X-SERVICE-TYPE", service);
        }

        cx_vline_value(writer);
        cx_vline_uri(writer, uri);
        cx_vline_end(writer);
        return;
    }

    cx_vitem_begin(writer, "X-SOCIALPROFILE", item, NULL);

    if (service != NULL) {
        cx_vline_param(writer, "TYPE", service);
    }

    if (user != NULL) {
        cx_vline_param(writer, "X-USER", user);
    }

    cx_vline_value(writer);

    if (uri != NULL) {
        cx_vline_uri(writer, uri);

    } else if (user != NULL) {
        cx_vline_raw(writer, "x-apple:");
        cx_vline_text(writer, user);
    }

    cx_vline_end(writer);
}


/* RFC 9554, 3.6, or IMPP where it came from there. */
static void
write_service(cx_vcard_writer_t *writer, const cx_json_t *item)
{
    const char *uri = cx_json_text(item, "uri");
    const char *user = cx_json_text(item, "user");
    const char *service = cx_json_text(item, "service");
    const char *name = cx_json_text(item, "vCardName");

    if (uri == NULL && user == NULL) {
        return;
    }

    if (writer->version == CX_VCARD_3) {
        write_old_service(writer, item);
        return;
    }

    cx_vitem_begin(writer,
                   name != NULL && strcasecmp(name, "impp") == 0 && uri != NULL
                       ? "IMPP"
                       : "SOCIALPROFILE",
                   item, NULL);

    if (service != NULL) {
        cx_vline_param(writer, "SERVICE-TYPE", service);
    }

    if (uri != NULL) {
        if (user != NULL) {
            cx_vline_param(writer, "USERNAME", user);
        }

        cx_vline_value(writer);
        cx_vline_uri(writer, uri);

    } else {
        cx_vline_param(writer, "VALUE", "text");
        cx_vline_value(writer);
        cx_vline_text(writer, user);
    }

    cx_vline_end(writer);
}


static void
write_nickname(cx_vcard_writer_t *writer, const cx_json_t *item)
{
    text_item(writer, "NICKNAME", item, "name", NULL);
}


static void
write_language(cx_vcard_writer_t *writer, const cx_json_t *item)
{
    if (writer->version == CX_VCARD_4) {
        text_item(writer, "LANG", item, "language", NULL);
    }
}


/* RFC 9554, 4.1 to 4.3. */
static void
write_note(cx_vcard_writer_t *writer, const cx_json_t *item)
{
    const cx_json_t *author = cx_json_get(item, "author");
    const char *note = cx_json_text(item, "note"), *text;
    char basic[32];

    if (note == NULL) {
        return;
    }

    cx_vitem_begin(writer, "NOTE", item, NULL);

    if (writer->version == CX_VCARD_4) {
        text = cx_json_text(item, "created");

        if (text != NULL && cx_vcard_basic_time(text, basic, sizeof(basic))) {
            cx_vline_param(writer, "CREATED", basic);
        }

        text = cx_json_text(author, "name");

        if (text != NULL) {
            cx_vline_param(writer, "AUTHOR-NAME", text);
        }

        text = cx_json_text(author, "uri");

        if (text != NULL) {
            cx_vline_param(writer, "AUTHOR", text);
        }
    }

    cx_vline_value(writer);
    cx_vline_text(writer, note);
    cx_vline_end(writer);
}


static const struct {
    const char *property;
    void (*write)(cx_vcard_writer_t *writer, const cx_json_t *item);
    bool in_brief;
} writers[] = {
    { "phones", write_phone, true },
    { "emails", write_email, true },
    { "addresses", cx_vcard_write_address, true },
    { "nicknames", write_nickname, false },
    { "onlineServices", write_service, false },
    { "preferredLanguages", write_language, false },
    { "notes", write_note, true },
};


void
cx_vitem_mark(cx_vcard_writer_t *writer, const char *property, const char *id)
{
    int64_t number;
    char *path;

    writer->alt_id = 0;

    if (writer->localized == NULL) {
        return;
    }

    path =
        cx_must(talloc_asprintf(writer->ctx, "%s%s%s", property,
                                id == NULL ? "" : "/", id == NULL ? "" : id));

    if (cx_json_to_integer(cx_json_get(writer->localized, path), &number)) {
        writer->alt_id = (unsigned) number;
    }

    talloc_free(path);
}


bool
cx_vitem_write(cx_vcard_writer_t *writer, const char *property,
               const cx_json_t *item)
{
    size_t i;

    if (strcmp(property, "titles") == 0) {
        write_title(writer, item, NULL);
        return true;
    }

    if (strcmp(property, "organizations") == 0) {
        write_organization(writer, item, NULL);
        return true;
    }

    for (i = 0; i < N_OF(writers); i++) {
        if (strcmp(property, writers[i].property) == 0) {
            writers[i].write(writer, item);
            return true;
        }
    }

    return false;
}


void
cx_vcard_write_items(cx_vcard_writer_t *writer, const cx_json_t *card)
{
    const cx_json_t *items;
    size_t i, j;

    write_titles(writer, card);

    for (i = 0; i < N_OF(writers); i++) {
        if (writer->brief && !writers[i].in_brief) {
            continue;
        }

        items = cx_json_get(card, writers[i].property);

        for (j = 0; items != NULL && j < items->n; j++) {
            cx_vitem_mark(writer, writers[i].property, items->items[j]->name);
            writers[i].write(writer, items->items[j]);
        }
    }

    writer->alt_id = 0;
}
