#include "cx_vcard_reader.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>


#define N_OF(array) (sizeof(array) / sizeof((array)[0]))
#define UNITS_MAX 50


/* Values of TYPE that are kept as they are, since JSContact has no word for
 * them (RFC 9555, 2.2.3).  Those that 3.0 has by default say nothing. */
static void
keep_type(cx_json_t *item, const char *type)
{
    cx_json_t *params, *old, *list;

    params = cx_json_get(item, "vCardParams");

    if (params == NULL) {
        params = cx_json_put(item, "vCardParams", cx_json_object(item));
    }

    old = cx_json_get(params, "type");

    if (old == NULL) {
        cx_json_put(params, "type", cx_json_string(params, type));
        return;
    }

    if (old->type != CX_JSON_ARRAY) {
        list = cx_json_array(params);
        cx_json_append(list, cx_json_copy(list, old));
        old = cx_json_put(params, "type", list);
    }

    cx_json_append(old, cx_json_string(old, type));
}


/* What is neither a context nor in `silent` nor a feature. */
static void
other_types(const cx_vline_t *line, cx_json_t *item, bool phone)
{
    static const char *const silent[] = {
        "home", "work",   "pref",   "internet", "x400",    "dom",
        "intl", "postal", "parcel", "other",    "billing", "delivery",
    };
    static const struct {
        const char *type, *feature;
    } features[] = {
        { "cell", "mobile" },
        { "iphone", "mobile" },
        { "mobile", "mobile" },
        { "voice", "voice" },
        { "fax", "fax" },
        { "pager", "pager" },
        { "video", "video" },
        { "text", "text" },
        { "textphone", "textphone" },
        { "tty-tdd", "textphone" },
        { "main", "main-number" },
        { "main-number", "main-number" },
    };
    const cx_vparam_t *param = NULL;
    size_t i, j;

    for (i = 0; i < line->n; i++) {
        if (strcmp(line->params[i].name, "TYPE") == 0) {
            param = &line->params[i];
        }
    }

    for (i = 0; param != NULL && i < param->n; i++) {
        for (j = 0; phone && j < N_OF(features); j++) {
            if (strcasecmp(param->values[i], features[j].type) == 0) {
                break;
            }
        }

        if (phone && j < N_OF(features)) {
            cx_vset_add(item, "features", features[j].feature);
            continue;
        }

        for (j = 0; j < N_OF(silent); j++) {
            if (strcasecmp(param->values[i], silent[j]) == 0) {
                break;
            }
        }

        if (j == N_OF(silent) && param->values[i][0] != '\0') {
            keep_type(item, param->values[i]);
        }
    }
}


/* Apple's own labels for phones. */
static void
phone_label(cx_vreader_t *reader, const cx_vline_t *line, cx_json_t *item)
{
    static const struct {
        const char *label, *feature;
    } labels[] = {
        { "Mobile", "mobile" },
        { "Main", "main-number" },
        { "Pager", "pager" },
    };
    const char *label = cx_vline_label(reader, line);
    size_t i;

    for (i = 0; label != NULL && i < N_OF(labels); i++) {
        if (strcmp(labels[i].label, label) == 0
            && strcmp(cx_json_text(reader->labels, line->group), label) != 0) {
            cx_vset_add(item, "features", labels[i].feature);
            cx_json_remove(item, "label");
        }
    }
}


static bool
read_tel(cx_vreader_t *reader, const cx_vline_t *line)
{
    cx_json_t *item;
    char *number;

    number = cx_vline_has(line, "VALUE", "uri")
                 ? cx_vtext_uri(reader->ctx, line->value)
                 : cx_vline_plain(reader, line);
    item = cx_vitem_new(reader, line);

    if (!cx_vset(item, "number", number)) {
        return true;
    }

    other_types(line, item, true);
    phone_label(reader, line, item);
    cx_vitem_put(reader, line, "phones", "p", item);

    return true;
}


/* An item that is one text in one member. */
static bool
text_item(cx_vreader_t *reader, const cx_vline_t *line, const char *property,
          const char *prefix, const char *member)
{
    cx_json_t *item;

    item = cx_vitem_new(reader, line);

    if (cx_vset(item, member, cx_vline_plain(reader, line))) {
        other_types(line, item, false);
        cx_vitem_put(reader, line, property, prefix, item);
    }

    return true;
}


static bool
read_email(cx_vreader_t *reader, const cx_vline_t *line)
{
    return text_item(reader, line, "emails", "e", "address");
}


static bool
read_lang(cx_vreader_t *reader, const cx_vline_t *line)
{
    return text_item(reader, line, "preferredLanguages", "l", "language");
}


static bool
read_title(cx_vreader_t *reader, const cx_vline_t *line)
{
    const char *id = NULL;
    cx_json_t *item;

    item = cx_vitem_new(reader, line);
    cx_json_remove(item, "label");
    cx_json_remove(item, "contexts");
    cx_json_remove(item, "pref");

    if (!cx_vset(item, "name", cx_vline_plain(reader, line))) {
        return true;
    }

    cx_vset(item, "kind", strcmp(line->name, "ROLE") == 0 ? "role" : "title");

    if (line->group != NULL) {
        id = cx_json_text(reader->orgs, line->group);
    }

    cx_vset(item, "organizationId", id);
    cx_vitem_put(reader, line, "titles", "t", item);

    return true;
}


