/*
 * A request and its answer, as handlers see them.
 *
 * The request is its own talloc context: all that a handler makes belongs to
 * it.  A handler reads, checks, runs a statement and answers exactly once,
 * by cx_answer...() or cx_problem(); the answer is sent after what the
 * handler did is committed.
 */

#ifndef CX_REQUEST_H
#define CX_REQUEST_H

#include <stdbool.h>
#include <stdint.h>
#include <talloc.h>

#include "cx_buf.h"
#include "cx_id.h"
#include "cx_json.h"
#include "log.h"
#include "pg.h"
#include "projection.h"
#include "settings.h"

#define CX_PARAMS_MAX 4

typedef struct {
    const cx_settings_t *settings;
    const char *pool; /* fast, slow, miss */
    cx_pg_t *pg;
    cx_projector_t projector;
} cx_api_t;

typedef struct cx_request_s cx_request_t;
typedef void (*cx_handler_t)(cx_request_t *r);

/* Adds the next part of an answer to `out`, whose ctx goes with the part;
 * nothing: that was all.  False: it can't go on. */
typedef bool (*cx_part_t)(cx_request_t *r, void *data, cx_buf_t *out);

typedef struct {
    const char *method;
    const char *pattern; /* "/v1/cards/{c}/keys/{k}": {c}: an id of that
                          * kind, else 404 not_found; {*}: anything */
    cx_handler_t handler;
    unsigned flags;
    size_t body_max; /* bytes; 0: CX_BODY_MAX */
} cx_route_t;

#define CX_BODY_MAX 131072
#define CX_ANONYMOUS 0x01  /* no access token is asked for */
#define CX_JSON_BODY 0x02  /* body must be JSON: r->json; an object */
#define CX_CARD_BODY 0x04  /* body is a Card: application/jscontact+json too */
#define CX_PATCH_BODY 0x08 /* application/merge-patch+json */
#define CX_RAW_BODY 0x10   /* bytes as they are: r->body, r->type */
#define CX_TICKET 0x20     /* ?ticket= may stand for the access token */

struct cx_request_s {
    cx_api_t *api;
    /* What rows belong to, and contacts that are read: the request, or what is
     * freed earlier where there are many of them. */
    TALLOC_CTX *scratch;

    const cx_route_t *route;
    char **environment; /* FastCGI parameters */

    const char *method;
    const char *path;                  /* as sent, no query */
    const char *query;                 /* raw, "" if none */
    const char *params[CX_PARAMS_MAX]; /* what the pattern's braces matched */
    const char *address;               /* of the client */
    const char *type; /* of the body: lower case, no parameters; or "" */
    const char *body;
    size_t body_len;
    cx_json_t *json;

    const char *user_id; /* NULL: anonymous */
    uint32_t terminal_id;
    int64_t token_expires; /* unix time, where a worker looked; else 0 */

    int status; /* of the answer; 0: none yet */
    char *headers;
    const char *answer_type;
    const char *answer;
    size_t answer_len;
    cx_part_t part; /* makes the answer instead, or NULL */
    void *part_data;

    /* What the answer shows; a repetition shows it as it is then. */
    const char *shown_contact;

    struct cx_after_s *after; /* first in, first called */
    bool told;                /* the edge, that the caller's log has grown */
    bool transaction;         /* the handler itself asked for one */
    bool unkept; /* what follows the commit may take its answer back, so it is
                  * not for Idempotency-Key to give again */
};

/* Reading. header: the HTTP header by its name ("If-Match"), NULL if absent or
 * empty; header_sent: the same, "" if empty.
 * argument: decoded value of a query argument, NULL if absent. */
const char *cx_header(const cx_request_t *r, const char *name);
const char *cx_header_sent(const cx_request_t *r, const char *name);
const char *cx_argument(cx_request_t *r, const char *name);

/* The token in `Authorization: Bearer`, NULL: there is none. */
const char *cx_bearer(const cx_request_t *r);

/* The language that Accept-Language prefers of those that are spoken here:
 * "zh", or "en", also if it wants neither. */
const char *cx_language(const cx_request_t *r);

/* ?limit= and ?cursor=, an id of this kind, or a number where `kind` is 0:
 * false and a 422 answer when they are no good.
 * The cursor is NULL at the start. */
bool cx_page(cx_request_t *r, int limit_max, cx_id_kind_t kind, int *limit,
             const char **cursor);

/* Whether the JSON body has no other members than these, a NULL after the
 * last.  False: answered 422 `code`. */
bool cx_body_only(cx_request_t *r, const char *const *names, const char *code,
                  const char *detail);

/* The JSON body's members.  text: a string of at most `max` bytes (and at
 * least 1); integer: within bounds.  Absent gives NULL or `absent`.  False:
 * wrong, and answered 422 invalid_<name>. */
bool cx_body_text(cx_request_t *r, const char *name, size_t max,
                  const char **text);
bool cx_body_integer(cx_request_t *r, const char *name, int64_t min,
                     int64_t max, int64_t absent, int64_t *number);
bool cx_body_boolean(cx_request_t *r, const char *name, bool absent,
                     bool *value);

