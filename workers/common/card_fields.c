#include "card_fields.h"

#include <inttypes.h>
#include <string.h>

#include "card_body.h"
#include "cx_buf.h"
#include "cx_projection.h"
#include "log.h"

/* Bodies of one card, together: its owner may have drawn a thousand keys that
 * show different fields, and Redis does nothing else while it takes them.
 * Views beyond that are a worker's. */
#define BODIES_MAX 524288

typedef struct {
    TALLOC_CTX *ctx;
    const cx_settings_t *settings;
    const char *card_id;
    cx_json_t *card;
    cx_json_t *media;
    cx_card_fields_t *fields;
    size_t bodies; /* bytes */
} maker_t;


static char **
strings(TALLOC_CTX *ctx, const cx_json_t *list)
{
    size_t i;
    char **out;

    if (list == NULL || list->type != CX_JSON_ARRAY) {
        return NULL;
    }

    out = cx_must(talloc_zero_array(ctx, char *, list->n + 1));

    for (i = 0; i < list->n; i++) {
        out[i] = list->items[i]->text;
    }

    return out;
}


static void
add_shown(maker_t *m, const char *field, const char *value, size_t len)
{
    cx_card_fields_t *f = m->fields;

    f->shown =
        cx_must(talloc_realloc(m->ctx, f->shown, cx_shown_t, f->n_shown + 1));
    f->shown[f->n_shown++] = (cx_shown_t){ field, value, len };
}


static void
add_medium(maker_t *m, const char *view, const cx_json_t *medium)
{
    int64_t bytes;
    char *field, *value;

    if (!cx_json_to_integer(cx_json_get(medium, "bytes"), &bytes)) {
        return;
    }

    field = cx_must(
        talloc_asprintf(m->ctx, CX_FIELD_MEDIA "%s:%s", view, medium->name));
    value = cx_must(talloc_asprintf(m->ctx, "%s %" PRId64 " %s",
                                    cx_json_text(medium, "media_id"), bytes,
                                    cx_json_text(medium, "type")));
    add_shown(m, field, value, strlen(value));
}


/* Body and media of a view, unless another key has the same. */
static void
add_view(maker_t *m, const char *view, char *const *fields)
{
    size_t i, len;
    char *field, *body;

    if (m->bodies > BODIES_MAX) {
        return;
    }

    field = cx_must(talloc_asprintf(m->ctx, CX_FIELD_BODY "%s", view));

    for (i = 0; i < m->fields->n_shown; i++) {
        if (strcmp(m->fields->shown[i].field, field) == 0) {
            return;
        }
    }

    body = cx_json_write(m->ctx,
                         cx_card_body(m->ctx, m->settings, m->card_id, m->card,
                                      m->media, fields),
                         &len);
    add_shown(m, field, body, len);
    m->bodies += len;

    for (i = 0; i < m->media->n; i++) {
        if (cx_fields_show(fields, m->media->items[i]->name)) {
            add_medium(m, view, m->media->items[i]);
        }
    }
}


static void
make_key(TALLOC_CTX *ctx, const cx_json_t *json, cx_card_key_t *key)
{
    const char *hash = cx_json_text(json, "hash");

    if (!cx_json_to_integer(cx_json_get(json, "expires"), &key->expires)) {
        key->expires = 0;
    }

    key->field =
        cx_must(talloc_asprintf(ctx, CX_FIELD_KEY "%.*s", CX_HASH_NAME, hash));
    key->redirect = cx_must(
        talloc_asprintf(ctx, CX_REDIRECT_PREFIX "%.*s", CX_HASH_NAME, hash));
    key->verdict =
        key->expires == 0
            ? CX_GONE
            : cx_must(talloc_asprintf(ctx, "%" PRId64 " %s", key->expires,
                                      cx_json_text(json, "view")));
}


static cx_json_t *
json_at(TALLOC_CTX *ctx, const PGresult *rows, int row, int column)
{
    const char *why;

    return cx_json_read(ctx, PQgetvalue(rows, row, column),
                        (size_t) PQgetlength(rows, row, column), &why);
}


bool
cx_card_fields(TALLOC_CTX *ctx, const cx_settings_t *settings,
               const char *card_id, const PGresult *rows, int row,
               cx_card_fields_t *fields)
{
    size_t i;
    cx_json_t *keys;
    maker_t m = {
        .ctx = ctx, .settings = settings, .card_id = card_id, .fields = fields
    };

    m.card = json_at(ctx, rows, row, 2);
    m.media = json_at(ctx, rows, row, 3);
    keys = json_at(ctx, rows, row, 4);

    if (m.card == NULL || m.media == NULL || keys == NULL) {
        cx_alert("projection: card %s can't be read", card_id);
        return false;
    }

    fields->shown = NULL;
    fields->n_shown = 0;
    fields->n_keys = keys->n;
    fields->keys = cx_must(talloc_array(ctx, cx_card_key_t, keys->n));

    add_view(&m, "", NULL);

    for (i = 0; i < keys->n; i++) {
        add_view(&m, cx_json_text(keys->items[i], "view"),
                 strings(ctx, cx_json_get(keys->items[i], "fields")));
        make_key(ctx, keys->items[i], &fields->keys[i]);
    }

    return true;
}
