/* The offline code of F3: the vCard itself, for where there is no network. */

#include "request.h"

#include <stdlib.h>
#include <string.h>

#include "cx_buf.h"
#include "cx_jscontact.h"
#include "cx_jscontact_schema.h"
#include "cx_vcard.h"
#include "qr.sql.h"
#include "qr_code.h"

#define OFFLINE_MAX 1000 /* bytes: more is too fine for a camera to read */
#define PNG_SIZE 512     /* pixels, unless ?size= says otherwise */

/* A property of the card, and what leaving it out saves. */
typedef struct {
    const char *name;
    size_t bytes;
} saving_t;


/* ?fields=phones,emails/work: NULL-terminated and canonical, NULL for all.
 * False: answered. */
static bool
read_fields(cx_request_t *r, char ***fields)
{
    size_t len;
    const char *text;
    cx_json_t *list;

    text = cx_argument(r, "fields");
    list = NULL;

    if (text != NULL) {
        list = cx_json_array(r);

        for (; *text != '\0'; text += len + (text[len] == ',')) {
            len = strcspn(text, ",");
            cx_json_append(list, cx_json_string_n(r, text, len));
        }
    }

    return cx_take_fields(r, list, fields);
}


static size_t
vcard_length(TALLOC_CTX *ctx, const cx_json_t *card)
{
    size_t len;

    talloc_free(cx_vcard_write_short(ctx, card, &len));

    return len;
}


static int
by_bytes(const void *a, const void *b)
{
    const saving_t *one, *other;

    one = a;
    other = b;

    if (one->bytes != other->bytes) {
        return one->bytes > other->bytes ? -1 : 1;
    }

    return strcmp(one->name, other->name);
}


/* Whether a property may be written at all: each that is tried costs a card
 * written. */
static bool
is_known(const char *name)
{
    const cx_property_t *p;

    for (p = cx_card_class.properties; p->kind != CX_END; p++) {
        if (strcmp(p->name, name) == 0) {
            return true;
        }
    }

    return false;
}


/* Says which properties to leave out, the largest first, and all that could
 * be left out besides. */
static void
refuse(cx_request_t *r, const cx_json_t *card, size_t len)
{
    char *detail;
    size_t i, n, left;
    saving_t *savings;
    cx_json_t *fewer, *members, *properties, *leave_out, *entry;

    savings = talloc_array(r, saving_t, card->n + 1);
    n = 0;

    for (i = 0; i < card->n; i++) {
        if (!is_known(card->items[i]->name)) {
            continue;
        }

        fewer = cx_json_copy(r, card);
        cx_json_remove(fewer, card->items[i]->name);
        left = vcard_length(r, fewer);
        talloc_free(fewer);

        if (left < len && strcmp(card->items[i]->name, "name") != 0) {
            savings[n].name = card->items[i]->name;
            savings[n++].bytes = len - left;
        }
    }

    qsort(savings, n, sizeof(*savings), by_bytes);

    members = cx_json_object(r);
    leave_out = cx_json_put(members, "leave_out", cx_json_array(members));
    properties = cx_json_put(members, "properties", cx_json_array(members));
    cx_json_put(members, "bytes", cx_json_integer(members, (int64_t) len));
    cx_json_put(members, "bytes_max", cx_json_integer(members, OFFLINE_MAX));

    detail = talloc_asprintf(
        r, "The vCard has %zu bytes, a code takes %d. Leave out", len,
        OFFLINE_MAX);
    left = len;

    for (i = 0; i < n; i++) {
        entry = cx_json_append(properties, cx_json_object(properties));
        cx_json_put(entry, "name", cx_json_string(entry, savings[i].name));
        cx_json_put(entry, "bytes",
                    cx_json_integer(entry, (int64_t) savings[i].bytes));

        if (left > OFFLINE_MAX) {
            cx_json_append(leave_out,
                           cx_json_string(leave_out, savings[i].name));
            detail = talloc_asprintf_append(detail, "%s `%s` (%zu bytes)",
                                            i > 0 ? "," : "", savings[i].name,
                                            savings[i].bytes);
            left -= savings[i].bytes < left ? savings[i].bytes : left;
        }
    }

    if (left > OFFLINE_MAX) {
        detail = talloc_asprintf(
            r, "The name alone makes a vCard of more than %d bytes.",
            OFFLINE_MAX);

    } else {
        detail = talloc_asprintf_append(detail, ".");
    }

    cx_problem_with(r, 422, "too_large_for_code", detail, members);
}


/* The short vCard of what `fields` let show.  NULL: answered. */
static char *
offline_vcard(cx_request_t *r, size_t *len)
{
    char **fields, *vcard;
    const char *text, *why;
    PGresult *row;
    cx_json_t *card;

    if (!read_fields(r, &fields)
        || !cx_query(r, &row, &SQL_QR_CARD, r->params[0])) {
        return NULL;
    }

    if (PQntuples(row) == 0) {
        cx_problem_no_such(r, "card");
        return NULL;
    }

    text = cx_pg_text(row, 0, 0);
    card = cx_json_read(r, text, strlen(text), &why);

    if (card == NULL) {
        cx_alert("card %s can't be read: %s", r->params[0], why);
        cx_try_again(r);
        return NULL;
    }

    card = cx_jscontact_view(r, card, fields);
    vcard = cx_vcard_write_short(r, card, len);

    if (*len > OFFLINE_MAX) {
        refuse(r, card, *len);
        return NULL;
    }

    return vcard;
}


static void
qr_svg(cx_request_t *r)
{
    size_t len;
    char *vcard, *svg;

    vcard = offline_vcard(r, &len);

    if (vcard == NULL) {
        return;
    }

    svg = cx_must(cx_qr_svg(r, vcard, len, false));
    cx_answer_header(r, "Cache-Control", "private, no-cache");
    cx_answer_header(r, "Content-Security-Policy", "default-src 'none'");
    cx_answer(r, 200, "image/svg+xml", svg, strlen(svg));
}


static void
qr_png(cx_request_t *r)
{
    long size;
    char *vcard, *end;
    size_t len, png_len;
    const char *text;
    unsigned char *png;

    text = cx_argument(r, "size");
    size = PNG_SIZE;

    if (text != NULL) {
        size = strtol(text, &end, 10);

        if (*text == '\0' || *end != '\0' || size < CX_QR_SIZE_MIN
            || size > CX_QR_SIZE_MAX) {
            cx_problem(r, 422, "invalid_size",
                       "`size` is a number of pixels from %d to %d.",
                       CX_QR_SIZE_MIN, CX_QR_SIZE_MAX);
            return;
        }
    }

    vcard = offline_vcard(r, &len);

    if (vcard == NULL) {
        return;
    }

    png = cx_qr_png(r, vcard, len, (int) size, &png_len);

    if (png == NULL) {
        cx_problem(r, 422, "invalid_size",
                   "%ld pixels are too few for this code.", size);
        return;
    }

    cx_answer_header(r, "Cache-Control", "private, no-cache");
    cx_answer(r, 200, "image/png", png, png_len);
}


const cx_route_t cx_routes_qr[] = {
    { "GET", "/v1/cards/{c}/qr.svg", qr_svg, 0, 0 },
    { "GET", "/v1/cards/{c}/qr.png", qr_png, 0, 0 },
    { NULL, NULL, NULL, 0, 0 }
};
