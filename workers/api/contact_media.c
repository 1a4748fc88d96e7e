/* Media of a contact: what the live card shows, and the holder's own photo,
 * sealed like all of the holder's layer (A7, F4). */

#include "contact_book.h"

#include <string.h>

#include "contact_media.h"
#include "contact_media.sql.h"
#include "cx_buf.h"
#include "media_room.h"
#include "media_serve.h"
#include "media_take.h"


static const char *
kind_of(const cx_request_t *r)
{
    return strrchr(r->route->pattern, '/') + 1;
}


unsigned char *
cx_contact_medium_read(cx_book_t *book, TALLOC_CTX *ctx, const char *contact_id,
                       const char *kind, const char **type,
                       const char **media_id, size_t *len)
{
    PGresult *rows;
    unsigned char *bytes;

    *len = 0;

    if (!cx_query(book->r, &rows, &SQL_CONTACT_MEDIUM_OWN, contact_id, kind)) {
        return NULL;
    }

    if (PQntuples(rows) == 0) {
        return cx_must(talloc_zero(ctx, unsigned char));
    }

    *media_id = talloc_strdup(ctx, cx_pg_text(rows, 0, 0));
    *type = talloc_strdup(ctx, cx_pg_text(rows, 0, 1));
    bytes = cx_book_open_bytes(
        book, ctx, cx_must(talloc_asprintf(ctx, "media %s", *media_id)), rows,
        0, 2, len);

    if (bytes == NULL) {
        cx_alert("medium %s can't be opened", *media_id);
        cx_try_again(book->r);
    }

    return bytes;
}


bool
cx_contact_thumbnail_ask(cx_book_t *book, const cx_contact_t *c)
{
    char *thumbnail_id;
    PGresult *result;
    cx_request_t *r = book->r;

    if (c->live == NULL || c->thumbnail != NULL) {
        return true;
    }

    thumbnail_id = cx_new_id(r, CX_ID_THUMBNAIL);

    if (thumbnail_id == NULL
        || !cx_query(r, &result, &SQL_CONTACT_THUMBNAIL, c->contact_id,
                     thumbnail_id)) {
        return false;
    }

    cx_wake(r, "media");

    return true;
}


bool
cx_contact_medium_write(cx_book_t *book, const char *contact_id,
                        const char *kind, const char *type, const void *bytes,
                        size_t len)
{
    PGresult *result;
    char *media_id, *sealed;
    cx_request_t *r = book->r;

    media_id = cx_new_id(r, CX_ID_MEDIA);

    if (media_id == NULL) {
        return false;
    }

    sealed = cx_book_seal_bytes(book, talloc_asprintf(r, "media %s", media_id),
                                bytes, len);

    return sealed != NULL
           && cx_query(r, &result, &SQL_CONTACT_MEDIUM_DROP, contact_id, kind)
           && cx_query(r, &result, &SQL_CONTACT_MEDIUM_INSERT, media_id,
                       contact_id, kind, type, talloc_asprintf(r, "%zu", len),
                       sealed);
}


static void
get_medium(cx_request_t *r)
{
    size_t len;
    cx_book_t *book;
    PGresult *rows;
    unsigned char *bytes;
    cx_media_part_t part;
    const char *type, *media_id;

    if (!cx_query(r, &rows, &SQL_CONTACT_THERE, r->params[0])) {
        return;
    }

    if (PQntuples(rows) == 0) {
        cx_problem_no_such(r, "contact");
        return;
    }

    book = cx_book_open(r);

    if (book == NULL) {
        return;
    }

    bytes = cx_contact_medium_read(book, r, r->params[0], kind_of(r), &type,
                                   &media_id, &len);

    if (bytes == NULL) {
        return;
    }

    cx_answer_header(r, "Cache-Control", "private, no-cache");

    if (len > 0) {
        if (cx_media_begin(r, media_id, len, &part)) {
            cx_media_send(r, &part, type, bytes + part.first);
        }

        return;
    }

    if (!cx_query(r, &rows, &SQL_CONTACT_MEDIUM, r->params[0], kind_of(r))) {
        return;
    }

    if (PQntuples(rows) == 0) {
        cx_problem(r, 404, "not_found", "The contact has no %s.", kind_of(r));
        return;
    }

    cx_serve_media(r, cx_pg_text(rows, 0, 0), cx_pg_text(rows, 0, 1),
                   cx_pg_integer(rows, 0, 2));
}


