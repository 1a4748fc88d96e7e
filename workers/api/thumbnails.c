/* The owner's own picture instead of the drawn thumbnail: A3, A4. */

#include "request.h"

#include "card_change.h"
#include "media_take.h"
#include "thumbnails.sql.h"


static void
put_thumbnail(cx_request_t *r)
{
    cx_blob_t webp;
    PGresult *result;
    cx_change_t *change;

    if (!cx_take_thumbnail(r, &webp)) {
        return;
    }

    change = cx_change_begin(r, r->params[0]);

    if (change == NULL
        || !cx_query(r, &result, &SQL_OWN_THUMBNAIL_PUT, change->card_id,
                     cx_pg_bytea(r, webp.bytes, webp.len))) {
        return;
    }

    /* a drawn one shows nothing that may not be seen; the owner's former
     * picture may */
    change->narrower = cx_pg_true(result, 0, 0);
    change->forget = change->narrower ? CX_FORGET_WHOLE : CX_FORGET_NONE;
    change->picture = true;
    change->image = webp.bytes;
    change->image_len = webp.len;

    if (cx_change_touch(r, change)) {
        cx_change_end(r, change, 200);
    }
}


/* Deleting what is not there confirms that it is gone everywhere. */
static void
delete_thumbnail(cx_request_t *r)
{
    PGresult *result;
    cx_change_t *change;

    change = cx_change_begin(r, r->params[0]);

    if (change == NULL
        || !cx_query(r, &result, &SQL_OWN_THUMBNAIL_DROP, change->card_id)) {
        return;
    }

    change->narrower = true;

    if (PQntuples(result) > 0) {
        change->picture = true;
        change->forget = CX_FORGET_WHOLE;

        if (!cx_change_touch(r, change)) {
            return;
        }
    }

    cx_change_end(r, change, 204);
}


const cx_route_t cx_routes_thumbnails[] = {
    { "PUT", "/v1/cards/{c}/thumbnail", put_thumbnail, CX_RAW_BODY,
      CX_PICTURE_BYTES_MAX },
    { "DELETE", "/v1/cards/{c}/thumbnail", delete_thumbnail, 0, 0 },
    { NULL, NULL, NULL, 0, 0 }
};
