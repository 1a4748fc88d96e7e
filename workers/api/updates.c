/*
 * GET /v1/updates: what changed for a user since a token (D6), and the same as
 * events, for the edge, which catches up for a stream with it (F9).  See
 * docs/changes.md.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "contact_book.h"
#include "cx_buf.h"
#include "cx_changes.h"
#include "heads.h"
#include "request.h"
#include "sign_in.h"
#include "updates.sql.h"

#define PAGE 1000
#define PAGE_OBJECTS 100
#define PAGE_EVENTS 100
#define WAIT_MAX 55 /* s; nginx waits, and a worker never does */

/* columns of what is read */
enum {
    EPOCH,
    BOUND,
    HEAD,
    XID,
    KIND,
    OBJECT,
    OP,
    AT
};

typedef struct {
    bool first; /* everything, not what is new */
    cx_position_t since;
    PGresult *rows;
    int n; /* changes shown */
    bool more;
    const char **objects; /* JSON of each, or NULL */
    char mark[CX_HEAD_MARK];
} updates_t;


static const char *
piece(cx_request_t *r, cx_piece_t p)
{
    return p.len > 0 ? cx_must(talloc_strndup(r, p.text, p.len)) : NULL;
}


static bool
read_rows(cx_request_t *r, updates_t *u, int page)
{
    const char *kind, *object, *xid, *limit;

    kind = piece(r, u->since.kind);
    object = piece(r, u->since.object);
    xid = cx_must(talloc_asprintf(r, "%" PRIu64, u->since.xid));
    limit = cx_must(talloc_asprintf(r, "%d", page));

    if (u->first) {
        return cx_query(r, &u->rows, &SQL_UPDATES_ALL, kind, object, limit);
    }

    return cx_query(r, &u->rows, &SQL_UPDATES_SINCE, xid, kind, object, limit);
}


/* A position that this database can't have given. */
static bool
is_foreign(const updates_t *u)
{
    return memcmp(u->since.epoch, cx_pg_text(u->rows, 0, EPOCH),
                  CX_LOG_EPOCH_LEN)
               != 0
           || u->since.xid > strtoull(cx_pg_text(u->rows, 0, BOUND), NULL, 10);
}


/* Reads a page and leaves the head for the edge.  `since` is NULL at the
 * start.  *gone: it is no position of this database. */
static bool
read_page(cx_request_t *r, const char *since, int page, updates_t *u,
          bool *gone)
{
    const char *head;

    *gone = false;
    memset(u, 0, sizeof(*u));
    u->first = since == NULL;

    if (since != NULL) {
        if (cx_position_read(since, strlen(since), &u->since) != 0) {
            *gone = true;
            return true;
        }

        u->first = u->since.all;
    }

    cx_head_begin(&r->api->projector, r->user_id, u->mark);

    if (!read_rows(r, u, page)) {
        return false;
    }

    head = cx_must(talloc_asprintf(r, "%s.%s %s", cx_pg_text(u->rows, 0, EPOCH),
                                   cx_pg_text(u->rows, 0, HEAD),
                                   cx_pg_text(u->rows, 0, BOUND)));
    cx_head_settle(&r->api->projector, r->user_id, u->mark, head);

    if (since != NULL && is_foreign(u)) {
        *gone = true;
        return true;
    }

    u->n = cx_pg_text(u->rows, 0, KIND) != NULL ? PQntuples(u->rows) : 0;
    u->more = u->n > page;

    if (u->more) {
        u->n = page;
    }

    return true;
}


/* Where a client is after a change. */
static const char *
position_of(cx_request_t *r, const updates_t *u, int row)
{
    const char *kind, *object;

    kind = cx_pg_text(u->rows, row, KIND);
    object = cx_pg_text(u->rows, row, OBJECT);

    if (u->first) {
        return cx_must(
            talloc_asprintf(r, "%s.%s.all.%s.%s", cx_pg_text(u->rows, 0, EPOCH),
                            u->since.all ? piece(r, u->since.xid_text)
                                         : cx_pg_text(u->rows, 0, BOUND),
                            kind, object));
    }

    return cx_must(
        talloc_asprintf(r, "%s.%s.%s.%s", cx_pg_text(u->rows, 0, EPOCH),
                        cx_pg_text(u->rows, row, XID), kind, object));
}


/* And after the page. */
static const char *
position_after(cx_request_t *r, const updates_t *u)
{
    if (u->more) {
        return position_of(r, u, u->n - 1);
    }

    return cx_must(talloc_asprintf(r, "%s.%s", cx_pg_text(u->rows, 0, EPOCH),
                                   u->since.all
                                       ? piece(r, u->since.xid_text)
                                       : cx_pg_text(u->rows, 0, BOUND)));
}


