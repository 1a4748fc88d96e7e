#include "card_change.h"

#include <string.h>

#include "card_change.sql.h"


/* If-Match against a revision.  The envelope's ETag has a letter after the
 * revision once the thumbnail is drawn, and nginx makes a tag weak when it
 * compresses: neither is a change that a writer must know of. */
static bool
if_match(cx_request_t *r, const char *revision)
{
    if (cx_if_match(r, talloc_asprintf(r, "\"%s\"", revision),
                    talloc_asprintf(r, "\"%st\"", revision))) {
        return true;
    }

    cx_problem(r, 412, "version_conflict",
               "The card has changed: its revision is %s now.", revision);

    return false;
}


cx_change_t *
cx_change_new(cx_request_t *r, const char *card_id)
{
    cx_change_t *change;

    change = talloc_zero(r, cx_change_t);
    change->card_id = card_id;

    return change;
}


cx_change_t *
cx_change_begin_any(cx_request_t *r, const char *card_id)
{
    PGresult *result;
    cx_change_t *change;

    if (!cx_begin(r) || !cx_query(r, &result, &SQL_CARD_LOCK, card_id)) {
        return NULL;
    }

    if (PQntuples(result) == 0) {
        cx_problem_no_such(r, "card");
        return NULL;
    }

    change = cx_change_new(r, card_id);
    change->text = cx_pg_text(result, 0, 0);
    change->revision = cx_pg_text(result, 0, 1);
    change->deleted = cx_pg_true(result, 0, 2);

    if (!change->deleted && !if_match(r, change->revision)) {
        return NULL;
    }

    return change;
}


cx_change_t *
cx_change_begin(cx_request_t *r, const char *card_id)
{
    cx_change_t *change;

    change = cx_change_begin_any(r, card_id);

    if (change != NULL && change->deleted) {
        cx_problem_no_such(r, "card");
        return NULL;
    }

    return change;
}


bool
cx_change_touch(cx_request_t *r, cx_change_t *change)
{
    PGresult *result;

    return cx_query(r, &result, &SQL_CARD_TOUCH, change->card_id,
                    change->picture ? "true" : "false");
}


bool
cx_user_lock(cx_request_t *r, const char **own_card_id)
{
    PGresult *result;

    if (!cx_query(r, &result, &SQL_USER_LOCK)) {
        return false;
    }

    if (PQntuples(result) == 0) {
        cx_problem_gone(r);
        return false;
    }

    *own_card_id = cx_pg_text(result, 0, 0);

    return true;
}


void
cx_card_answer(cx_request_t *r, int status, const char *card_id)
{
    char *etag;
    PGresult *result;

    if (!cx_query(r, &result, &SQL_CARD_GET, card_id)) {
        return;
    }

    if (PQntuples(result) == 0) {
        cx_problem_no_such(r, "card");
        return;
    }

    /* drawing the thumbnail changes the envelope, not the revision */
    etag = talloc_asprintf(r, "\"%s%s\"", cx_pg_text(result, 0, 1),
                           cx_pg_true(result, 0, 2) ? "t" : "");
    cx_answer_header(r, "Cache-Control", "private, no-cache");

    if (strcmp(r->route->method, "GET") == 0 && cx_not_modified(r, etag)) {
        return;
    }

    cx_answer_etag(r, etag);
    cx_answer_text(r, status, cx_pg_text(result, 0, 0));
}


/* A thumbnails row for every view that somebody may see. */
static bool
renew_thumbnails(cx_request_t *r, cx_change_t *change)
{
    static const char *const forget[] = { "none", "whole", "all" };
    long long i, n;
    char **ids, *image;
    PGresult *result;

    if (!cx_query(r, &result, &SQL_CARD_VIEWS, change->card_id)) {
        return false;
    }

    n = cx_pg_integer(result, 0, 0);
    ids = talloc_zero_array(r, char *, (size_t) n + 1);

    for (i = 0; i < n; i++) {
        ids[i] = cx_new_id(r, CX_ID_THUMBNAIL);

        if (ids[i] == NULL) {
            return false;
        }
    }

    image = NULL;

    if (change->image != NULL) {
        image = cx_pg_bytea(r, change->image, change->image_len);
        change->image_id = ids[0];
    }

    return cx_query(r, &result, &SQL_THUMBNAILS_RENEW, change->card_id,
                    cx_pg_array(r, ids), forget[change->forget], image);
}


