#include "card_body.h"

#include <stdio.h>

#include "cx_buf.h"

const char *const cx_media_kinds[CX_MEDIA_KINDS] = { "photo", "logo", "sound",
                                                     "video" };


/* The `media` object of a Card, made if `make` says so and it is not there;
 * else NULL. */
static cx_json_t *
media_object(cx_json_t *body, bool make)
{
    cx_json_t *object;

    object = cx_json_get(body, "media");

    if (object != NULL && object->type == CX_JSON_OBJECT) {
        return object;
    }

    return make ? cx_json_put(body, "media", cx_json_object(body)) : NULL;
}


/* A Media object (RFC 9553, 2.6.4). */
static cx_json_t *
media_entry(TALLOC_CTX *ctx, const cx_settings_t *settings, const char *card_id,
            const char *kind, const char *type)
{
    char *uri;
    cx_json_t *entry;

    uri =
        talloc_asprintf(ctx, "%s/c/%s/%s", settings->public_url, card_id, kind);

    entry = cx_json_object(ctx);
    cx_json_put(entry, "@type", cx_json_string(entry, "Media"));
    cx_json_put(entry, "kind", cx_json_string(entry, kind));
    cx_json_put(entry, "uri", cx_json_string(entry, uri));
    cx_json_put(entry, "mediaType", cx_json_string(entry, type));

    talloc_free(uri);

    return entry;
}


cx_json_t *
cx_card_body(TALLOC_CTX *ctx, const cx_settings_t *settings,
             const char *card_id, const cx_json_t *card, const cx_json_t *media,
             char *const *fields)
{
    char id[32];
    size_t i;
    const char *kind, *type;
    cx_json_t *body, *object;

    body = cx_jscontact_view(ctx, card, fields);

    for (i = 0; i < CX_MEDIA_KINDS; i++) {
        kind = cx_media_kinds[i];
        snprintf(id, sizeof(id), "cardx-%s", kind);
        type = cx_json_text(cx_json_get(media, kind), "type");

        if (type != NULL && cx_fields_show(fields, kind)) {
            cx_json_put(media_object(body, true), id,
                        media_entry(body, settings, card_id, kind, type));
            continue;
        }

        /* A card that was fetched and put back brings entries of ours along;
         * what they stand for may be gone, or not be shown. */
        object = media_object(body, false);

        if (object != NULL && cx_json_get(object, id) != NULL) {
            cx_json_remove(object, id);

            if (object->n == 0) {
                cx_json_remove(body, "media");
            }
        }
    }

    return body;
}


char *
cx_card_etag(TALLOC_CTX *ctx, const char *revision, const char *view,
             const char *suffix)
{
    return cx_must(talloc_asprintf(ctx, "\"%s-%s%s\"", revision, view, suffix));
}