static bool
read_org(cx_vreader_t *reader, const cx_vline_t *line)
{
    cx_json_t *item, *units, *unit;
    char **parts, *text;
    size_t i, n;

    item = cx_vitem_new(reader, line);
    cx_json_remove(item, "label");
    cx_json_remove(item, "pref");
    units = cx_json_array(item);
    parts = cx_vtext_split(reader->ctx, line->value, ';', UNITS_MAX, &n);

    for (i = 0; i < n; i++) {
        text = cx_vtext_plain(reader->ctx, parts[i]);

        if (i == 0) {
            cx_vset(item, "name", text);

        } else if (text[0] != '\0') {
            unit = cx_json_append(units, cx_json_object(units));
            cx_vset(unit, "name", text);
        }
    }

    if (units->n > 0) {
        cx_json_put(item, "units", units);
    } else {
        talloc_free(units);

        if (cx_json_get(item, "name") == NULL) {
            return true;
        }
    }

    cx_vset(item, "sortAs", cx_vline_get(line, "SORT-AS"));
    other_types(line, item, false);
    cx_vitem_put(reader, line, "organizations", "o", item);

    return true;
}


static bool
read_note(cx_vreader_t *reader, const cx_vline_t *line)
{
    const char *created = cx_vline_get(line, "CREATED");
    const char *name = cx_vline_get(line, "AUTHOR-NAME");
    const char *uri = cx_vline_get(line, "AUTHOR");
    cx_json_t *item, *author;
    char utc[32];

    item = cx_vitem_new(reader, line);
    cx_json_remove(item, "label");
    cx_json_remove(item, "contexts");
    cx_json_remove(item, "pref");

    if (!cx_vset(item, "note", cx_vline_plain(reader, line))) {
        return true;
    }

    if (created != NULL && cx_vtime_read(created, utc, sizeof(utc))) {
        cx_vset(item, "created", utc);
    }

    author = cx_json_object(item);
    cx_vset(author, "name", name);
    cx_vset(author, "uri", uri);

    if (author->n > 0) {
        cx_json_put(item, "author", author);
    } else {
        talloc_free(author);
    }

    cx_vitem_put(reader, line, "notes", "n", item);

    return true;
}


static bool
read_impp(cx_vreader_t *reader, const cx_vline_t *line)
{
    const char *service = cx_vline_get(line, "SERVICE-TYPE");
    cx_json_t *item;

    item = cx_vitem_new(reader, line);

    if (service == NULL) {
        service = cx_vline_get(line, "X-SERVICE-TYPE");
    }

    if (!cx_vset(item, "uri", cx_vtext_uri(reader->ctx, line->value))) {
        return true;
    }

    cx_vset(item, "service", service);
    cx_vset(item, "user", cx_vline_get(line, "USERNAME"));
    cx_vset(item, "vCardName", "impp");
    other_types(line, item, false);
    cx_vitem_put(reader, line, "onlineServices", "s", item);

    return true;
}


/* SOCIALPROFILE (RFC 9554, 3.6), and what Apple made before it: there TYPE is
 * the service, and a user without an address has one of Apple's. */
static bool
read_social(cx_vreader_t *reader, const cx_vline_t *line)
{
    static const char own[] = "x-apple:";
    bool old = line->name[0] == 'X';
    const char *service, *user;
    cx_json_t *item;
    char *uri;

    item = cx_vitem_new(reader, line);
    service = cx_vline_get(line, old ? "TYPE" : "SERVICE-TYPE");
    user = cx_vline_get(line, old ? "X-USER" : "USERNAME");

    if (service != NULL && old
        && (strcasecmp(service, "home") == 0 || strcasecmp(service, "work") == 0
            || strcasecmp(service, "pref") == 0)) {
        service = cx_vline_get_nth(line, "TYPE", 1);
    }

    if (cx_vline_has(line, "VALUE", "text")) {
        cx_vset(item, "user", cx_vline_plain(reader, line));

    } else {
        uri = cx_vtext_uri(reader->ctx, line->value);

        if (strncmp(uri, own, sizeof(own) - 1) == 0) {
            cx_vset(item, "user", user == NULL ? uri + sizeof(own) - 1 : user);
        } else {
            cx_vset(item, "uri", uri);
            cx_vset(item, "user", user);
        }
    }

    if (cx_json_get(item, "user") == NULL && cx_json_get(item, "uri") == NULL) {
        return true;
    }

    cx_vset(item, "service", service);

    if (!old) {
        other_types(line, item, false);
    }

    cx_vitem_put(reader, line, "onlineServices", "s", item);

    return true;
}


