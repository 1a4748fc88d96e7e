/* A contact as it is answered: its envelope, and the tag of that. */

#include "contact_book.h"

#include <stdlib.h>
#include <string.h>

#include "cx_buf.h"
#include "cx_jscontact.h"


static void
put_medium(cx_json_t *media, const cx_contact_t *c, const cx_json_t *medium)
{
    cx_json_t *entry;

    entry = cx_json_put(media, medium->name, cx_json_object(media));
    cx_json_put(
        entry, "address",
        cx_json_string(entry, talloc_asprintf(entry, "/v1/contacts/%s/media/%s",
                                              c->contact_id, medium->name)));
    cx_json_put(entry, "type",
                cx_json_string(entry, cx_json_text(medium, "type")));
    cx_json_put(entry, "bytes",
                cx_json_copy(entry, cx_json_get(medium, "bytes")));
}


/* The holder's own come before the card's. */
static cx_json_t *
all_media(TALLOC_CTX *ctx, const cx_contact_t *c)
{
    size_t i;
    cx_json_t *media;

    media = cx_json_object(ctx);

    for (i = 0; c->live_media != NULL && i < c->live_media->n; i++) {
        put_medium(media, c, c->live_media->items[i]);
    }

    for (i = 0; c->media != NULL && i < c->media->n; i++) {
        put_medium(media, c, c->media->items[i]);
    }

    return media;
}


static void
put_copy(cx_json_t *json, const char *name, const cx_json_t *value,
         cx_json_t *absent)
{
    cx_json_put(json, name, value != NULL ? cx_json_copy(json, value) : absent);
}


static bool
is_drawn(const cx_contact_t *c)
{
    return c->thumbnail != NULL && c->thumbnail[0] != '\0';
}


cx_json_t *
cx_book_envelope(TALLOC_CTX *ctx, const cx_contact_t *c)
{
    int64_t revision;
    cx_json_t *json, *owner;

    json = cx_json_object(ctx);
    revision = strtoll(c->revision, NULL, 10);
    cx_json_put(json, "contact_id", cx_json_string(json, c->contact_id));
    cx_json_put(json, "revision", cx_json_integer(json, revision));

    if (c->deleted_at != NULL) {
        cx_json_put(json, "deleted_at", cx_json_string(json, c->deleted_at));
    }

    if (c->live != NULL) {
        owner = cx_json_put(json, "owner", cx_json_object(json));
        cx_json_put(owner, "user_id", cx_json_string(owner, c->owner_id));
        cx_json_put(owner, "nickname",
                    c->nickname != NULL ? cx_json_string(owner, c->nickname)
                                        : cx_json_null(owner));
        cx_json_put(json, "card_id", cx_json_string(json, c->card_id));
        cx_json_put(json, "live", cx_json_copy(json, c->live));
        cx_json_put(json, "thumbnail",
                    is_drawn(c) ? cx_json_string(json, c->thumbnail)
                                : cx_json_null(json));
    }

    cx_json_put(json, "own", cx_json_copy(json, c->own));
    cx_json_put(json, "card", cx_json_copy(json, c->card));
    put_copy(json, "note", cx_json_get(c->layer, "note"), cx_json_null(json));
    put_copy(json, "tags", cx_json_get(c->layer, "tags"), cx_json_array(json));
    put_copy(json, "pinned", cx_json_get(c->layer, "pinned"),
             cx_json_array(json));
    cx_json_put(json, "media", all_media(json, c));

    return json;
}


/* drawn: a letter says that the thumbnail is there, as for a card. */
static char *
etag_of(TALLOC_CTX *ctx, const cx_contact_t *c, bool drawn)
{
    char view[CX_VIEW_LEN + 1];

    if (c->live == NULL) {
        return cx_must(talloc_asprintf(ctx, "\"%s\"", c->revision));
    }

    cx_view_name(c->fields, view);

    return cx_must(talloc_asprintf(ctx, "\"%s-%s-%s%s\"", c->revision,
                                   c->card_revision, view, drawn ? "t" : ""));
}


char *
cx_book_etag(TALLOC_CTX *ctx, const cx_contact_t *c)
{
    return etag_of(ctx, c, is_drawn(c));
}


bool
cx_book_if_match(cx_request_t *r, const cx_contact_t *c)
{
    if (cx_if_match(r, etag_of(r, c, true), etag_of(r, c, false))) {
        return true;
    }

    cx_problem(r, 412, "version_conflict",
               "The contact has changed: its ETag is %s now.",
               cx_book_etag(r, c));

    return false;
}
