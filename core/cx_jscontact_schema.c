#include "cx_jscontact_schema.h"


#define REQUIRED true
#define CONTEXTS                                                               \
    {                                                                          \
        "contexts", CX_SET, NULL, false                                        \
    }
#define PREF                                                                   \
    {                                                                          \
        "pref", CX_PREFERENCE, NULL, false                                     \
    }
#define LABEL                                                                  \
    {                                                                          \
        "label", CX_STRING, NULL, false                                        \
    }
#define PARAMS                                                                 \
    {                                                                          \
        "vCardParams", CX_ANYTHING, NULL, false                                \
    }
#define LAST                                                                   \
    {                                                                          \
        NULL, CX_END, NULL, false                                              \
    }

#define PUBLIC_CLASS(id, name, properties, ...)                                \
    const cx_class_t id = { name, properties, { __VA_ARGS__ } }

#define CLASS(id, name, properties, ...)                                       \
    static const cx_class_t id = { name, properties, { __VA_ARGS__ } }


static const cx_property_t component_properties[] = {
    { "value", CX_STRING, NULL, REQUIRED },
    { "kind", CX_STRING, NULL, REQUIRED },
    { "phonetic", CX_STRING, NULL, false },
    LAST
};

CLASS(name_component, "NameComponent", component_properties, NULL);
CLASS(address_component, "AddressComponent", component_properties, NULL);

static const cx_property_t name_properties[] = {
    { "components", CX_LIST, &name_component, false },
    { "isOrdered", CX_BOOLEAN, NULL, false },
    { "defaultSeparator", CX_STRING, NULL, false },
    { "full", CX_STRING, NULL, false },
    { "sortAs", CX_STRINGS, NULL, false },
    { "phoneticScript", CX_STRING, NULL, false },
    { "phoneticSystem", CX_STRING, NULL, false },
    PARAMS,
    LAST
};

CLASS(name_class, "Name", name_properties, "components", "full", NULL);

static const cx_property_t nickname_properties[] = {
    { "name", CX_STRING, NULL, REQUIRED }, CONTEXTS, PREF, PARAMS, LAST
};

CLASS(nickname, "Nickname", nickname_properties, NULL);

static const cx_property_t unit_properties[] = {
    { "name", CX_STRING, NULL, REQUIRED },
    { "sortAs", CX_STRING, NULL, false },
    LAST
};

CLASS(unit, "OrgUnit", unit_properties, NULL);

static const cx_property_t organization_properties[] = {
    { "name", CX_STRING, NULL, false },
    { "units", CX_LIST, &unit, false },
    { "sortAs", CX_STRING, NULL, false },
    CONTEXTS,
    PARAMS,
    LAST
};

CLASS(organization, "Organization", organization_properties, "name", "units",
      NULL);

static const cx_property_t pronouns_properties[] = {
    { "pronouns", CX_STRING, NULL, REQUIRED }, CONTEXTS, PREF, PARAMS, LAST
};

CLASS(pronouns, "Pronouns", pronouns_properties, NULL);

static const cx_property_t speak_properties[] = {
    { "grammaticalGender", CX_STRING, NULL, false },
    { "pronouns", CX_ITEMS, &pronouns, false },
    LAST
};

CLASS(speak, "SpeakToAs", speak_properties, NULL);

static const cx_property_t title_properties[] = {
    { "name", CX_STRING, NULL, REQUIRED },
    { "kind", CX_STRING, NULL, false },
    { "organizationId", CX_ID, NULL, false },
    PARAMS,
    LAST
};

CLASS(title, "Title", title_properties, NULL);

static const cx_property_t email_properties[] = {
    { "address", CX_STRING, NULL, REQUIRED },
    CONTEXTS,
    PREF,
    LABEL,
    PARAMS,
    LAST
};

CLASS(email, "EmailAddress", email_properties, NULL);

static const cx_property_t service_properties[] = {
    { "service", CX_STRING, NULL, false },
    { "uri", CX_STRING, NULL, false },
    { "user", CX_STRING, NULL, false },
    { "vCardName", CX_STRING, NULL, false },
    CONTEXTS,
    PREF,
    LABEL,
    PARAMS,
    LAST
};

CLASS(service, "OnlineService", service_properties, "uri", "user", NULL);

static const cx_property_t phone_properties[] = {
    { "number", CX_STRING, NULL, REQUIRED },
    { "features", CX_SET, NULL, false },
    CONTEXTS,
    PREF,
    LABEL,
    PARAMS,
    LAST
};

CLASS(phone, "Phone", phone_properties, NULL);

static const cx_property_t language_properties[] = {
    { "language", CX_STRING, NULL, REQUIRED }, CONTEXTS, PREF, PARAMS, LAST
};

CLASS(language, "LanguagePref", language_properties, NULL);

/* RFC 9553, 1.4.4: what Calendar, CryptoKey, Directory, Link and Media
 * share. */
#define RESOURCE(needs_kind)                                                   \
    { "uri", CX_STRING, NULL, REQUIRED },                                      \
        { "kind", CX_STRING, NULL, needs_kind },                               \
        { "mediaType", CX_STRING, NULL, false }, CONTEXTS, PREF, LABEL, PARAMS

static const cx_property_t resource_properties[] = { RESOURCE(false), LAST };
static const cx_property_t kind_properties[] = { RESOURCE(REQUIRED), LAST };
static const cx_property_t directory_properties[] = {
    RESOURCE(REQUIRED), { "listAs", CX_UNSIGNED, NULL, false }, LAST
};

