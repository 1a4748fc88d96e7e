/* Keys, with which a card is fetched: A2, A3, A5. */

#include "request.h"

#include <stdlib.h>
#include <string.h>

#include "cx_jscontact.h"
#include "keys.sql.h"
#include "qr_code.h"

#define KEYS_MAX 1000 /* live ones of one card */
#define KEYS_PAGE 100
#define TTL_DEFAULT 600
#define TTL_MAX 31536000

typedef struct {
    const char *card_id;
    unsigned char hash[CX_SECRET_LEN];
    int64_t expires;
    char view[CX_VIEW_LEN + 1];
} drawn_t;


static void
project(cx_request_t *r, void *data)
{
    drawn_t *drawn = data;

    cx_project_key(&r->api->projector, drawn->card_id, drawn->hash,
                   drawn->expires, drawn->view);
}


/* The code leads to the short address, all in upper case: characters of the
 * alphanumeric mode make it smaller.  Scheme and host know no case (RFC 3986,
 * 6.2.2.1), and the path has nothing else. */
static char *
qr_svg(cx_request_t *r, const char *key)
{
    char *address;

    address = talloc_asprintf(r, "%s/Q/%s", r->api->settings->public_url, key);

    return cx_qr_svg(r, address, strlen(address), true);
}


static void
put_text(cx_json_t *json, const char *name, const char *text)
{
    cx_json_put(json, name,
                text != NULL ? cx_json_string(json, text) : cx_json_null(json));
}


static void
answer_drawn(cx_request_t *r, const PGresult *result, const char *key,
             const char *svg)
{
    cx_json_t *json;

    json = cx_json_object(r);
    put_text(json, "key_id", cx_pg_text(result, 0, 0));
    put_text(json, "key", key);
    put_text(json, "drawn_at", cx_pg_text(result, 0, 1));
    put_text(json, "expires_at", cx_pg_text(result, 0, 2));
    put_text(json, "card_id", r->params[0]);
    put_text(json, "thumbnail", cx_pg_text(result, 0, 4));
    put_text(json, "link",
             talloc_asprintf(json, "/c/%s?k=%s", r->params[0], key));
    put_text(json, "url", talloc_asprintf(json, "/q/%s", key));
    put_text(json, "qr_svg", svg);

    cx_answer_json(r, 201, json);
}


/* Draws a key.  Only its hash is kept; it is told this once. */
static void
post_key(cx_request_t *r)
{
    int64_t ttl;
    char key[CX_KEY_LEN + 1];
    char *key_id, *thumbnail_id, *svg, **fields;
    drawn_t *drawn;
    PGresult *result;

    if (!cx_body_integer(r, "ttl", 1, TTL_MAX, TTL_DEFAULT, &ttl)
        || !cx_take_fields(r, cx_json_get(r->json, "fields"), &fields)) {
        return;
    }

    drawn = talloc_zero(r, drawn_t);
    drawn->card_id = r->params[0];
    cx_view_name(fields, drawn->view);

    key_id = cx_new_id(r, CX_ID_KEY);
    thumbnail_id = cx_new_id(r, CX_ID_THUMBNAIL);

    if (key_id == NULL || thumbnail_id == NULL) {
        return;
    }

    if (cx_card_key_new(key, drawn->hash) != 0
        || (svg = qr_svg(r, key)) == NULL) {
        cx_try_again(r);
        return;
    }

    if (!cx_query(r, &result, &SQL_KEY_INSERT, drawn->card_id, key_id,
                  cx_pg_bytea(r, drawn->hash, sizeof(drawn->hash)),
                  talloc_asprintf(r, "%lld", (long long) ttl),
                  cx_pg_array(r, fields), drawn->view, thumbnail_id,
                  talloc_asprintf(r, "%d", KEYS_MAX))) {
        return;
    }

    if (PQntuples(result) == 0) {
        cx_problem_no_such(r, "card");
        return;
    }

    if (cx_pg_text(result, 0, 0) == NULL) {
        cx_problem(r, 409, "too_many_keys",
                   "A card has at most %d keys that are in force; revoke some.",
                   KEYS_MAX);
        return;
    }

    drawn->expires = cx_pg_integer(result, 0, 3);
    answer_drawn(r, result, key, svg);

    cx_after(r, project, drawn);

    if (cx_pg_true(result, 0, 5)) {
        cx_wake(r, "media");
    }
}


static void
get_keys(cx_request_t *r)
{
    int limit;
    const char *cursor;
    PGresult *result;

    if (!cx_page(r, KEYS_PAGE, CX_ID_KEY, &limit, &cursor)
        || !cx_query(r, &result, &SQL_KEY_LIST, r->params[0],
                     talloc_asprintf(r, "%d", limit), cursor)) {
        return;
    }

    if (PQntuples(result) == 0) {
        cx_problem_no_such(r, "card");
        return;
    }

    cx_answer_text(r, 200, cx_pg_text(result, 0, 0));
}


static void
deny(cx_request_t *r, void *data)
{
    bool in_force;
    cx_projector_t *p = &r->api->projector;

    cx_projector_hold(p);
    in_force = cx_deny_key(p, r->params[0], data);

    if (!cx_tell_release(r) || !in_force) {
        cx_problem_not_yet(r);
    }
}


/* In force when 204 is answered, and again when the call is repeated. */
static void
delete_key(cx_request_t *r)
{
    size_t len;
    PGresult *result;
    const char *grants;
    unsigned char *hash;

    grants = cx_argument(r, "grants");

    if (grants != NULL && strcmp(grants, "true") != 0
        && strcmp(grants, "false") != 0) {
        cx_problem(r, 422, "invalid_grants", "`grants` is true or false.");
        return;
    }

    /* who saves the card with it at this moment has done so by then, and what
     * that made can be seen */
    if (!cx_begin(r)
        || !cx_query(r, &result, &SQL_KEY_LOCK, r->params[0], r->params[1])
        || !cx_query(r, &result, &SQL_KEY_REVOKE, r->params[0], r->params[1],
                     grants != NULL ? grants : "false")) {
        return;
    }

    if (PQntuples(result) == 0) {
        cx_problem_no_such(r, "key");
        return;
    }

    hash = cx_pg_bytes(r, result, 0, 0, &len);

    if (hash == NULL || len != CX_SECRET_LEN) {
        cx_try_again(r);
        return;
    }

    (void) cx_doubt_key(&r->api->projector, r->params[0], hash);

    cx_answer_empty(r, 204);
    cx_after(r, deny, hash);
}


const cx_route_t cx_routes_keys[] = {
    { "POST", "/v1/cards/{c}/keys", post_key, CX_JSON_BODY, 0 },
    { "GET", "/v1/cards/{c}/keys", get_keys, 0, 0 },
    { "DELETE", "/v1/cards/{c}/keys/{k}", delete_key, 0, 0 },
    { NULL, NULL, NULL, 0, 0 }
};
