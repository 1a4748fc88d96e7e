/* /v1/push: where a terminal's browser wants to be told of changes (F9). */

#include "request.h"

#include <string.h>
#include <openssl/sha.h>

#include "push.sql.h"
#include "subscription.h"

#define MS_MAX 253402300799000 /* the last second of the year 9999 */


/* The key that a browser subscribes with (applicationServerKey). */
static void
get_key(cx_request_t *r)
{
    EVP_PKEY *key;
    cx_json_t *json;
    unsigned char point[CX_POINT_LEN];
    char text[CX_POINT_LEN * 4 / 3 + 4];

    key = cx_vapid_key(r->api->settings, point);

    if (key == NULL) {
        cx_try_again(r);
        return;
    }

    EVP_PKEY_free(key);
    (void) cx_base64url(point, sizeof(point), text);

    json = cx_json_object(r);
    cx_json_put(json, "key", cx_json_string(json, text));
    cx_answer_json(r, 200, json);
}


/* base64url of exactly `len` bytes, with or without padding. */
static bool
bytes_of(cx_request_t *r, const char *text, size_t len, unsigned char *out)
{
    size_t n;

    if (text == NULL) {
        return false;
    }

    n = strlen(text);

    while (n > 0 && text[n - 1] == '=') {
        n--;
    }

    /* so many characters are so many bytes, and no more is written */
    return n == (len * 4 + 2) / 3
           && cx_base64url_read(talloc_strndup(r, text, n), n, out)
                  == (int) len;
}


static bool
invalid(cx_request_t *r, const char *detail)
{
    cx_problem(r, 422, "invalid_subscription", "%s", detail);

    return false;
}


/* PushSubscription.toJSON(): {endpoint, expirationTime, keys}. */
static bool
read_subscription(cx_request_t *r, cx_subscription_t *subscription,
                  char **origin, const char **end)
{
    int64_t ms;
    const char *endpoint;
    const cx_json_t *keys, *expiration;

    if (!cx_body_text(r, "endpoint", CX_ENDPOINT_MAX, &endpoint)) {
        return false;
    }

    if (endpoint == NULL) {
        return invalid(r, "`endpoint` is missing.");
    }

    *origin = cx_push_origin(r, r->api->settings, endpoint);

    if (*origin == NULL) {
        return invalid(r, "`endpoint` must be an https address of a push "
                          "service that this server knows.");
    }

    keys = cx_json_get(r->json, "keys");

    if (!bytes_of(r, cx_json_text(keys, "p256dh"), CX_POINT_LEN,
                  subscription->point)
        || !cx_push_point_good(subscription->point)) {
        return invalid(r, "`keys.p256dh` must be a point of P-256, "
                          "uncompressed, in base64url.");
    }

    if (!bytes_of(r, cx_json_text(keys, "auth"), CX_PUSH_AUTH_LEN,
                  subscription->auth)) {
        return invalid(r, "`keys.auth` must be 16 bytes in base64url.");
    }

    expiration = cx_json_get(r->json, "expirationTime");
    *end = NULL;

    if (expiration != NULL && expiration->type != CX_JSON_NULL) {
        if (!cx_json_to_integer(expiration, &ms) || ms < 0 || ms > MS_MAX) {
            return invalid(r, "`expirationTime` must be null or a time in "
                              "milliseconds.");
        }

        *end = talloc_asprintf(r, "%lld", (long long) (ms / 1000));
    }

    strcpy(subscription->endpoint, endpoint);

    return true;
}


static void
post_subscription(cx_request_t *r)
{
    size_t len;
    PGresult *result;
    const char *end;
    char *id, *origin;
    unsigned char *sealed;
    cx_subscription_t *subscription;
    unsigned char hash[SHA256_DIGEST_LENGTH];

    subscription = talloc_zero(r, cx_subscription_t);

    if (!read_subscription(r, subscription, &origin, &end)
        || (id = cx_new_id(r, CX_ID_PUSH)) == NULL) {
        return;
    }

    sealed = cx_subscription_seal(r, r->api->settings, subscription, &len);

    if (sealed == NULL) {
        cx_try_again(r);
        return;
    }

    SHA256((const unsigned char *) subscription->endpoint,
           strlen(subscription->endpoint), hash);

    if (!cx_query(r, &result, &SQL_PUSH_SUBSCRIBE, id,
                  talloc_asprintf(r, "%u", r->terminal_id), origin,
                  cx_pg_bytea(r, hash, sizeof(hash)),
                  cx_pg_bytea(r, sealed, len), end)) {
        return;
    }

    if (PQntuples(result) == 0) {
        cx_problem(r, 401, "unauthorized", "This terminal was signed out.");
        return;
    }

    cx_answer_text(r, cx_pg_true(result, 0, 1) ? 201 : 200,
                   cx_pg_text(result, 0, 2));
}


static void
get_subscriptions(cx_request_t *r)
{
    PGresult *result;

    if (cx_query(r, &result, &SQL_PUSH_LIST)) {
        cx_answer_text(r, 200, cx_pg_text(result, 0, 0));
    }
}


static void
answer_deleted(cx_request_t *r, const PGresult *result)
{
    if (PQntuples(result) == 0) {
        cx_problem(r, 404, "not_found", "There is no such subscription.");
        return;
    }

    cx_answer_empty(r, 204);
}


static void
delete_subscription(cx_request_t *r)
{
    PGresult *result;

    if (cx_query(r, &result, &SQL_PUSH_DELETE, r->params[0])) {
        answer_deleted(r, result);
    }
}


/* That of the terminal which asks. */
static void
delete_own(cx_request_t *r)
{
    PGresult *result;

    if (cx_query(r, &result, &SQL_PUSH_DELETE_OWN,
                 talloc_asprintf(r, "%u", r->terminal_id))) {
        answer_deleted(r, result);
    }
}


const cx_route_t cx_routes_push[] = {
    { "GET", "/v1/push/key", get_key, 0, 0 },
    { "POST", "/v1/push/subscriptions", post_subscription, CX_JSON_BODY, 0 },
    { "GET", "/v1/push/subscriptions", get_subscriptions, 0, 0 },
    { "DELETE", "/v1/push/subscriptions", delete_own, 0, 0 },
    { "DELETE", "/v1/push/subscriptions/{w}", delete_subscription, 0, 0 },
    { NULL, NULL, NULL, 0, 0 }
};
