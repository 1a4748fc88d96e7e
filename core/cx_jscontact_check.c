#include "cx_buf.h"
#include "cx_jscontact.h"
#include "cx_jscontact_schema.h"

#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>


/* Levels of a card: it is put into envelopes, which must be readable too. */
#define DEPTH_MAX 40

#define INTEGER_MAX 9007199254740991 /* RFC 9553, 1.4.3 */

/* Where we are: names up to the card, on the caller's stack. */
typedef struct path_s {
    const struct path_s *up;
    const char *name;
    size_t index; /* if name is NULL */
} path_t;


static void
path_write(cx_buf_t *buf, const path_t *path)
{
    char index[24];
    const char *p;

    if (path == NULL) {
        return;
    }

    path_write(buf, path->up);
    cx_buf_putc(buf, '/');

    if (path->name == NULL) {
        snprintf(index, sizeof(index), "%zu", path->index);
        cx_buf_puts(buf, index);
        return;
    }

    for (p = path->name; *p != '\0' && buf->len < 512; p++) {
        if (*p == '~') {
            cx_buf_puts(buf, "~0");
        } else if (*p == '/') {
            cx_buf_puts(buf, "~1");
        } else {
            cx_buf_putc(buf, *p);
        }
    }
}


/* "The card is refused at /phones/work/number: it must be a string." */
static const char *
refuse(TALLOC_CTX *ctx, const path_t *path, const char *what)
{
    cx_buf_t buf;

    cx_buf_init(&buf, ctx);
    cx_buf_puts(&buf, "The card is refused at ");

    if (path == NULL) {
        cx_buf_puts(&buf, "its root");
    }

    path_write(&buf, path);
    cx_buf_puts(&buf, ": ");
    cx_buf_puts(&buf, what);

    /* a cut in the middle of a character would spoil the answer */
    if (buf.len >= 512) {
        return "The card is refused: a name in it is too long.";
    }

    return buf.data;
}


/* A name ends up in paths, in parameters of vCards, on pages. */
static bool
has_control(const char *name)
{
    for (; *name != '\0'; name++) {
        if ((unsigned char) *name < 0x20 || *name == 0x7F) {
            return true;
        }
    }

    return false;
}


/* What holds for the whole tree, known properties or not. */
static const char *
check_limits(TALLOC_CTX *ctx, const cx_json_t *json, const path_t *path,
             unsigned depth)
{
    const char *why;
    path_t below;
    size_t i;

    if (json->type == CX_JSON_STRING && json->len > CX_CARD_TEXT_MAX) {
        return refuse(ctx, path, "the text is too long.");
    }

    if (json->n > CX_CARD_ITEMS_MAX) {
        return refuse(ctx, path, "there are too many of them.");
    }

    if (depth > DEPTH_MAX) {
        return refuse(ctx, NULL, "it is nested too deeply.");
    }

    below.up = path;

    for (i = 0; i < json->n; i++) {
        below.name = json->items[i]->name;
        below.index = i;

        if (below.name != NULL && strlen(below.name) > CX_CARD_TEXT_MAX) {
            return refuse(ctx, path, "the name of a member is too long.");
        }

        if (below.name != NULL && has_control(below.name)) {
            return refuse(ctx, path,
                          "the name of a member has a control character.");
        }

        why = check_limits(ctx, json->items[i], &below, depth + 1);

        if (why != NULL) {
            return why;
        }
    }

    return NULL;
}


bool
cx_jscontact_is_id(const char *text)
{
    size_t len;

    len = strlen(text);

    return len >= 1 && len <= 255
           && strspn(text,
                     "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                     "0123456789-_")
                  == len;
}


static bool
digits(const char *text, size_t n, int low, int high)
{
    int number = 0;
    size_t i;

    for (i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return false;
        }

        number = number * 10 + (text[i] - '0');
    }

    return number >= low && number <= high;
}


/* RFC 3339 in UTC with capital letters, as RFC 9553, 1.4.5 has it. */
static bool
is_utc(const char *text)
{
    size_t len, i;

    len = strlen(text);

    if (len < 20 || !digits(text, 4, 0, 9999) || text[4] != '-'
        || !digits(text + 5, 2, 1, 12) || text[7] != '-'
        || !digits(text + 8, 2, 1, 31) || text[10] != 'T'
        || !digits(text + 11, 2, 0, 23) || text[13] != ':'
        || !digits(text + 14, 2, 0, 59) || text[16] != ':'
        || !digits(text + 17, 2, 0, 60) || text[len - 1] != 'Z') {
        return false;
    }

    if (len == 20) {
        return true;
    }

    if (text[19] != '.' || len == 21) {
        return false;
    }

    i = strspn(text + 20, "0123456789");

    return i == len - 21;
}