/* Forgets thumbnails everywhere, those too that an earlier change could not
 * get forgotten.  False: not confirmed. */
static bool
forget_thumbnails(cx_request_t *r, const char *card_id)
{
    int i, n;
    PGresult *result;
    cx_projector_t *p = &r->api->projector;

    if (cx_pg_query(r->api->pg, r, &result, &SQL_THUMBNAILS_GONE, card_id)
        != CX_PG_OK) {
        return false;
    }

    n = PQntuples(result);

    for (i = 0; i < n; i++) {
        if (!cx_deny_thumbnail(p, cx_pg_text(result, i, 0))) {
            return false;
        }
    }

    /* a failure here only means that they are forgotten once more */
    if (n > 0) {
        (void) cx_pg_query(r->api->pg, r, &result, &SQL_THUMBNAILS_FORGET,
                           card_id);
    }

    return true;
}


/* The redirects of a deleted card's keys lead nowhere; so they need no
 * confirmation. */
static void
deny_redirects(cx_request_t *r, const char *card_id)
{
    int i, n;
    size_t len;
    PGresult *result;
    unsigned char *hash;

    if (cx_pg_query(r->api->pg, r, &result, &SQL_CARD_KEYS_STANDING, card_id)
        != CX_PG_OK) {
        return;
    }

    n = PQntuples(result);

    for (i = 0; i < n; i++) {
        hash = cx_pg_bytes(r, result, i, 0, &len);

        if (len != CX_SECRET_LEN
            || !cx_deny_key(&r->api->projector, card_id, hash)) {
            return;
        }
    }
}


/* After the commit. */
static void
put_in_force(cx_request_t *r, void *data)
{
    bool in_force;
    cx_change_t *change = data;
    cx_projector_t *p = &r->api->projector;

    /* first, in the epoch from before the change: the card may be read and
     * written in a later one */
    if (change->image_id != NULL) {
        cx_project_thumbnail(p, change->image_id, change->image,
                             change->image_len);
    }

    cx_projector_hold(p);

    in_force = change->deleted
                   ? cx_deny_card(p, change->card_id)
                   : cx_renew_card(p, change->card_id, change->narrower);

    if (change->narrower && !forget_thumbnails(r, change->card_id)) {
        in_force = false;
    }

    if (change->deleted && in_force) {
        deny_redirects(r, change->card_id);
    }

    if (!cx_tell_release(r)) {
        in_force = false;
    }

    if (change->narrower && !in_force) {
        cx_problem_not_yet(r);
    }
}


void
cx_change_end(cx_request_t *r, cx_change_t *change, int status)
{
    if (change->picture && !renew_thumbnails(r, change)) {
        return;
    }

    if (status == 204) {
        cx_answer_empty(r, status);

    } else {
        cx_card_answer(r, status, change->card_id);
    }

    if (r->status >= 400) {
        return;
    }

    /* last before the commit: the edge asks a worker from here on; when that
     * can't be had, the change isn't confirmed afterwards either */
    if (change->narrower) {
        r->unkept = true;
        (void) cx_doubt_card(&r->api->projector, change->card_id);
    }

    cx_after(r, put_in_force, change);

    if (change->picture) {
        cx_wake(r, "media");
    }
}


bool
cx_change_erase(cx_request_t *r, cx_change_t *change)
{
    PGresult *result;

    if (!cx_query(r, &result, &SQL_CARD_ERASE, change->card_id)) {
        return false;
    }

    change->deleted = true;
    change->narrower = true;
    cx_change_end(r, change, 204);

    return r->status == 204;
}
