#include "media_take.h"

#include <string.h>

#include "media_type.h"


static const char no_reason[] = "This is no picture.";


static bool
may_be_picture(cx_request_t *r, const char *what)
{
    if (r->body_len == 0) {
        cx_problem(r, 422, "empty", "The body is the %s itself.", what);
        return false;
    }

    if (!cx_is_picture_type(r->type)) {
        cx_problem(r, 415, "unsupported_type",
                   "A picture is JPEG, PNG, WebP, HEIC or AVIF.");
        return false;
    }

    return true;
}


static char *
socket_of(cx_request_t *r)
{
    return cx_must(
        talloc_asprintf(r, "%s/picture.sock", r->api->settings->run_dir));
}


static bool
is_taken(cx_request_t *r, cx_picture_rc_t rc, const char *why)
{
    if (rc == CX_PICTURE_AWAY) {
        cx_problem_away(r, 2, "Pictures can't be taken now; try again.");

    } else if (rc != CX_PICTURE_OK) {
        cx_problem(r, 422, "invalid_picture", "%s", why);
    }

    return rc == CX_PICTURE_OK;
}


bool
cx_take_picture(cx_request_t *r, const char *what, cx_picture_t *picture)
{
    const char *why = no_reason;
    cx_picture_rc_t rc;

    memset(picture, 0, sizeof(*picture));

    if (!may_be_picture(r, what)) {
        return false;
    }

    rc = cx_picture_normalise(r, socket_of(r), (const unsigned char *) r->body,
                              r->body_len, picture, &why);

    return is_taken(r, rc, why);
}


bool
cx_take_thumbnail(cx_request_t *r, cx_blob_t *webp)
{
    const char *why = no_reason;
    cx_picture_rc_t rc;

    memset(webp, 0, sizeof(*webp));

    if (!may_be_picture(r, "picture")) {
        return false;
    }

    rc = cx_picture_thumbnail(r, socket_of(r), (const unsigned char *) r->body,
                              r->body_len, webp, &why);

    return is_taken(r, rc, why);
}