/* A list of fields as clients send it, NULL for none: what cx_fields_read()
 * makes of it.  False: answered 422 invalid_fields. */
bool cx_take_fields(cx_request_t *r, const cx_json_t *list, char ***fields);

/* Answering.  Bytes must live as long as the request. */
void cx_answer(cx_request_t *r, int status, const char *type, const void *bytes,
               size_t len);
void cx_answer_json(cx_request_t *r, int status, const cx_json_t *json);
void cx_answer_text(cx_request_t *r, int status, const char *json_text);
void cx_answer_empty(cx_request_t *r, int status);
/* 200 with what is too long to be held at once.  The parts are made while it
 * is sent, when the handler is through; if one can't be, the connection is cut,
 * so that nobody takes a piece for the whole. */
void cx_answer_parts(cx_request_t *r, const char *type, cx_part_t part,
                     void *data);
void cx_problem(cx_request_t *r, int status, const char *code,
                const char *format, ...) __attribute__((format(printf, 4, 5)));
/* A problem with members of its own besides (RFC 9457, 3.2). */
void cx_problem_with(cx_request_t *r, int status, const char *code,
                     const char *detail, cx_json_t *members);
/* 503 with Retry-After for rc AWAY, 409 conflict, 422 otherwise. */
void cx_problem_pg(cx_request_t *r, cx_pg_rc_t rc);
/* 503 to be tried again, after some seconds; or after one, for whatever
 * reason. */
void cx_problem_away(cx_request_t *r, int seconds, const char *detail);
void cx_try_again(cx_request_t *r);
/* Committed, but not confirmed at every edge: 503 not_yet_in_force. */
void cx_problem_not_yet(cx_request_t *r);

/* 404: a card, a contact or a key is none of the user's. */
void cx_problem_no_such(cx_request_t *r, const char *what);

/* 401: the account was erased since its token was looked at. */
void cx_problem_gone(cx_request_t *r);
void cx_answer_header(cx_request_t *r, const char *name, const char *format,
                      ...) __attribute__((format(printf, 3, 4)));

/* The ETag header; not_modified: true and 304 if If-None-Match names it. */
void cx_answer_etag(cx_request_t *r, const char *etag);
bool cx_not_modified(cx_request_t *r, const char *etag);

/* False: there is an If-Match, and it names neither; an empty one names
 * nothing. */
bool cx_if_match(const cx_request_t *r, const char *etag, const char *other);

/* Runs the statement as the request's user; false: failed, and answered by
 * cx_problem_pg().  Where a conflict means something else use cx_pg_query()
 * of r->api->pg itself. */
bool cx_query(cx_request_t *r, PGresult **result,
              const cx_statement_t *statement, ...);

/* An explicit transaction for handlers of several statements: begin (false:
 * answered); it is committed when the handler has answered below 400, else
 * rolled back. */
bool cx_begin(cx_request_t *r);

/* Called after the commit (at once, if nothing is open), before the answer
 * is sent; may answer anew.  `data` belongs to the request. */
void cx_after(cx_request_t *r, void (*call)(cx_request_t *r, void *data),
              void *data);

/* After a commit: cx_projector_release() that tells caches also that the
 * caller's log has grown, at once and not once more before the answer. */
bool cx_tell_release(cx_request_t *r);

/* Pokes "deliver" or "media" after the commit; fanout is, after every call that
 * may have changed something, and needs it only where one is refused. */
void cx_wake(cx_request_t *r, const char *worker);

/* An id with its tag, owned by r; NULL: no randomness, answered 503. */
char *cx_new_id(cx_request_t *r, cx_id_kind_t kind);

/* Tables of routes, one per file of handlers; the router knows them all. */
extern const cx_route_t cx_routes_registrations[];
extern const cx_route_t cx_routes_sessions[];
extern const cx_route_t cx_routes_me[];
extern const cx_route_t cx_routes_cards[];
extern const cx_route_t cx_routes_keys[];
extern const cx_route_t cx_routes_media[];
extern const cx_route_t cx_routes_thumbnails[];
extern const cx_route_t cx_routes_qr[];
extern const cx_route_t cx_routes_fetch[];
extern const cx_route_t cx_routes_contacts[];
extern const cx_route_t cx_routes_contact_history[];
extern const cx_route_t cx_routes_contact_media[];
extern const cx_route_t cx_routes_contact_import[];
extern const cx_route_t cx_routes_contact_export[];
extern const cx_route_t cx_routes_holders[];
extern const cx_route_t cx_routes_ops[];
extern const cx_route_t cx_routes_push[];
extern const cx_route_t cx_routes_sms[];
extern const cx_route_t cx_routes_phone[];
extern const cx_route_t cx_routes_updates[];
extern const cx_route_t cx_routes_me_delete[];
extern const cx_route_t cx_routes_me_export[];

/* Whether somebody without an account asks for something that no route leads
 * to, as a damaged link does; and what refuses it. */
bool cx_fetch_address(const cx_request_t *r);
extern const cx_route_t cx_route_refused;

#endif