/* The ids of one kind of what is there, as text[]. */
static const char *
ids_of(cx_request_t *r, const updates_t *u, const char *kind)
{
    int i;
    size_t n;
    char **ids;

    n = 0;
    ids = cx_must(talloc_zero_array(r, char *, (size_t) u->n + 1));

    for (i = 0; i < u->n; i++) {
        if (strcmp(cx_pg_text(u->rows, i, KIND), kind) == 0
            && strcmp(cx_pg_text(u->rows, i, OP), "put") == 0) {
            ids[n++] = (char *) cx_pg_text(u->rows, i, OBJECT);
        }
    }

    return n > 0 ? cx_must(cx_pg_array(r, ids)) : NULL;
}


static void
place(updates_t *u, const char *kind, const char *id, const char *json)
{
    int i;

    for (i = 0; i < u->n; i++) {
        if (strcmp(cx_pg_text(u->rows, i, KIND), kind) == 0
            && strcmp(cx_pg_text(u->rows, i, OBJECT), id) == 0) {
            u->objects[i] = json;
        }
    }
}


/* Rows of id and JSON. */
static void
place_all(updates_t *u, const char *kind, const PGresult *objects)
{
    int k;

    for (k = 0; k < PQntuples(objects); k++) {
        place(u, kind, cx_pg_text(objects, k, 0), cx_pg_text(objects, k, 1));
    }
}


/* What only the holder's key opens; false: answered. */
static bool
read_contacts(cx_request_t *r, updates_t *u)
{
    int k;
    size_t len;
    const char *ids;
    cx_book_t *book;
    cx_contact_t c;
    PGresult *rows;

    ids = ids_of(r, u, "contact");

    if (ids == NULL) {
        return true;
    }

    book = cx_book_open(r);

    if (book == NULL || !cx_query(r, &rows, &SQL_UPDATES_CONTACTS, ids)) {
        return false;
    }

    for (k = 0; k < PQntuples(rows); k++) {
        if (!cx_book_row(book, r, rows, k, &c)) {
            return false;
        }

        place(u, "contact", c.contact_id,
              cx_json_write(r, cx_book_envelope(r, &c), &len));
    }

    return true;
}


static bool
read_objects(cx_request_t *r, updates_t *u)
{
    int i;
    const char *ids;
    PGresult *objects;

    u->objects = cx_must(talloc_zero_array(r, const char *, (size_t) u->n + 1));

    ids = ids_of(r, u, "card");

    if (ids != NULL) {
        if (!cx_query(r, &objects, &SQL_UPDATES_CARDS, ids)) {
            return false;
        }

        place_all(u, "card", objects);
    }

    ids = ids_of(r, u, "terminal");

    if (ids != NULL) {
        if (!cx_query(
                r, &objects, &SQL_UPDATES_TERMINALS, ids,
                cx_must(talloc_asprintf(r, "%" PRIu32, r->terminal_id)))) {
            return false;
        }

        place_all(u, "terminal", objects);
    }

    for (i = 0; i < u->n; i++) {
        if (strcmp(cx_pg_text(u->rows, i, KIND), "account") == 0) {
            u->objects[i] = cx_me_text(r);

            if (u->objects[i] == NULL) {
                return false;
            }
        }
    }

    return read_contacts(r, u);
}


/* Ids, kinds and times need no escaping: they are of our own making. */
static void
answer_updates(cx_request_t *r, const updates_t *u)
{
    int i;
    cx_buf_t out;

    cx_buf_init(&out, r);
    cx_buf_puts(&out, cx_must(talloc_asprintf(
                          r, "{\"token\":\"%s\",\"more\":%s,\"changes\":[",
                          position_after(r, u), u->more ? "true" : "false")));

    for (i = 0; i < u->n; i++) {
        cx_buf_puts(
            &out,
            cx_must(talloc_asprintf(
                r,
                "%s{\"kind\":\"%s\",\"id\":\"%s\",\"op\":\"%s\",\"at\":\"%s\"",
                i > 0 ? "," : "", cx_pg_text(u->rows, i, KIND),
                cx_pg_text(u->rows, i, OBJECT), cx_pg_text(u->rows, i, OP),
                cx_pg_text(u->rows, i, AT))));

        if (u->objects != NULL && u->objects[i] != NULL) {
            cx_buf_puts(&out, ",\"object\":");
            cx_buf_puts(&out, u->objects[i]);
        }

        cx_buf_putc(&out, '}');
    }

    cx_buf_puts(&out, "]}");
    cx_answer(r, 200, "application/json", out.data, out.len);
}


