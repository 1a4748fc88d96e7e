#include "api.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cx_etag.h"
#include "process.h"


const char *
cx_reason(int status)
{
    switch (status) {
    case 200:
        return "OK";
    case 201:
        return "Created";
    case 202:
        return "Accepted";
    case 204:
        return "No Content";
    case 206:
        return "Partial Content";
    case 302:
        return "Found";
    case 304:
        return "Not Modified";
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 406:
        return "Not Acceptable";
    case 409:
        return "Conflict";
    case 410:
        return "Gone";
    case 412:
        return "Precondition Failed";
    case 413:
        return "Content Too Large";
    case 415:
        return "Unsupported Media Type";
    case 416:
        return "Range Not Satisfiable";
    case 422:
        return "Unprocessable Content";
    case 429:
        return "Too Many Requests";
    case 503:
        return "Service Unavailable";
    default:
        return "Error";
    }
}


void
cx_answer(cx_request_t *r, int status, const char *type, const void *bytes,
          size_t len)
{
    r->status = status;
    r->answer_type = type;
    r->answer = bytes;
    r->answer_len = len;
}


void
cx_answer_empty(cx_request_t *r, int status)
{
    cx_answer(r, status, NULL, "", 0);
}


void
cx_answer_parts(cx_request_t *r, const char *type, cx_part_t part, void *data)
{
    cx_answer(r, 200, type, "", 0);
    r->part = part;
    r->part_data = data;
}


void
cx_answer_text(cx_request_t *r, int status, const char *json_text)
{
    cx_answer(r, status, "application/json", json_text, strlen(json_text));
}


void
cx_answer_json(cx_request_t *r, int status, const cx_json_t *json)
{
    size_t len;
    char *text;

    text = cx_json_write(r, json, &len);
    cx_answer(r, status, "application/json", text, len);
}


void
cx_answer_header(cx_request_t *r, const char *name, const char *format, ...)
{
    char *p, *value;
    va_list ap;

    va_start(ap, format);
    value = talloc_vasprintf(r, format, ap);
    va_end(ap);

    /* no header may be split, whatever went into it */
    for (p = value; *p != '\0'; p++) {
        if (*p == '\r' || *p == '\n') {
            *p = ' ';
        }
    }

    r->headers = talloc_asprintf(
        r, "%s%s: %s\r\n", r->headers != NULL ? r->headers : "", name, value);
    talloc_free(value);
}


void
cx_problem_with(cx_request_t *r, int status, const char *code,
                const char *detail, cx_json_t *members)
{
    size_t i, len;
    char *text;
    cx_json_t *json;

    json = cx_json_object(r);
    cx_json_put(json, "type", cx_json_string(json, "about:blank"));
    cx_json_put(json, "title", cx_json_string(json, cx_reason(status)));
    cx_json_put(json, "status", cx_json_integer(json, status));
    cx_json_put(json, "detail", cx_json_string(json, detail));
    cx_json_put(json, "code", cx_json_string(json, code));

    for (i = 0; members != NULL && i < members->n; i++) {
        cx_json_put(json, members->items[i]->name,
                    cx_json_copy(json, members->items[i]));
    }

    text = cx_json_write(r, json, &len);
    cx_answer(r, status, "application/problem+json", text, len);
}


void
cx_problem(cx_request_t *r, int status, const char *code, const char *format,
           ...)
{
    va_list ap;
    char *detail;

    va_start(ap, format);
    detail = talloc_vasprintf(r, format, ap);
    va_end(ap);

    cx_problem_with(r, status, code, detail, NULL);
}


void
cx_problem_away(cx_request_t *r, int seconds, const char *detail)
{
    cx_answer_header(r, "Retry-After", "%d", seconds);
    cx_problem(r, 503, "unavailable", "%s", detail);
}


void
cx_try_again(cx_request_t *r)
{
    cx_problem_away(r, 1, "This can't be done now; try again.");
}


void
cx_problem_pg(cx_request_t *r, cx_pg_rc_t rc)
{
    switch (rc) {
    case CX_PG_CONFLICT:
        cx_problem(r, 409, "conflict", "Another call got there first.");
        break;

    case CX_PG_REFUSED:
        cx_problem(r, 422, "not_storable", "This can't be stored.");
        break;

    default:
        cx_problem_away(r, 1, "The database can't be reached now; try again.");
        break;
    }
}


void
cx_problem_no_such(cx_request_t *r, const char *what)
{
    cx_problem(r, 404, "not_found", "You have no such %s.", what);
}


void
cx_problem_gone(cx_request_t *r)
{
    cx_answer_header(r, "WWW-Authenticate", "Bearer");
    cx_problem(r, 401, "unauthorized", "This account is gone.");
}


void
cx_problem_not_yet(cx_request_t *r)
{
    cx_answer_header(r, "Retry-After", "1");
    cx_problem(r, 503, "not_yet_in_force",
               "Done, but not yet in force everywhere; repeat the call to "
               "know when it is.");
}


void
cx_answer_etag(cx_request_t *r, const char *etag)
{
    cx_answer_header(r, "ETag", "%s", etag);
}


static bool
names(const char *header, const char *etag)
{
    return cx_etag_match(header, strlen(header), etag, strlen(etag));
}


bool
cx_if_match(const cx_request_t *r, const char *etag, const char *other)
{
    const char *header;

    header = cx_header_sent(r, "If-Match");

    return header == NULL || names(header, etag) || names(header, other);
}


bool
cx_not_modified(cx_request_t *r, const char *etag)
{
    const char *header;

    header = cx_header(r, "If-None-Match");

    if (header == NULL || !names(header, etag)) {
        return false;
    }

    cx_answer_etag(r, etag);
    cx_answer_empty(r, 304);

    return true;
}


void
cx_after(cx_request_t *r, void (*call)(cx_request_t *r, void *data), void *data)
{
    cx_after_t *after, **last;

    after = talloc(r, cx_after_t);
    after->call = call;
    after->data = data;
    after->next = NULL;

    for (last = &r->after; *last != NULL; last = &(*last)->next) {
        /* void */
    }

    *last = after;

    if (!cx_pg_in_transaction(r->api->pg)) {
        cx_finish(r);
    }
}


static void
poke(cx_request_t *r, void *data)
{
    cx_poke(r->api->settings, data);
}


void
cx_wake(cx_request_t *r, const char *worker)
{
    cx_after(r, poke, (void *) worker);
}


char *
cx_new_id(cx_request_t *r, cx_id_kind_t kind)
{
    char *id;

    id = talloc_array(r, char, CX_ID_LEN + 1);

    if (id == NULL || cx_id_new(&r->api->settings->id_key, kind, id) != 0) {
        cx_alert("no randomness");
        cx_try_again(r);
        return NULL;
    }

    return id;
}
