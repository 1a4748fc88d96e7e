#include "cx_jscontact.h"
#include "cx_vcard_line.h"
#include "cx_vcard_slots.h"

#include <stdio.h>
#include <string.h>


#define N_SURNAME 0
#define N_CREDENTIAL 4
#define N_SURNAME2 5
#define N_GENERATION 6

#define ADR_EXTENDED 1
#define ADR_STREET 2
#define ADR_ROOM 7
#define ADR_FLOOR 9
#define ADR_BUILDING 12


const char *const cx_n_kinds[CX_N_SLOTS] = {
    "surname",    "given",    "given2",     "title",
    "credential", "surname2", "generation",
};

const char *const cx_adr_kinds[CX_ADR_SLOTS] = {
    "postOfficeBox", NULL,       NULL,        "locality",  "region",
    "postcode",      "country",  "room",      "apartment", "floor",
    "number",        "name",     "building",  "block",     "subdistrict",
    "district",      "landmark", "direction",
};

const char *const cx_adr_short_kinds[CX_ADR_SHORT] = {
    "postOfficeBox", "apartment", "name",    "locality",
    "region",        "postcode",  "country",
};


/* The place of a kind, -1: none. */
static int
slot_of(const char *const *kinds, size_t n, const char *kind)
{
    size_t i;

    for (i = 0; kind != NULL && i < n; i++) {
        if (kinds[i] != NULL && strcmp(kinds[i], kind) == 0) {
            return (int) i;
        }
    }

    return -1;
}


static cx_slots_t *
slots_new(TALLOC_CTX *ctx)
{
    cx_slots_t *slots;
    size_t i;

    slots = cx_must(talloc_zero(ctx, cx_slots_t));

    for (i = 0; i < CX_SLOTS_MAX; i++) {
        cx_buf_init(&slots->text[i], slots);
    }

    return slots;
}


/* 4.0 has lists, in which a component keeps its place; what reads 3.0 shows
 * their commas, so there it is one text, escaped when it is put out. */
static void
slot_add(const cx_vcard_writer_t *writer, cx_slots_t *slots, int slot,
         const char *value)
{
    cx_buf_t *text = &slots->text[slot];

    if (writer->version == CX_VCARD_4) {
        if (slots->n[slot] > 0) {
            cx_buf_putc(text, ',');
        }

        cx_vcard_escape(text, value);

    } else {
        cx_jscontact_join(text, value, NULL);
    }

    slots->n[slot]++;
}


static void
slots_write(cx_vcard_writer_t *writer, const cx_slots_t *slots, size_t n)
{
    size_t i;

    cx_vline_value(writer);

    for (i = 0; i < n; i++) {
        if (i > 0) {
            cx_vline_char(writer, ';');
        }

        if (slots->text[i].data == NULL) {
            continue;
        }

        if (writer->version == CX_VCARD_4) {
            cx_vline_raw(writer, slots->text[i].data);
        } else {
            cx_vline_text(writer, slots->text[i].data);
        }
    }
}


/* Distributes the components; `member` is "value" or "phonetic". */
static cx_slots_t *
slots_fill(const cx_vcard_writer_t *writer, const cx_json_t *components,
           const char *const *kinds, size_t n, const char *member)
{
    const cx_json_t *component;
    cx_slots_t *slots;
    const char *value;
    size_t i;
    int slot;

    slots = slots_new(writer->ctx);

    for (i = 0; i < components->n; i++) {
        component = components->items[i];
        slot = slot_of(kinds, n, cx_json_text(component, "kind"));

        if (slot != -1) {
            value = cx_json_text(component, member);
            slot_add(writer, slots, slot, value == NULL ? "" : value);
        }
    }

    return slots;
}


static bool
is_ordered(const cx_json_t *object)
{
    const cx_json_t *ordered;

    ordered = cx_json_get(object, "isOrdered");

    return ordered != NULL && ordered->boolean;
}


/* The components of an object, or NULL. */
static const cx_json_t *
components_of(const cx_json_t *object)
{
    const cx_json_t *components;

    components = cx_json_get(object, "components");

    return components != NULL && components->type == CX_JSON_ARRAY
                   && components->n > 0
               ? components
               : NULL;
}


/* The order of components and what stands between them: JSCOMPS (RFC 9555,
 * 3.3.1). */
