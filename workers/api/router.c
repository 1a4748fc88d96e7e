#include "api.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "router.sql.h"


/* clang-format off */
static const cx_route_t *const tables[] = {
    cx_routes_fetch,
    cx_routes_cards,
    cx_routes_keys,
    cx_routes_media,
    cx_routes_me,
    cx_routes_qr,
    cx_routes_thumbnails,
    cx_routes_sessions,
    cx_routes_ops,
    cx_routes_registrations,
    cx_routes_push,
    cx_routes_phone,
    cx_routes_sms,
    cx_routes_updates,
    cx_routes_me_delete,
    cx_routes_me_export,
    cx_routes_contacts,
    cx_routes_contact_history,
    cx_routes_contact_media,
    cx_routes_contact_import,
    cx_routes_contact_export,
    cx_routes_holders,
};
/* clang-format on */


/* Matches one segment of the pattern, up to its next slash. */
static bool
segment_matches(cx_request_t *r, const char *pattern, size_t pattern_len,
                const char *segment, size_t len, int *n_params)
{
    char *value;

    if (pattern_len != 3 || pattern[0] != '{') {
        return pattern_len == len && memcmp(pattern, segment, len) == 0;
    }

    if (len == 0 || *n_params == CX_PARAMS_MAX
        || (pattern[1] != '*'
            && cx_id_check(&r->api->settings->id_key, (cx_id_kind_t) pattern[1],
                           segment, len)
                   != 0)) {
        return false;
    }

    value = cx_percent_decode(r, segment, len);

    if (value == NULL || strchr(value, '/') != NULL) {
        return false;
    }

    r->params[(*n_params)++] = value;

    return true;
}


static bool
matches(cx_request_t *r, const char *pattern)
{
    int n_params;
    size_t len, pattern_len;
    const char *path;

    n_params = 0;
    memset(r->params, 0, sizeof(r->params));

    for (path = r->path; *path == '/' && *pattern == '/';
         path += len, pattern += pattern_len) {
        path++;
        pattern++;
        len = strcspn(path, "/");
        pattern_len = strcspn(pattern, "/");

        if (!segment_matches(r, pattern, pattern_len, path, len, &n_params)) {
            return false;
        }
    }

    return *path == '\0' && *pattern == '\0';
}


static bool
same_method(const cx_request_t *r, const cx_route_t *route)
{
    return strcmp(r->method, route->method) == 0
           || (strcmp(r->method, "HEAD") == 0
               && strcmp(route->method, "GET") == 0);
}


void
cx_route(cx_request_t *r)
{
    size_t i;
    char *allow;
    const cx_route_t *route;

    allow = NULL;

    for (i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
        for (route = tables[i]; route->method != NULL; route++) {
            if (!matches(r, route->pattern)) {
                continue;
            }

            if (same_method(r, route)) {
                r->route = route;
                return;
            }

            allow = talloc_asprintf(r, "%s%s%s", allow != NULL ? allow : "",
                                    allow != NULL ? ", " : "", route->method);
        }
    }

    if (cx_fetch_address(r)) {
        r->route = &cx_route_refused;
        return;
    }

    if (allow != NULL) {
        cx_answer_header(r, "Allow", "%s", allow);
        cx_problem(r, 405, "method_not_allowed",
                   "This address takes other methods: %s.", allow);
        return;
    }

    cx_problem(r, 404, "not_found", "There is nothing at this address.");
}


static bool
refuse(cx_request_t *r)
{
    cx_answer_header(r, "WWW-Authenticate", "Bearer");
    cx_problem(r, 401, "unauthorized",
               "An access token is needed, and this is not a valid one.");

    return false;
}


const char *
cx_bearer(const cx_request_t *r)
{
    const char *header;

    header = cx_header(r, "Authorization");

    if (header == NULL || strncasecmp(header, "Bearer ", 7) != 0) {
        return NULL;
    }

    header += 7;

    return header + strspn(header, " ");
}


/* The token that is given, or that a ticket stands for. */
static bool
read_token(cx_request_t *r, cx_token_t *token)
{
    const char *text;
    const cx_id_key_t *key;

    key = &r->api->settings->id_key;
    text = r->route->flags & CX_TICKET ? cx_argument(r, "ticket") : NULL;

    if (text != NULL) {
        return cx_ticket_parse(key, text, strlen(text), token) == 0;
    }

    text = cx_bearer(r);

    return text != NULL
           && cx_token_parse(key, CX_TOKEN_ACCESS, text, strlen(text), token)
                  == 0;
}


/* nginx could not judge the token, or not lately: PostgreSQL can. */
static bool
check_token(cx_request_t *r, bool project)
{
    cx_pg_rc_t rc;
    cx_token_t *token;
    PGresult *result;

    token = talloc(r, cx_token_t);

    if (!read_token(r, token)) {
        return refuse(r);
    }

    cx_pg_user(r->api->pg, NULL);
    rc = cx_pg_query(r->api->pg, r, &result, &SQL_ACCESS_TOKEN_EXPIRES,
                     cx_pg_bytea(r, token->hash, sizeof(token->hash)));

    if (rc != CX_PG_OK) {
        cx_problem_pg(r, rc);
        return false;
    }

    if (cx_pg_text(result, 0, 0) == NULL) {
        return refuse(r);
    }

    r->token_expires = cx_pg_integer(result, 0, 0);

    if (project) {
        cx_project_token(&r->api->projector, token, r->token_expires);
    }

    r->user_id = token->user_id;
    r->terminal_id = token->terminal_id;

    return true;
}


/* nginx judges when it has read the head of a request.  A body may follow as
 * slowly as its sender likes: what was good then need not be so any more
 * (A8). */
static bool
has_body(const cx_request_t *r)
{
    const char *length;

    length = cx_parameter(r, "CONTENT_LENGTH");

    return length != NULL && strcmp(length, "0") != 0;
}


bool
cx_authenticate(cx_request_t *r)
{
    bool verified;
    const char *user_id, *terminal_id;

    if (!(r->route->flags & CX_ANONYMOUS)) {
        user_id = cx_parameter(r, "CARDX_USER_ID");
        terminal_id = cx_parameter(r, "CARDX_TERMINAL_ID");
        verified = user_id != NULL && terminal_id != NULL;

        if (verified && !has_body(r)) {
            r->user_id = user_id;
            r->terminal_id = (uint32_t) strtoul(terminal_id, NULL, 10);

        } else if (!check_token(r, !verified)) {
            return false;
        }
    }

    cx_pg_user(r->api->pg, r->user_id);

    return true;
}
