/* Running a handler, once per Idempotency-Key. */

#include "api.h"

#include <string.h>

#include "contact_book.h"
#include "crypto.h"
#include "heads.h"
#include "idempotency.sql.h"
#include "process.h"

#define KEY_MAX 255
#define CONTACT "contact" /* in place of a media type */

/* What is needed to find and to keep an answer. */
typedef struct {
    const char *scope;
    const char *key_hash; /* bytea parameters */
    const char *request_hash;
    unsigned char seal[CX_SECRET_LEN]; /* from the header's value */
} ticket_t;


void
cx_finish(cx_request_t *r)
{
    bool failed;
    cx_after_t *after;

    if (cx_pg_in_transaction(r->api->pg)) {
        failed = r->status >= 500
                 || (r->status >= 400
                     && (r->transaction || cx_pg_is_lost(r->api->pg)));

        if (failed) {
            cx_pg_rollback(r->api->pg);
            r->after = NULL;
            return;
        }

        if (cx_pg_commit(r->api->pg) != CX_PG_OK) {
            r->after = NULL;
            r->headers = NULL;
            cx_problem_pg(r, CX_PG_AWAY);
            return;
        }
    }

    while (r->after != NULL) {
        after = r->after;
        r->after = after->next;
        after->call(r, after->data);
    }
}


bool
cx_query(cx_request_t *r, PGresult **result, const cx_statement_t *statement,
         ...)
{
    va_list ap;
    cx_pg_rc_t rc;

    va_start(ap, statement);
    rc = cx_pg_query_list(r->api->pg, r->scratch, result, statement, ap);
    va_end(ap);

    if (rc != CX_PG_OK) {
        cx_problem_pg(r, rc);
        return false;
    }

    return true;
}


static bool
begin(cx_request_t *r)
{
    cx_pg_rc_t rc;

    if (cx_pg_in_transaction(r->api->pg)) {
        return true;
    }

    rc = cx_pg_begin(r->api->pg);

    if (rc != CX_PG_OK) {
        cx_pg_rollback(r->api->pg);
        cx_problem_pg(r, rc);
        return false;
    }

    return true;
}


bool
cx_begin(cx_request_t *r)
{
    r->transaction = begin(r);

    return r->transaction;
}


/* An HMAC over several texts, kept apart by their lengths, as bytea.  No plain
 * hash: bodies hold passwords and codes, which could be guessed from one. */
static char *
hash_of(cx_request_t *r, const char *first, const char *second,
        const char *third, size_t third_len)
{
    char *start;
    bool ok;
    size_t start_len;
    unsigned char *all, hash[CX_SECRET_LEN];

    start = talloc_asprintf(r, "%zu %s%zu %s%zu ", strlen(first), first,
                            strlen(second), second, third_len);
    start_len = strlen(start);
    all = talloc_array(r, unsigned char, start_len + third_len);
    memcpy(all, start, start_len);
    memcpy(all + start_len, third, third_len);

    ok = cx_hmac(r->api->settings, "idempotency", all, start_len + third_len,
                 hash);

    return ok ? cx_pg_bytea(r, hash, sizeof(hash)) : NULL;
}


static bool
make_ticket(cx_request_t *r, const char *key, ticket_t *ticket)
{
    if (strlen(key) > KEY_MAX) {
        cx_problem(r, 422, "invalid_idempotency_key",
                   "Idempotency-Key has at most %d bytes.", KEY_MAX);
        return false;
    }

    ticket->request_hash =
        hash_of(r, r->method, talloc_asprintf(r, "%s?%s", r->path, r->query),
                r->body, r->body_len);

    if (ticket->request_hash == NULL) {
        cx_try_again(r);
        return false;
    }

    /* whose key it is: a user's, else a registration's or a card's; a call
     * without any of them has only its own content as its scope */
    ticket->scope = r->user_id != NULL     ? r->user_id
                    : r->params[0] != NULL ? r->params[0]
                                           : ticket->request_hash;

    /* neither what is kept nor the master key opens an answer alone: people
     * send values here that can be guessed */
    ticket->key_hash = hash_of(r, ticket->scope, key, "", 0);

    if (ticket->key_hash == NULL
        || !cx_hmac(r->api->settings, "idempotency seal", key, strlen(key),
                    ticket->seal)) {
        cx_try_again(r);
        return false;
    }

    return true;
}


/* headers NUL type NUL body; of a contact only its id, since what is live in it
 * is not for its holder to keep. */