static void
order_param(cx_vcard_writer_t *writer, const cx_json_t *object,
            const char *const *kinds, size_t n)
{
    unsigned count[CX_SLOTS_MAX] = { 0 };
    const cx_json_t *components = components_of(object), *component;
    const char *separator, *value, *kind;
    char place[32];
    cx_buf_t buf;
    size_t i;
    int slot;

    if (writer->version != CX_VCARD_4 || !is_ordered(object)) {
        return;
    }

    cx_buf_init(&buf, writer->ctx);
    separator = cx_json_text(object, "defaultSeparator");

    if (separator != NULL) {
        cx_buf_puts(&buf, "s,");
        cx_vcard_escape(&buf, separator);
    }

    for (i = 0; i < components->n; i++) {
        component = components->items[i];
        kind = cx_json_text(component, "kind");
        value = cx_json_text(component, "value");
        slot = slot_of(kinds, n, kind);

        if (slot != -1) {
            snprintf(place, sizeof(place), count[slot] == 0 ? ";%d" : ";%d,%u",
                     slot, count[slot]);
            count[slot]++;
            cx_buf_puts(&buf, place);

        } else if (kind != NULL && value != NULL
                   && strcmp(kind, "separator") == 0) {
            cx_buf_puts(&buf, ";s,");
            cx_vcard_escape(&buf, value);
        }
    }

    cx_vline_param(writer, "JSCOMPS", cx_buf_text(&buf));
    talloc_free(buf.data);
}


/* RFC 9554: what the added fields say stands in those of RFC 6350 too. */
static void
n_mirror(const cx_vcard_writer_t *writer, cx_slots_t *slots)
{
    static const int from[] = { N_SURNAME2, N_GENERATION };
    static const int to[] = { N_SURNAME, N_CREDENTIAL };
    cx_buf_t *text;
    size_t i;

    for (i = 0; i < 2; i++) {
        text = &slots->text[to[i]];

        if (slots->n[from[i]] == 0) {
            continue;
        }

        if (writer->version == CX_VCARD_4) {
            if (slots->n[to[i]] > 0) {
                cx_buf_putc(text, ',');
            }

            cx_buf_puts(text, cx_buf_text(&slots->text[from[i]]));

        } else if (from[i] == N_GENERATION) {
            /* "III, PhD", not the other way around */
            cx_jscontact_join(&slots->text[N_GENERATION], cx_buf_text(text),
                              NULL);
            *text = slots->text[N_GENERATION];

        } else {
            cx_jscontact_join(text, cx_buf_text(&slots->text[from[i]]), NULL);
        }
    }
}


static size_t
n_length(const cx_vcard_writer_t *writer, const cx_slots_t *slots)
{
    return writer->version == CX_VCARD_4
                   && (slots->n[N_SURNAME2] > 0 || slots->n[N_GENERATION] > 0)
               ? CX_N_SLOTS
               : CX_N_SHORT;
}


static bool
has_phonetic(const cx_json_t *components)
{
    size_t i;

    for (i = 0; i < components->n; i++) {
        if (cx_json_text(components->items[i], "phonetic") != NULL) {
            return true;
        }
    }

    return false;
}


/* How the name is said: in 4.0 a second N (RFC 9554, 4.6), in 3.0 what
 * phones agreed on. */
static void
write_phonetic(cx_vcard_writer_t *writer, const cx_json_t *name,
               unsigned alt_id)
{
    static const char *const names[] = { "X-PHONETIC-LAST-NAME",
                                         "X-PHONETIC-FIRST-NAME",
                                         "X-PHONETIC-MIDDLE-NAME" };
    const char *system, *script;
    cx_slots_t *slots;
    char id[16];
    size_t i;

    slots = slots_fill(writer, components_of(name), cx_n_kinds, CX_N_SLOTS,
                       "phonetic");

    if (writer->version == CX_VCARD_3) {
        for (i = 0; i < 3; i++) {
            if (slots->text[i].len > 0) {
                cx_vline_text_line(writer, names[i], slots->text[i].data);
            }
        }

        return;
    }

    system = cx_json_text(name, "phoneticSystem");
    script = cx_json_text(name, "phoneticScript");
    cx_vline_begin(writer, NULL, "N");
    cx_vline_param(writer, "PHONETIC", system == NULL ? "script" : system);

    if (script != NULL) {
        cx_vline_param(writer, "SCRIPT", script);
    }

    snprintf(id, sizeof(id), "%u", alt_id);
    cx_vline_param(writer, "ALTID", id);
    n_mirror(writer, slots);
    slots_write(writer, slots, n_length(writer, slots));
    cx_vline_end(writer);
}