/* X-QQ and its kind: a name at a service. */
static bool
read_messenger(cx_vreader_t *reader, const cx_vline_t *line)
{
    static const char *const services[][2] = {
        { "X-AIM", "AIM" },         { "X-ICQ", "ICQ" },
        { "X-JABBER", "Jabber" },   { "X-MSN", "MSN" },
        { "X-YAHOO", "Yahoo" },     { "X-SKYPE", "Skype" },
        { "X-QQ", "QQ" },           { "X-SKYPE-USERNAME", "Skype" },
        { "X-WECHAT", "WeChat" },   { "X-GOOGLE-TALK", "Google Talk" },
        { "X-TWITTER", "Twitter" }, { "X-GADUGADU", "Gadu-Gadu" },
    };
    cx_json_t *item;
    size_t i;

    item = cx_vitem_new(reader, line);

    for (i = 0; i < N_OF(services); i++) {
        if (strcmp(services[i][0], line->name) == 0) {
            cx_vset(item, "service", services[i][1]);
        }
    }

    if (cx_vset(item, "user", cx_vline_plain(reader, line))) {
        cx_vitem_put(reader, line, "onlineServices", "s", item);
    }

    return true;
}


static bool
read_pronouns(cx_vreader_t *reader, const cx_vline_t *line)
{
    cx_json_t *speak, *all, *item;
    char number[CX_VITEM_ID];

    item = cx_vitem_new(reader, line);
    cx_json_remove(item, "label");

    if (!cx_vset(item, "pronouns", cx_vline_plain(reader, line))) {
        return true;
    }

    speak = cx_json_get(reader->card, "speakToAs");

    if (speak == NULL) {
        speak = cx_json_put(reader->card, "speakToAs",
                            cx_json_object(reader->card));
    }

    all = cx_json_get(speak, "pronouns");

    if (all == NULL) {
        all = cx_json_put(speak, "pronouns", cx_json_object(speak));
    }

    cx_json_put(all, cx_vitem_id(line, all, "_", number), item);

    return true;
}


static bool
read_gender(cx_vreader_t *reader, const cx_vline_t *line)
{
    cx_json_t *speak;
    char *text, *p;

    text = cx_vline_plain(reader, line);

    for (p = text; *p != '\0'; p++) {
        *p = (char) (*p >= 'A' && *p <= 'Z' ? *p + 32 : *p);
    }

    speak = cx_json_get(reader->card, "speakToAs");

    if (text[0] != '\0' && speak == NULL) {
        speak = cx_json_put(reader->card, "speakToAs",
                            cx_json_object(reader->card));
    }

    if (cx_json_get(speak, "grammaticalGender") != NULL) {
        return false;
    }

    cx_vset(speak, "grammaticalGender", text);

    return true;
}


/* RFC 6715; expertise has names of its own for its levels. */
static bool
read_personal(cx_vreader_t *reader, const cx_vline_t *line)
{
    static const char *const levels[][2] = {
        { "beginner", "low" }, { "average", "medium" }, { "expert", "high" },
        { "low", "low" },      { "medium", "medium" },  { "high", "high" },
    };
    const char *level = cx_vline_get(line, "LEVEL");
    const char *index = cx_vline_get(line, "INDEX");
    cx_json_t *item;
    size_t i;

    item = cx_vitem_new(reader, line);
    cx_json_remove(item, "contexts");
    cx_json_remove(item, "pref");

    if (!cx_vset(item, "value", cx_vline_plain(reader, line))) {
        return true;
    }

    cx_vset(item, "kind",
            line->name[0] == 'E'   ? "expertise"
            : line->name[0] == 'H' ? "hobby"
                                   : "interest");

    for (i = 0; level != NULL && i < N_OF(levels); i++) {
        if (strcasecmp(level, levels[i][0]) == 0) {
            cx_vset(item, "level", levels[i][1]);
        }
    }

    if (index != NULL && index[0] != '\0' && strlen(index) < 10
        && strspn(index, "0123456789") == strlen(index)) {
        cx_json_put(item, "listAs", cx_json_integer(item, atoi(index)));
    }

    cx_vitem_put(reader, line, "personalInfo", "i", item);

    return true;
}


const cx_vproperty_t cx_vread_items[] = {
    { "TEL", read_tel },
    { "EMAIL", read_email },
    { "LANG", read_lang },
    { "TITLE", read_title },
    { "ROLE", read_title },
    { "ORG", read_org },
    { "NOTE", read_note },
    { "IMPP", read_impp },
    { "SOCIALPROFILE", read_social },
    { "X-SOCIALPROFILE", read_social },
    { "X-AIM", read_messenger },
    { "X-ICQ", read_messenger },
    { "X-JABBER", read_messenger },
    { "X-MSN", read_messenger },
    { "X-YAHOO", read_messenger },
    { "X-SKYPE", read_messenger },
    { "X-SKYPE-USERNAME", read_messenger },
    { "X-QQ", read_messenger },
    { "X-WECHAT", read_messenger },
    { "X-GOOGLE-TALK", read_messenger },
    { "X-TWITTER", read_messenger },
    { "X-GADUGADU", read_messenger },
    { "PRONOUNS", read_pronouns },
    { "GRAMGENDER", read_gender },
    { "EXPERTISE", read_personal },
    { "HOBBY", read_personal },
    { "INTEREST", read_personal },
    { NULL, NULL },
};