CLASS(calendar, "Calendar", kind_properties, NULL);
CLASS(crypto_key, "CryptoKey", resource_properties, NULL);
CLASS(directory, "Directory", directory_properties, NULL);
CLASS(link_class, "Link", resource_properties, NULL);
CLASS(media, "Media", kind_properties, NULL);

static const cx_property_t scheduling_properties[] = {
    { "uri", CX_STRING, NULL, REQUIRED }, CONTEXTS, PREF, LABEL, PARAMS, LAST
};

CLASS(scheduling, "SchedulingAddress", scheduling_properties, NULL);

static const cx_property_t address_properties[] = {
    { "components", CX_LIST, &address_component, false },
    { "isOrdered", CX_BOOLEAN, NULL, false },
    { "countryCode", CX_STRING, NULL, false },
    { "coordinates", CX_STRING, NULL, false },
    { "timeZone", CX_STRING, NULL, false },
    { "full", CX_STRING, NULL, false },
    { "defaultSeparator", CX_STRING, NULL, false },
    { "phoneticScript", CX_STRING, NULL, false },
    { "phoneticSystem", CX_STRING, NULL, false },
    CONTEXTS,
    PREF,
    LABEL,
    PARAMS,
    LAST
};

CLASS(address, "Address", address_properties, "components", "full",
      "countryCode", "coordinates", "timeZone", NULL);

static const cx_property_t partial_properties[] = {
    { "year", CX_UNSIGNED, NULL, false },
    { "month", CX_MONTH, NULL, false },
    { "day", CX_DAY, NULL, false },
    { "calendarScale", CX_STRING, NULL, false },
    LAST
};

PUBLIC_CLASS(cx_partial_date_class, "PartialDate", partial_properties, "year",
             "month", "day", NULL);

static const cx_property_t timestamp_properties[] = {
    { "utc", CX_UTC, NULL, REQUIRED }, LAST
};

PUBLIC_CLASS(cx_timestamp_class, "Timestamp", timestamp_properties, NULL);

static const cx_property_t anniversary_properties[] = {
    { "kind", CX_STRING, NULL, REQUIRED },
    { "date", CX_DATE, NULL, REQUIRED },
    { "place", CX_OBJECT, &address, false },
    PARAMS,
    LAST
};

CLASS(anniversary, "Anniversary", anniversary_properties, NULL);

static const cx_property_t author_properties[] = {
    { "name", CX_STRING, NULL, false }, { "uri", CX_STRING, NULL, false }, LAST
};

CLASS(author, "Author", author_properties, NULL);

static const cx_property_t note_properties[] = {
    { "note", CX_STRING, NULL, REQUIRED },
    { "created", CX_UTC, NULL, false },
    { "author", CX_OBJECT, &author, false },
    PARAMS,
    LAST
};

CLASS(note, "Note", note_properties, NULL);

static const cx_property_t personal_properties[] = {
    { "kind", CX_STRING, NULL, REQUIRED },
    { "value", CX_STRING, NULL, REQUIRED },
    { "level", CX_STRING, NULL, false },
    { "listAs", CX_UNSIGNED, NULL, false },
    LABEL,
    PARAMS,
    LAST
};

CLASS(personal, "PersonalInfo", personal_properties, NULL);

static const cx_property_t relation_properties[] = {
    { "relation", CX_SET, NULL, false }, PARAMS, LAST
};

CLASS(relation, "Relation", relation_properties, NULL);

static const cx_property_t card_properties[] = {
    { "uid", CX_STRING, NULL, false },
    { "created", CX_UTC, NULL, false },
    { "kind", CX_STRING, NULL, false },
    { "language", CX_STRING, NULL, false },
    { "members", CX_SET, NULL, false },
    { "prodId", CX_STRING, NULL, false },
    { "relatedTo", CX_NAMED, &relation, false },
    { "updated", CX_UTC, NULL, false },
    { "name", CX_OBJECT, &name_class, false },
    { "nicknames", CX_ITEMS, &nickname, false },
    { "organizations", CX_ITEMS, &organization, false },
    { "speakToAs", CX_OBJECT, &speak, false },
    { "titles", CX_ITEMS, &title, false },
    { "emails", CX_ITEMS, &email, false },
    { "onlineServices", CX_ITEMS, &service, false },
    { "phones", CX_ITEMS, &phone, false },
    { "preferredLanguages", CX_ITEMS, &language, false },
    { "calendars", CX_ITEMS, &calendar, false },
    { "schedulingAddresses", CX_ITEMS, &scheduling, false },
    { "addresses", CX_ITEMS, &address, false },
    { "cryptoKeys", CX_ITEMS, &crypto_key, false },
    { "directories", CX_ITEMS, &directory, false },
    { "links", CX_ITEMS, &link_class, false },
    { "media", CX_ITEMS, &media, false },
    { "localizations", CX_PATCHES, NULL, false },
    { "anniversaries", CX_ITEMS, &anniversary, false },
    { "keywords", CX_SET, NULL, false },
    { "notes", CX_ITEMS, &note, false },
    { "personalInfo", CX_ITEMS, &personal, false },
    { "vCardProps", CX_JCARD, NULL, false },
    LAST
};

PUBLIC_CLASS(cx_card_class, "Card", card_properties, NULL);
