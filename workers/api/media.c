/* Pictures, sound and video of a card, as its owner sees them: A6. */

#include "request.h"

#include <string.h>

#include "card_change.h"
#include "media.sql.h"
#include "media_room.h"
#include "media_serve.h"
#include "media_take.h"
#include "media_type.h"

#define MEDIUM_MAX CX_PICTURE_BYTES_MAX
#define VIDEO_MAX 20971520

/* A medium as it is to be kept. */
typedef struct {
    const char *kind;
    const char *type;
    const unsigned char *bytes;
    size_t len;
    cx_blob_t vcard; /* of a picture */
} medium_t;


/* The kind is the last segment of the route's pattern. */
static const char *
kind_of(const cx_request_t *r)
{
    return strrchr(r->route->pattern, '/') + 1;
}


static bool
is_picture(const char *kind)
{
    return strcmp(kind, "photo") == 0 || strcmp(kind, "logo") == 0;
}


static bool
take_picture(cx_request_t *r, medium_t *medium)
{
    cx_picture_t picture;

    if (!cx_take_picture(r, medium->kind, &picture)) {
        return false;
    }

    medium->type = picture.type;
    medium->bytes = picture.picture.bytes;
    medium->len = picture.picture.len;
    medium->vcard = picture.vcard;

    return true;
}


/* What the body is, before anything is locked: decoding takes its time. */
static bool
take(cx_request_t *r, medium_t *medium)
{
    if (is_picture(medium->kind)) {
        return take_picture(r, medium);
    }

    if (r->body_len == 0) {
        cx_problem(r, 422, "empty", "The body is the %s itself.", medium->kind);
        return false;
    }

    medium->bytes = (const unsigned char *) r->body;
    medium->len = r->body_len;
    medium->type =
        cx_media_type(medium->kind, r->type, medium->bytes, medium->len);

    if (medium->type == NULL) {
        cx_problem(r, 415, "unsupported_type",
                   "%s: the type is not one that is taken here, or the bytes "
                   "are something else.",
                   medium->kind);
    }

    return medium->type != NULL;
}


/* Runs a statement whose last parameter is bytes.  False: answered. */
static bool
query_bytes(cx_request_t *r, const cx_statement_t *statement,
            const char **values, const void *bytes, size_t len)
{
    int lengths[8] = { 0 }, formats[8] = { 0 };
    int last = statement->n_params - 1;
    cx_pg_rc_t rc;
    PGresult *result;

    values[last] = len > 0 ? bytes : NULL;
    lengths[last] = (int) len;
    formats[last] = 1;
    rc = cx_pg_query_array(r->api->pg, r, &result, statement, values, lengths,
                           formats);

    if (rc != CX_PG_OK) {
        cx_problem_pg(r, rc);
    }

    return rc == CX_PG_OK;
}


static bool
insert(cx_request_t *r, const char *card_id, const medium_t *medium)
{
    size_t at;
    char *media_id;
    const char *values[6], *chunk[3];

    media_id = cx_new_id(r, CX_ID_MEDIA);
    if (media_id == NULL) {
        return false;
    }

    values[0] = media_id;
    values[1] = card_id;
    values[2] = medium->kind;
    values[3] = medium->type;
    values[4] = talloc_asprintf(r, "%zu", medium->len);

    if (!query_bytes(r, &SQL_MEDIUM_INSERT, values, medium->vcard.bytes,
                     medium->vcard.len)) {
        return false;
    }

    for (at = 0; at < medium->len; at += CX_CHUNK) {
        chunk[0] = media_id;
        chunk[1] = talloc_asprintf(r, "%zu", at / CX_CHUNK);

        if (!query_bytes(r, &SQL_CHUNK_INSERT, chunk, medium->bytes + at,
                         medium->len - at < CX_CHUNK ? medium->len - at
                                                     : CX_CHUNK)) {
            return false;
        }
    }

    return true;
}


/* 201, or 200 when it takes another's place.  Who is downloading the former
 * one can finish. */
static void
put_medium(cx_request_t *r)
{
    bool former;
    medium_t medium;
    PGresult *result;
    cx_change_t *change;

    if (!cx_query(r, &result, &SQL_MEDIUM_CARD, r->params[0])) {
        return;
    }

    if (PQntuples(result) == 0) {
        cx_problem_no_such(r, "card");
        return;
    }

    memset(&medium, 0, sizeof(medium));
    medium.kind = kind_of(r);

    if (!take(r, &medium) || !cx_media_room(r, medium.len)) {
        return;
    }

    change = cx_change_begin(r, r->params[0]);

    if (change == NULL
        || !cx_query(r, &result, &SQL_MEDIUM_REPLACE, change->card_id,
                     medium.kind)) {
        return;
    }

    former = PQntuples(result) > 0;
    change->narrower = former;
    change->picture = is_picture(medium.kind);
    change->forget = former && change->picture ? CX_FORGET_ALL : CX_FORGET_NONE;

    if (insert(r, change->card_id, &medium) && cx_change_touch(r, change)) {
        cx_change_end(r, change, former ? 200 : 201);
    }
}


static void
get_medium(cx_request_t *r)
{
    PGresult *result;

    if (!cx_query(r, &result, &SQL_MEDIUM_FIND, r->params[0], kind_of(r))) {
        return;
    }

    if (PQntuples(result) == 0) {
        cx_problem(r, 404, "not_found", "The card has no %s.", kind_of(r));
        return;
    }

    cx_answer_header(r, "Cache-Control", "private, no-cache");
    cx_serve_media(r, cx_pg_text(result, 0, 0), cx_pg_text(result, 0, 1),
                   cx_pg_integer(result, 0, 2));
}


/* Deleting what is not there confirms that it is gone everywhere. */
static void
delete_medium(cx_request_t *r)
{
    PGresult *result;
    cx_change_t *change;

    change = cx_change_begin(r, r->params[0]);

    if (change == NULL
        || !cx_query(r, &result, &SQL_MEDIUM_DROP, change->card_id,
                     kind_of(r))) {
        return;
    }

    change->narrower = true;

    if (PQntuples(result) > 0) {
        change->picture = is_picture(kind_of(r));
        change->forget = change->picture ? CX_FORGET_ALL : CX_FORGET_NONE;

        if (!cx_change_touch(r, change)) {
            return;
        }
    }

    cx_change_end(r, change, 204);
}


#define ROUTES(kind, max)                                                      \
    { "PUT", "/v1/cards/{c}/media/" kind, put_medium, CX_RAW_BODY, max },      \
        { "GET", "/v1/cards/{c}/media/" kind, get_medium, 0, 0 },              \
    {                                                                          \
        "DELETE", "/v1/cards/{c}/media/" kind, delete_medium, 0, 0             \
    }

const cx_route_t cx_routes_media[] = { ROUTES("photo", MEDIUM_MAX),
                                       ROUTES("logo", MEDIUM_MAX),
                                       ROUTES("sound", MEDIUM_MAX),
                                       ROUTES("video", VIDEO_MAX),
                                       { NULL, NULL, NULL, 0, 0 } };