static const char *
check_integer(TALLOC_CTX *ctx, const cx_json_t *json, cx_kind_t kind,
              const path_t *path)
{
    static const struct {
        cx_kind_t kind;
        int64_t low, high;
        const char *what;
    } ranges[] = {
        { CX_UNSIGNED, 0, INTEGER_MAX,
          "it must be a whole number, not below 0." },
        { CX_PREFERENCE, 1, 100, "it must be a whole number from 1 to 100." },
        { CX_MONTH, 1, 12, "it must be a month, 1 to 12." },
        { CX_DAY, 1, 31, "it must be a day, 1 to 31." },
    };
    int64_t number;
    size_t i = 0;

    while (ranges[i].kind != kind) {
        i++;
    }

    if (!cx_json_to_integer(json, &number) || number < ranges[i].low
        || number > ranges[i].high) {
        return refuse(ctx, path, ranges[i].what);
    }

    return NULL;
}


static const char *
check_scalar(TALLOC_CTX *ctx, const cx_json_t *json, cx_kind_t kind,
             const path_t *path)
{
    if (kind == CX_BOOLEAN) {
        return json->type == CX_JSON_BOOLEAN
                   ? NULL
                   : refuse(ctx, path, "it must be true or false.");
    }

    if (kind == CX_UNSIGNED || kind == CX_PREFERENCE || kind == CX_MONTH
        || kind == CX_DAY) {
        return check_integer(ctx, json, kind, path);
    }

    if (json->type != CX_JSON_STRING) {
        return refuse(ctx, path, "it must be a string.");
    }

    if (kind == CX_ID && !cx_jscontact_is_id(json->text)) {
        return refuse(ctx, path,
                      "it must be an id: 1 to 255 of A-Z, a-z, "
                      "0-9, - and _.");
    }

    if (kind == CX_UTC && !is_utc(json->text)) {
        return refuse(ctx, path,
                      "it must be a time in UTC such as "
                      "2024-05-31T10:00:00Z.");
    }

    return NULL;
}


static const char *check_object(TALLOC_CTX *ctx, const cx_json_t *json,
                                const cx_class_t *class, const path_t *path);


/* A jCard property is [name, parameters, type, value, ...] (RFC 7095, 3.3). */
static const char *
check_jcard(TALLOC_CTX *ctx, const cx_json_t *json, const path_t *path)
{
    if (json->type != CX_JSON_ARRAY || json->n < 4
        || json->items[0]->type != CX_JSON_STRING
        || json->items[1]->type != CX_JSON_OBJECT
        || json->items[2]->type != CX_JSON_STRING) {
        return refuse(ctx, path,
                      "it must be a jCard property: an array of "
                      "name, parameters, type and value.");
    }

    return NULL;
}


/* Patches (RFC 9553, 1.4.4 and 2.7.1): paths without the first slash, none
 * into localizations. */
static const char *
check_patches(TALLOC_CTX *ctx, const cx_json_t *json, const path_t *path)
{
    static const char self[] = "localizations";
    path_t below;
    const char *name;
    size_t i;

    if (json->type != CX_JSON_OBJECT) {
        return refuse(ctx, path, "it must be an object.");
    }

    below.up = path;

    for (i = 0; i < json->n; i++) {
        name = json->items[i]->name;
        below.name = name;

        if (name[0] == '/' || name[0] == '\0'
            || (strncmp(name, self, sizeof(self) - 1) == 0
                && (name[sizeof(self) - 1] == '/'
                    || name[sizeof(self) - 1] == '\0'))) {
            return refuse(ctx, &below, "the name is no path of a patch.");
        }
    }

    return NULL;
}


static const char *
check_element(TALLOC_CTX *ctx, const cx_json_t *json,
              const cx_property_t *property, const path_t *path)
{
    switch (property->kind) {
    case CX_SET:
        return json->type == CX_JSON_BOOLEAN && json->boolean
                   ? NULL
                   : refuse(ctx, path, "it must be true.");

    case CX_STRINGS:
        return check_scalar(ctx, json, CX_STRING, path);

    case CX_ITEMS:
        if (!cx_jscontact_is_id(json->name)) {
            return refuse(ctx, path,
                          "its name must be an id: 1 to 255 of "
                          "A-Z, a-z, 0-9, - and _.");
        }
        break;

    case CX_PATCHES:
        return check_patches(ctx, json, path);

    case CX_JCARD:
        return check_jcard(ctx, json, path);

    default:
        break;
    }

    return check_object(ctx, json, property->class, path);
}