/* SORT-AS of N has the surname first, then the given name. */
static void
sort_param(cx_vcard_writer_t *writer, const cx_json_t *name)
{
    const char *surname, *given;
    const cx_json_t *sort_as;
    char *text;

    sort_as = cx_json_get(name, "sortAs");
    surname = cx_json_text(sort_as, "surname");
    given = cx_json_text(sort_as, "given");

    if (surname == NULL || strchr(surname, ',') != NULL) {
        return;
    }

    text = cx_must(talloc_asprintf(writer->ctx, "%s%s%s", surname,
                                   given == NULL ? "" : ",",
                                   given == NULL ? "" : given));
    cx_vline_param(writer, "SORT-AS", text);
}


static void
write_n(cx_vcard_writer_t *writer, const cx_json_t *name, unsigned alt_id)
{
    const cx_json_t *components = components_of(name);
    cx_slots_t *slots;
    char id[16];

    cx_vline_begin(writer, NULL, "N");

    if (writer->version == CX_VCARD_4) {
        sort_param(writer, name);
        order_param(writer, name, cx_n_kinds, CX_N_SLOTS);

        if (writer->language != NULL) {
            cx_vline_param(writer, "LANGUAGE", writer->language);
        }

        if (alt_id > 0) {
            snprintf(id, sizeof(id), "%u", alt_id);
            cx_vline_param(writer, "ALTID", id);
        }
    }

    slots = slots_fill(writer, components, cx_n_kinds, CX_N_SLOTS, "value");
    n_mirror(writer, slots);
    slots_write(writer, slots, n_length(writer, slots));
    cx_vline_end(writer);
}


/* FN and N.  FN must be there and not be empty: phones refuse the card. */
void
cx_vcard_write_name(cx_vcard_writer_t *writer, const cx_json_t *card)
{
    const cx_json_t *name;
    const char *full;
    unsigned alt_id;
    char id[16];

    name = cx_json_get(card, "name");
    full = cx_json_text(name, "full");
    alt_id = writer->alt_id;

    if (alt_id == 0 && components_of(name) != NULL
        && has_phonetic(components_of(name))) {
        alt_id = 1;
    }

    cx_vline_begin(writer, NULL, "FN");

    if (writer->version == CX_VCARD_4) {
        if (full == NULL || full[0] == '\0') {
            cx_vline_param(writer, "DERIVED", "TRUE");
        }

        if (writer->language != NULL) {
            cx_vline_param(writer, "LANGUAGE", writer->language);
        }

        if (writer->alt_id > 0) {
            snprintf(id, sizeof(id), "%u", writer->alt_id);
            cx_vline_param(writer, "ALTID", id);
        }
    }

    cx_vline_value(writer);
    full = cx_jscontact_full_name(writer->ctx, card);
    cx_vline_text(writer, full[0] == '\0' ? "?" : full);
    cx_vline_end(writer);

    if (components_of(name) != NULL) {
        write_n(writer, name, alt_id);

        if (has_phonetic(components_of(name)) && !writer->brief
            && writer->language == NULL) {
            write_phonetic(writer, name, alt_id);
        }

    } else if (writer->version == CX_VCARD_3) {
        /* it must be there (RFC 2426, 3.1.2): all in one place */
        cx_vline_begin(writer, NULL, "N");
        cx_vline_value(writer);
        cx_vline_text(writer, full[0] == '\0' ? "?" : full);
        cx_vline_raw(writer, ";;;;");
        cx_vline_end(writer);
    }
}


/* The fields of RFC 6350 are enough, if none of the others is used. */
static bool
is_short(const cx_json_t *components)
{
    const char *kind;
    size_t i;

    for (i = 0; i < components->n; i++) {
        kind = cx_json_text(components->items[i], "kind");

        if (slot_of(cx_adr_short_kinds, CX_ADR_SHORT, kind) == -1
            && slot_of(cx_adr_kinds, CX_ADR_SLOTS, kind) != -1) {
            return false;
        }
    }

    return true;
}