static cx_json_t *
photo_change(cx_request_t *r, const cx_contact_t *c, const cx_picture_t *new)
{
    cx_json_t *changes, *change;
    const cx_json_t *old;

    changes = cx_json_array(r);
    change = cx_json_append(changes, cx_json_object(changes));
    old = cx_json_get(c->media, "photo");
    cx_json_put(change, "path", cx_json_string(change, "photo"));

    if (old != NULL) {
        cx_json_put(change, "old",
                    cx_json_string(change, cx_json_text(old, "type")));
    }

    if (new != NULL) {
        cx_json_put(change, "new", cx_json_string(change, new->type));
    }

    return changes;
}


static void
put_photo(cx_request_t *r)
{
    cx_contact_t c;
    cx_book_t *book;
    PGresult *result;
    cx_picture_t picture;

    book = cx_book_open(r);

    if (book == NULL || !cx_book_get(book, r->params[0], &c)
        || !cx_take_picture(r, "photo", &picture)
        || !cx_media_room(r, picture.picture.len)
        || !cx_book_lock(book, r->params[0], &c)) {
        return;
    }

    if (c.deleted) {
        cx_problem_no_such(r, "contact");
        return;
    }

    if (!cx_contact_medium_write(book, c.contact_id, "photo", picture.type,
                                 picture.picture.bytes, picture.picture.len)
        || !cx_query(r, &result, &SQL_CONTACT_TOUCH, c.contact_id)
        || !cx_book_note(book, c.contact_id, "edited",
                         photo_change(r, &c, &picture), NULL)) {
        return;
    }

    cx_book_answer(book, cx_json_get(c.media, "photo") != NULL ? 200 : 201,
                   r->params[0]);
}


/* The card's own photo shows again, if there is one. */
static void
delete_photo(cx_request_t *r)
{
    cx_contact_t c;
    cx_book_t *book;
    PGresult *result;

    book = cx_book_open(r);

    if (book == NULL || !cx_book_lock(book, r->params[0], &c)) {
        return;
    }

    if (c.deleted) {
        cx_problem_no_such(r, "contact");
        return;
    }

    if (cx_json_get(c.media, "photo") != NULL
        && (!cx_query(r, &result, &SQL_CONTACT_MEDIUM_DROP, c.contact_id,
                      "photo")
            || !cx_query(r, &result, &SQL_CONTACT_TOUCH, c.contact_id)
            || !cx_book_note(book, c.contact_id, "edited",
                             photo_change(r, &c, NULL), NULL))) {
        return;
    }

    cx_answer_empty(r, 204);
}


const cx_route_t cx_routes_contact_media[] = {
    { "GET", "/v1/contacts/{o}/media/photo", get_medium, 0, 0 },
    { "GET", "/v1/contacts/{o}/media/logo", get_medium, 0, 0 },
    { "GET", "/v1/contacts/{o}/media/sound", get_medium, 0, 0 },
    { "GET", "/v1/contacts/{o}/media/video", get_medium, 0, 0 },
    { "PUT", "/v1/contacts/{o}/media/photo", put_photo, CX_RAW_BODY,
      CX_PICTURE_BYTES_MAX },
    { "DELETE", "/v1/contacts/{o}/media/photo", delete_photo, 0, 0 },
    { NULL, NULL, NULL, 0, 0 }
};