static const char *
check_property(TALLOC_CTX *ctx, const cx_json_t *json,
               const cx_property_t *property, const path_t *path)
{
    const char *why = NULL, *type;
    bool is_array;
    path_t below;
    size_t i;

    switch (property->kind) {
    case CX_OBJECT:
        return check_object(ctx, json, property->class, path);

    case CX_DATE:
        type = cx_json_text(json, "@type");
        return check_object(ctx, json,
                            (type != NULL && strcmp(type, "Timestamp") == 0)
                                    || cx_json_get(json, "utc") != NULL
                                ? &cx_timestamp_class
                                : &cx_partial_date_class,
                            path);

    case CX_SET:
    case CX_STRINGS:
    case CX_LIST:
    case CX_ITEMS:
    case CX_NAMED:
    case CX_PATCHES:
    case CX_JCARD:
    case CX_ANYTHING:
        break;

    default:
        return check_scalar(ctx, json, property->kind, path);
    }

    is_array = property->kind == CX_LIST || property->kind == CX_JCARD;

    if (json->type != (is_array ? CX_JSON_ARRAY : CX_JSON_OBJECT)) {
        return refuse(ctx, path,
                      is_array ? "it must be an array."
                               : "it must be an object.");
    }

    below.up = path;

    for (i = 0; i < json->n && property->kind != CX_ANYTHING && why == NULL;
         i++) {
        below.name = json->items[i]->name;
        below.index = i;
        why = check_element(ctx, json->items[i], property, &below);
    }

    return why;
}


static const char *
check_one_of(TALLOC_CTX *ctx, const cx_json_t *json, const cx_class_t *class,
             const path_t *path)
{
    const char *const *p;
    cx_buf_t buf;

    for (p = class->one_of; *p != NULL; p++) {
        if (cx_json_get(json, *p) != NULL) {
            return NULL;
        }
    }

    if (p == class->one_of) {
        return NULL;
    }

    cx_buf_init(&buf, ctx);
    cx_buf_puts(&buf, "it must have one of");

    for (p = class->one_of; *p != NULL; p++) {
        cx_buf_puts(&buf, p == class->one_of ? " " : ", ");
        cx_buf_puts(&buf, *p);
    }

    cx_buf_putc(&buf, '.');

    return refuse(ctx, path, buf.data);
}


static const char *
check_object(TALLOC_CTX *ctx, const cx_json_t *json, const cx_class_t *class,
             const path_t *path)
{
    const cx_property_t *property;
    const cx_json_t *member;
    const char *why;
    path_t below;

    if (json->type != CX_JSON_OBJECT) {
        return refuse(ctx, path, "it must be an object.");
    }

    below.up = path;
    below.name = "@type";
    member = cx_json_get(json, "@type");

    if (member != NULL
        && (member->type != CX_JSON_STRING
            || strcmp(member->text, class->name) != 0)) {
        return refuse(ctx, &below,
                      talloc_asprintf(ctx, "it must be \"%s\".", class->name));
    }

    for (property = class->properties; property->kind != CX_END; property++) {
        below.name = property->name;
        member = cx_json_get(json, property->name);

        if (member == NULL) {
            if (property->required) {
                return refuse(ctx, &below, "it is missing.");
            }

            continue;
        }

        why = check_property(ctx, member, property, &below);

        if (why != NULL) {
            return why;
        }
    }

    return check_one_of(ctx, json, class, path);
}


/* A version 4 UUID as a URN (RFC 9562). */
static bool
draw_uid(cx_json_t *card)
{
    unsigned char b[16];
    char text[48];

    if (RAND_bytes(b, sizeof(b)) != 1) {
        return false;
    }

    b[6] = (unsigned char) ((b[6] & 0x0F) | 0x40);
    b[8] = (unsigned char) ((b[8] & 0x3F) | 0x80);
    snprintf(text, sizeof(text),
             "urn:uuid:%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-"
             "%02x%02x%02x%02x%02x%02x",
             b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10],
             b[11], b[12], b[13], b[14], b[15]);
    cx_json_put(card, "uid", cx_json_string(card, text));

    return true;
}


const char *
cx_jscontact_check(TALLOC_CTX *ctx, cx_json_t *card)
{
    static const path_t version_path = { NULL, "version", 0 };
    static const path_t uid_path = { NULL, "uid", 0 };
    const cx_json_t *member;
    const char *why;
    size_t len;

    if (card == NULL || card->type != CX_JSON_OBJECT) {
        return "A card must be a JSON object.";
    }

    why = check_limits(ctx, card, NULL, 1);
    why = why != NULL ? why : check_object(ctx, card, &cx_card_class, NULL);

    if (why != NULL) {
        return why;
    }

    member = cx_json_get(card, "version");

    if (member != NULL
        && (member->type != CX_JSON_STRING
            || strcmp(member->text, "1.0") != 0)) {
        return refuse(ctx, &version_path, "it must be \"1.0\".");
    }

    member = cx_json_get(card, "uid");

    if (member != NULL && member->len == 0) {
        return refuse(ctx, &uid_path, "it must not be empty.");
    }

    talloc_free(cx_json_write(ctx, card, &len));

    if (len > CX_CARD_BYTES_MAX) {
        return "The card is too large.";
    }

    if (cx_json_get(card, "@type") == NULL) {
        cx_json_put(card, "@type", cx_json_string(card, "Card"));
    }

    if (cx_json_get(card, "version") == NULL) {
        cx_json_put(card, "version", cx_json_string(card, "1.0"));
    }

    if (member == NULL && !draw_uid(card)) {
        return "There is no randomness for a uid.";
    }

    return NULL;
}