/* Where a component stands for those who know RFC 6350 only: the street, or
 * what is inside a building. */
static int
old_place(int slot)
{
    if (slot < ADR_ROOM) {
        return slot;
    }

    return slot <= ADR_FLOOR || slot == ADR_BUILDING ? ADR_EXTENDED
                                                     : ADR_STREET;
}


/* The text for one of the two fields that RFC 9554 took apart. */
static void
join_old(cx_buf_t *buf, const cx_json_t *address, int place)
{
    const cx_json_t *components = components_of(address), *component;
    const char *kind, *value, *separator = NULL;
    bool pending = false;
    size_t i;
    int slot;

    for (i = 0; i < components->n; i++) {
        component = components->items[i];
        kind = cx_json_text(component, "kind");
        value = cx_json_text(component, "value");
        slot = slot_of(cx_adr_kinds, CX_ADR_SLOTS, kind);

        if (kind == NULL || value == NULL) {
            continue;
        }

        if (strcmp(kind, "separator") == 0) {
            separator = value;
            continue;
        }

        if (slot != -1 && old_place(slot) == place) {
            cx_jscontact_join(buf, value, pending ? separator : NULL);
            pending = true;
        } else {
            pending = false;
        }

        separator = NULL;
    }
}


/* In the order in which the card has them, be it ordered or not: whoever made
 * it knows better than we whether the number goes before the street. */
static void
fill_old(const cx_vcard_writer_t *writer, cx_slots_t *slots,
         const cx_json_t *address)
{
    static const int places[] = { ADR_EXTENDED, ADR_STREET };
    cx_buf_t joined;
    size_t i;

    for (i = 0; i < 2; i++) {
        cx_buf_init(&joined, slots);
        join_old(&joined, address, places[i]);

        if (joined.len > 0) {
            slot_add(writer, slots, places[i], joined.data);
        }
    }
}


static void
address_params(cx_vcard_writer_t *writer, const cx_json_t *item)
{
    static const struct {
        const char *member, *param;
    } params[] = {
        { "full", "LABEL" },
        { "coordinates", "GEO" },
        { "timeZone", "TZ" },
        { "countryCode", "CC" },
    };
    const char *value;
    size_t i;

    for (i = 0; i < sizeof(params) / sizeof(params[0]); i++) {
        value = cx_json_text(item, params[i].member);

        if (value != NULL) {
            cx_vline_param(writer, params[i].param, value);
        }
    }
}


/* ADR.  An address that is only a text is put into the street in 3.0, where
 * phones look for it; LABEL has it in 4.0. */
void
cx_vcard_write_address(cx_vcard_writer_t *writer, const cx_json_t *item)
{
    const cx_json_t *components = components_of(item);
    const char *full = cx_json_text(item, "full");
    cx_slots_t *slots;
    bool brief_form;

    if (components == NULL && full == NULL && writer->version == CX_VCARD_3) {
        return;
    }

    cx_vitem_begin(writer, "ADR", item, NULL);

    if (writer->version == CX_VCARD_4) {
        address_params(writer, item);
    }

    if (components == NULL) {
        slots = slots_new(writer->ctx);

        if (writer->version == CX_VCARD_3) {
            slot_add(writer, slots, ADR_STREET, full);
        }

        slots_write(writer, slots, CX_ADR_SHORT);
        cx_vline_end(writer);
        return;
    }

    brief_form = writer->version == CX_VCARD_4 && is_short(components);

    if (brief_form) {
        order_param(writer, item, cx_adr_short_kinds, CX_ADR_SHORT);
        slots = slots_fill(writer, components, cx_adr_short_kinds, CX_ADR_SHORT,
                           "value");
    } else {
        order_param(writer, item, cx_adr_kinds, CX_ADR_SLOTS);
        slots =
            slots_fill(writer, components, cx_adr_kinds, CX_ADR_SLOTS, "value");
        fill_old(writer, slots, item);
    }

    slots_write(writer, slots,
                writer->version == CX_VCARD_4 && !brief_form ? CX_ADR_SLOTS
                                                             : CX_ADR_SHORT);
    cx_vline_end(writer);
}