static bool
is_wait(const char *text)
{
    return strlen(text) <= 2 && strspn(text, "0123456789") == strlen(text)
           && text[0] != '\0' && atoi(text) <= WAIT_MAX;
}


static void
updates(cx_request_t *r)
{
    bool gone;
    updates_t u;
    const char *with, *wait, *since;

    with = cx_argument(r, "with");
    wait = cx_argument(r, "wait");
    since = cx_argument(r, "since");

    if (with != NULL && strcmp(with, "objects") != 0) {
        cx_problem(r, 422, "invalid_with", "`with` is \"objects\".");
        return;
    }

    if (wait != NULL && !is_wait(wait)) {
        cx_problem(r, 422, "invalid_wait", "`wait` is 0 to %d seconds.",
                   WAIT_MAX);
        return;
    }

    if (!read_page(r, since, with != NULL ? PAGE_OBJECTS : PAGE, &u, &gone)) {
        return;
    }

    if (gone) {
        cx_problem(r, 410, "unknown_token",
                   "This token is not of this database: start afresh, "
                   "without one.");

    } else if (u.n == 0 && !u.first) {
        cx_answer_empty(r, 204);

    } else if (with == NULL || read_objects(r, &u)) {
        answer_updates(r, &u);
    }
}


/* One event; the last one before a position also moves who has read it. */
static void
event(cx_request_t *r, cx_buf_t *out, const updates_t *u, int row)
{
    cx_buf_puts(
        out,
        cx_must(talloc_asprintf(
            r,
            "id: %s\nevent: change\n"
            "data: {\"kind\":\"%s\",\"id\":\"%s\",\"op\":\"%s\"}\n\n",
            row == u->n - 1 ? position_after(r, u) : position_of(r, u, row),
            cx_pg_text(u->rows, row, KIND), cx_pg_text(u->rows, row, OBJECT),
            cx_pg_text(u->rows, row, OP))));
}


/* For the edge alone: "<token's expiry or 0> <more> <position>" in a line, and
 * the events that lead there.  Without `since`: where the log ends now.  What
 * this database never gave starts afresh, and its client is told so. */
static void
changes(cx_request_t *r)
{
    int i;
    bool gone, never;
    updates_t u;
    cx_buf_t out;
    const char *since;

    since = cx_argument(r, "since");

    if (!read_page(r, since, PAGE_EVENTS, &u, &gone)
        || (gone && !read_page(r, NULL, PAGE_EVENTS, &u, &never))) {
        return;
    }

    if (since == NULL || gone) {
        u.n = 0;
        u.more = false;
    }

    cx_buf_init(&out, r);
    cx_buf_puts(&out, cx_must(talloc_asprintf(r, "%" PRId64 " %d %s\n",
                                              r->token_expires, u.more,
                                              position_after(r, &u))));

    if (gone) {
        cx_buf_puts(&out, cx_must(talloc_asprintf(
                              r, "id: %s\nevent: reset\ndata: {}\n\n",
                              position_after(r, &u))));
    }

    for (i = 0; i < u.n; i++) {
        event(r, &out, &u, i);
    }

    if (u.n == 0 && !gone) {
        cx_buf_puts(&out, cx_must(talloc_asprintf(r, "id: %s\n\n",
                                                  position_after(r, &u))));
    }

    cx_answer(r, 200, "text/event-stream", out.data, out.len);
}


static void
ticket(cx_request_t *r)
{
    cx_json_t *json;
    cx_token_t access;
    const char *header;
    char text[CX_TOKEN_LEN + 1];

    header = cx_bearer(r);

    if (header == NULL
        || cx_token_parse(&r->api->settings->id_key, CX_TOKEN_ACCESS, header,
                          strlen(header), &access)
               != 0
        || cx_ticket_new(&r->api->settings->id_key, &access, text) != 0) {
        cx_try_again(r);
        return;
    }

    json = cx_json_object(r);
    cx_json_put(json, "ticket", cx_json_string(json, text));
    cx_answer_json(r, 200, json);
}


const cx_route_t cx_routes_updates[] = {
    { "GET", "/v1/updates", updates, 0, 0 },
    { "POST", "/v1/events/ticket", ticket, 0, 0 },
    { "GET", "/-/changes", changes, CX_TICKET, 0 },
    { NULL, NULL, NULL, 0, 0 },
};