static void
keep(cx_request_t *r, const ticket_t *ticket)
{
    size_t headers_len, type_len, body_len, len;
    char *plain;
    const char *headers, *type, *body;
    unsigned char *sealed;
    PGresult *result;

    headers = r->headers != NULL ? r->headers : "";
    type = r->answer_type != NULL ? r->answer_type : "";
    body = r->answer;
    body_len = r->answer_len;

    if (r->shown_contact != NULL) {
        headers = "";
        type = CONTACT;
        body = r->shown_contact;
        body_len = strlen(body);
    }

    headers_len = strlen(headers) + 1;
    type_len = strlen(type) + 1;

    plain = talloc_zero_array(r, char, headers_len + type_len + body_len + 1);
    memcpy(plain, headers, headers_len);
    memcpy(plain + headers_len, type, type_len);

    if (body_len > 0) {
        memcpy(plain + headers_len + type_len, body, body_len);
    }

    sealed = cx_seal(r, ticket->seal, ticket->scope, plain,
                     headers_len + type_len + body_len, &len);

    if (sealed == NULL) {
        cx_try_again(r);
        return;
    }

    (void) cx_query(r, &result, &SQL_IDEMPOTENCY_KEEP, ticket->scope,
                    ticket->key_hash, ticket->request_hash,
                    talloc_asprintf(r, "%d", r->status),
                    cx_pg_bytea(r, sealed, len));
}


static void
repeat_contact(cx_request_t *r, int status, const char *contact_id)
{
    cx_book_t *book;

    book = cx_book_open(r);

    if (book == NULL) {
        return;
    }

    if (status == 201) {
        cx_answer_header(r, "Location", "/v1/contacts/%s", contact_id);
    }

    cx_book_answer(book, status, contact_id);
}


/* Gives a kept answer again. */
static void
repeat(cx_request_t *r, const ticket_t *ticket, const PGresult *result)
{
    size_t len, sealed_len;
    char *plain, *type, *body;
    unsigned char *sealed;

    sealed = cx_pg_bytes(r, result, 0, 2, &sealed_len);
    plain = (char *) cx_open(r, ticket->seal, ticket->scope, sealed, sealed_len,
                             &len);

    if (plain == NULL) {
        cx_problem(r, 422, "idempotency_key_reused",
                   "This Idempotency-Key belongs to another call.");
        return;
    }

    type = plain + strlen(plain) + 1;
    body = type + strlen(type) + 1;

    if (strcmp(type, CONTACT) == 0) {
        repeat_contact(
            r, (int) cx_pg_integer(result, 0, 1),
            cx_must(talloc_strndup(r, body, len - (size_t) (body - plain))));
        return;
    }

    r->headers = plain[0] != '\0' ? plain : NULL;
    cx_answer(r, (int) cx_pg_integer(result, 0, 1),
              type[0] != '\0' ? type : NULL, body,
              len - (size_t) (body - plain));
}


/* True: the handler is to run. */
static bool
is_new(cx_request_t *r, const ticket_t *ticket)
{
    const char *state;
    PGresult *result;

    if (!begin(r)
        || !cx_query(r, &result, &SQL_IDEMPOTENCY_FIND, ticket->scope,
                     ticket->key_hash, ticket->request_hash)) {
        return false;
    }

    state = cx_pg_text(result, 0, 0);

    if (strcmp(state, "new") == 0) {
        return true;
    }

    if (strcmp(state, "kept") == 0) {
        repeat(r, ticket, result);

    } else if (strcmp(state, "running") == 0) {
        cx_answer_header(r, "Retry-After", "1");
        cx_problem(r, 409, "still_running",
                   "The first call with this Idempotency-Key is not finished.");

    } else {
        cx_problem(r, 422, "idempotency_key_reused",
                   "This Idempotency-Key belongs to another call.");
    }

    return false;
}


bool
cx_tell_release(cx_request_t *r)
{
    bool dropped, confirmed;
    cx_projector_t *p = &r->api->projector;

    dropped = r->user_id == NULL || cx_head_drop(p, r->user_id);
    confirmed = cx_projector_release(p);
    r->told = dropped && confirmed;

    return confirmed;
}


/* What a user is told to be done is known to the edge before that: who asks
 * for updates now is answered by a worker.  Everybody else is told by fanout,
 * and so is this one if Redis does not answer. */
static void
tell(cx_request_t *r)
{
    if (strcmp(r->method, "GET") == 0 || strcmp(r->method, "HEAD") == 0
        || (r->status >= 400 && r->status != 503)) {
        return;
    }

    if (r->user_id != NULL && !r->told) {
        (void) cx_head_drop(&r->api->projector, r->user_id);
    }

    cx_poke(r->api->settings, "fanout");
}


void
cx_run(cx_request_t *r)
{
    ticket_t ticket;
    const char *key;

    key =
        strcmp(r->method, "POST") == 0 ? cx_header(r, "Idempotency-Key") : NULL;

    if (key == NULL) {
        r->route->handler(r);

    } else if (make_ticket(r, key, &ticket) && is_new(r, &ticket)) {
        r->route->handler(r);

        if (r->status < 400 && !r->unkept) {
            keep(r, &ticket);
        }
    }

    if (r->status == 0) {
        cx_alert("%s %s: no answer", r->route->method, r->route->pattern);
        cx_try_again(r);
    }

    cx_finish(r);
    tell(r);
}
