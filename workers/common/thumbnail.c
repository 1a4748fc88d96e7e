#include "thumbnail.h"

#include <string.h>

#include "cx_jscontact.h"
#include "log.h"
#include "media/picture.h"
#include "thumbnail.sql.h"


/* A picture of the card, if it has one and it may show.  False: PostgreSQL
 * is away. */
static bool
read_picture(cx_projector_t *p, TALLOC_CTX *ctx, const char *thumbnail_id,
             char *const *fields, const char *kind, cx_blob_t *blob)
{
    PGresult *row;

    if (!cx_fields_show(fields, kind)) {
        return true;
    }

    if (cx_pg_query(p->pg, ctx, &row, &SQL_THUMBNAIL_PICTURE, thumbnail_id,
                    kind)
        != CX_PG_OK) {
        return false;
    }

    if (cx_pg_text(row, 0, 0) != NULL) {
        blob->bytes = cx_pg_bytes(ctx, row, 0, 0, &blob->len);
    }

    return true;
}


static bool
draw(cx_projector_t *p, TALLOC_CTX *ctx, const char *thumbnail_id,
     const PGresult *source, cx_blob_t *webp)
{
    char **fields, *socket;
    const char *why, *text;
    cx_json_t *card;
    cx_summary_t summary;
    cx_thumbnail_t face;
    cx_picture_rc_t rc;

    memset(&face, 0, sizeof(face));
    why = "";

    text = cx_pg_text(source, 0, 0);
    card = cx_json_read(ctx, text, strlen(text), &why);
    text = cx_pg_text(source, 0, 1);

    if (card == NULL
        || cx_fields_read(ctx,
                          text != NULL
                              ? cx_json_read(ctx, text, strlen(text), &why)
                              : NULL,
                          &fields)
               != NULL) {
        cx_alert("thumbnail %s: its card can't be read", thumbnail_id);
        return false;
    }

    if (!read_picture(p, ctx, thumbnail_id, fields, "photo", &face.photo)
        || !read_picture(p, ctx, thumbnail_id, fields, "logo", &face.logo)) {
        return false;
    }

    cx_jscontact_summary(ctx, card, fields, &summary);
    face.name = summary.name;
    face.title = summary.title;
    face.organisation = summary.organisation;

    socket = talloc_asprintf(ctx, "%s/picture.sock", p->settings->run_dir);
    rc = cx_picture_draw(ctx, socket, &face, webp, &why);

    /* a picture that was taken once and is refused now must not keep the
     * thumbnail from being drawn for ever */
    if (rc == CX_PICTURE_REFUSED && face.photo.len + face.logo.len > 0) {
        cx_error("thumbnail %s: drawn without pictures: %s", thumbnail_id, why);
        memset(&face.photo, 0, sizeof(face.photo));
        memset(&face.logo, 0, sizeof(face.logo));
        rc = cx_picture_draw(ctx, socket, &face, webp, &why);
    }

    if (rc != CX_PICTURE_OK) {
        cx_warn("thumbnail %s: not drawn: %s", thumbnail_id, why);
    }

    return rc == CX_PICTURE_OK;
}


bool
cx_thumbnail_draw(cx_projector_t *p, TALLOC_CTX *ctx, const char *thumbnail_id,
                  unsigned char **webp, size_t *len)
{
    PGresult *row;
    cx_blob_t image;

    *webp = NULL;
    *len = 0;
    memset(&image, 0, sizeof(image));

    (void) cx_projector_epoch(p);

    if (cx_pg_query(p->pg, ctx, &row, &SQL_THUMBNAIL_SOURCE, thumbnail_id)
        != CX_PG_OK) {
        return false;
    }

    /* gone: the edge must not keep what it has of it */
    if (PQntuples(row) == 0) {
        return cx_deny_thumbnail(p, thumbnail_id);
    }

    if (cx_pg_text(row, 0, 2) != NULL) {
        image.bytes = cx_pg_bytes(ctx, row, 0, 2, &image.len);

    } else if (!draw(p, ctx, thumbnail_id, row, &image)) {
        return false;
    }

    if (cx_pg_query(p->pg, ctx, &row, &SQL_THUMBNAIL_STORE, thumbnail_id,
                    cx_pg_bytea(ctx, image.bytes, image.len))
        != CX_PG_OK) {
        return false;
    }

    /* gone while it was drawn */
    if (PQntuples(row) == 0 || cx_pg_text(row, 0, 0) == NULL) {
        return true;
    }

    *webp = cx_pg_bytes(ctx, row, 0, 0, len);
    cx_project_thumbnail(p, thumbnail_id, *webp, *len);

    return true;
}
