#include "pg.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "cx_buf.h"
#include "cx_id.h"
#include "log.h"
#include "pg_link.h"

#define PARAMS_MAX 32
#define PREPARED_MAX 256

/* Longest pause after a server that was long in not letting us in, ms. */
#define PAUSE_MAX 5000

static const char set_user[] = "select set_config('cardx.user_id', $1, true)";

struct cx_pg_s {
    char *conninfo;
    PGconn *conn;
    const char *user_id;
    bool transaction; /* an explicit one is open */
    bool opening;     /* but the server will hear of it with a statement */
    bool lost;        /* the open one can only be rolled back */
    bool set_user_ready;
    bool away;          /* said so in the log */
    int64_t not_before; /* of the next try to connect, ms */
    int n_prepared;
    const cx_statement_t *prepared[PREPARED_MAX];
};

typedef struct {
    PGresult *result;
} holder_t;


static int
pg_free(cx_pg_t *pg)
{
    PQfinish(pg->conn);

    return 0;
}


cx_pg_t *
cx_pg_open(TALLOC_CTX *ctx, const char *conninfo)
{
    cx_pg_t *pg;

    pg = cx_must(talloc_zero(ctx, cx_pg_t));
    pg->conninfo = cx_must(talloc_strdup(pg, conninfo));
    talloc_set_destructor(pg, pg_free);

    return pg;
}


void
cx_pg_user(cx_pg_t *pg, const char *user_id)
{
    pg->user_id = user_id;
}


bool
cx_pg_in_transaction(const cx_pg_t *pg)
{
    return pg->transaction;
}


bool
cx_pg_is_lost(const cx_pg_t *pg)
{
    return pg->transaction && pg->lost;
}


static void
disconnect(cx_pg_t *pg, const char *why)
{
    if (pg->conn != NULL) {
        cx_warn("PostgreSQL: disconnected: %s", why);
    }

    PQfinish(pg->conn);
    pg->conn = NULL;
    pg->lost = pg->transaction;
    pg->set_user_ready = false;
    pg->n_prepared = 0;
}


/* Between requests a server has nothing to say but that it goes away. */
static bool
idle_is_alive(cx_pg_t *pg)
{
    struct pollfd pfd = { PQsocket(pg->conn), POLLIN, 0 };

    return poll(&pfd, 1, 0) == 0;
}


static bool
connected(cx_pg_t *pg)
{
    char line[256];
    int64_t began, took;

    if (pg->conn != NULL && !pg->transaction && !idle_is_alive(pg)) {
        disconnect(pg, "closed by the server");
    }

    if (pg->conn != NULL) {
        return true;
    }

    if (pg->transaction) {
        return false;
    }

    began = cx_monotonic_ms();

    if (began < pg->not_before) {
        return false;
    }

    pg->conn = cx_pg_link_open(pg->conninfo, line, sizeof(line));

    if (pg->conn == NULL) {
        if (!pg->away) {
            cx_error("PostgreSQL: can't connect: %s", line);
        }

        /* who does not answer costs time: the next request shall not pay it
         * again at once.  A refusal costs nothing. */
        took = cx_monotonic_ms() - began;
        pg->not_before = began + took + (took < PAUSE_MAX ? took : PAUSE_MAX);
        pg->away = true;
        return false;
    }

    if (pg->away) {
        cx_info("PostgreSQL: back");
        pg->away = false;
    }

    return true;
}


static bool
starts(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}


/* Sorts an error by its SQLSTATE (PostgreSQL's appendix A). */
static cx_pg_rc_t
judge(const PGresult *result, const char *statement)
{
    char line[256];
    const char *state;

    state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

    if (state == NULL) {
        return CX_PG_AWAY;
    }

    if (strcmp(state, "23505") == 0) {
        return CX_PG_CONFLICT;
    }

    /* the primary message alone: details may quote values.  Class 42 is a
     * statement or a right that is wrong: a bug. */
    cx_log(starts(state, "42") ? CX_LOG_ALERT : CX_LOG_ERROR,
           "PostgreSQL: %s: %s: %s", statement, state,
           cx_pg_one_line(line, sizeof(line),
                          PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY)));

    if (starts(state, "22") || starts(state, "23") || starts(state, "54")) {
        return CX_PG_REFUSED;
    }

    return CX_PG_AWAY;
}


static int
holder_free(holder_t *holder)
{
    PQclear(holder->result);

    return 0;
}


static bool
is_good(const PGresult *result)
{
    return PQresultStatus(result) == PGRES_TUPLES_OK
           || PQresultStatus(result) == PGRES_COMMAND_OK;
}


/* Ties a result to a talloc context. */
static void
hold(TALLOC_CTX *ctx, PGresult *result)
{
    holder_t *holder;

    holder = cx_must(talloc(ctx, holder_t));
    holder->result = result;
    talloc_set_destructor(holder, holder_free);
}


static bool
is_prepared(const cx_pg_t *pg, const cx_statement_t *statement)
{
    int i;

    for (i = 0; i < pg->n_prepared; i++) {
        if (pg->prepared[i] == statement) {
            return true;
        }
    }

    return false;
}


/* Reads what the pipeline answers up to its Sync.  Of `expected` commands the
 * last one's result is kept in *last, or the first error's; *good counts
 * those before it.  False: the connection is gone, or `late`. */
static bool
collect(cx_pg_t *pg, int expected, PGresult **last, int *good, bool *late)
{
    bool failed;
    int64_t end;
    PGresult *result;
    ExecStatusType status;

    *last = NULL;
    *good = -1;
    failed = false;
    end = cx_pg_link_end();

    while (expected-- > 0) {
        while ((result = cx_pg_link_result(pg->conn, end, late)) != NULL) {
            if (failed) {
                PQclear(result); /* PGRES_PIPELINE_ABORTED */
                continue;
            }

            PQclear(*last);
            *last = result;
            (*good)++;
            failed = !is_good(result);
        }

        if (*late || PQstatus(pg->conn) != CONNECTION_OK) {
            return false;
        }
    }

    while ((result = cx_pg_link_result(pg->conn, end, late)) != NULL) {
        status = PQresultStatus(result);
        PQclear(result);

        if (status == PGRES_PIPELINE_SYNC) {
            return true;
        }
    }

    return false;
}


/* Ends what was sent by a Sync, and waits for what `n` commands give (below
 * 0: they could not be sent): the last one's result, or the first error,
 * before which *good commands succeeded.  NULL: the connection is gone. */
static PGresult *
answer_to(cx_pg_t *pg, int n, int *good)
{
    bool late;
    PGresult *result;

    if (n < 0 || !PQpipelineSync(pg->conn)) {
        disconnect(pg, "can't send");
        return NULL;
    }

    if (!collect(pg, n, &result, good, &late)) {
        PQclear(result);
        disconnect(pg, late ? "no answer in time"
                            : "lost while waiting for the answer");
        return NULL;
    }

    return result;
}


static int
send_command(cx_pg_t *pg, const char *text)
{
    return PQsendQueryParams(pg->conn, text, 0, NULL, NULL, NULL, NULL, 0) ? 1
                                                                           : -1;
}


/* Sends what makes the rows of one user visible; returns how many commands, -1
 * if it can't. */
static int
send_user(cx_pg_t *pg)
{
    const char *user = pg->user_id != NULL ? pg->user_id : "";

    if (!pg->set_user_ready
        && !PQsendPrepare(pg->conn, "set_user", set_user, 1, NULL)) {
        return -1;
    }

    if (!PQsendQueryPrepared(pg->conn, "set_user", 1, &user, NULL, NULL, 0)) {
        return -1;
    }

    return pg->set_user_ready ? 1 : 2;
}


/* Sends what belongs before the statement; returns how many commands. */
static int
send_prologue(cx_pg_t *pg, const cx_statement_t *statement)
{
    int n, users;

    n = 0;

    if (pg->opening) {
        if (send_command(pg, "begin") < 0) {
            return -1;
        }

        n++;
    }

    if (pg->opening || !pg->transaction) {
        users = send_user(pg);

        if (users < 0) {
            return -1;
        }

        n += users;
        pg->opening = false;
    }

    if (!is_prepared(pg, statement)) {
        if (!PQsendPrepare(pg->conn, statement->name, statement->text,
                           statement->n_params, NULL)) {
            return -1;
        }

        n++;
    }

    return n;
}


static void
remember(cx_pg_t *pg, const cx_statement_t *statement)
{
    pg->set_user_ready = true;

    if (!is_prepared(pg, statement) && pg->n_prepared < PREPARED_MAX) {
        pg->prepared[pg->n_prepared++] = statement;
    }
}


/* Sorts a statement's error.  `reached`: all that belongs before it went well.
 * *again: nothing has run, since the statement must be prepared anew on
 * another connection. */
static cx_pg_rc_t
refused(cx_pg_t *pg, const PGresult *result, const cx_statement_t *statement,
        bool fresh, bool reached, bool *again)
{
    cx_pg_rc_t rc;
    const char *state;

    state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

    /* 0A000 cached plan must not change result type; 26000, 42P05: what is
     * prepared is not what we think (a pooler, a failover) */
    *again = state != NULL && !fresh && !pg->transaction
             && (strcmp(state, "0A000") == 0 || strcmp(state, "26000") == 0
                 || strcmp(state, "42P05") == 0);

    rc = judge(result, statement->name);

    /* 57P01 .. 57P03 shutdown, 25006 read only: another server may be right */
    if (*again || !reached || state == NULL || starts(state, "57P")
        || strcmp(state, "25006") == 0 || starts(state, "08")) {
        disconnect(pg, "the server can't be used");
    }

    pg->lost = pg->transaction;

    return rc;
}


/* One try.  A connection lost while waiting is never tried again: the
 * statement may have been committed. */
static cx_pg_rc_t
run(cx_pg_t *pg, TALLOC_CTX *ctx, PGresult **out,
    const cx_statement_t *statement, const char *const *values,
    const int *lengths, const int *formats, bool *again)
{
    int n, good;
    bool fresh;
    cx_pg_rc_t rc;
    PGresult *result;

    *again = false;

    if (!connected(pg)) {
        return CX_PG_AWAY;
    }

    fresh = pg->n_prepared == 0;
    n = send_prologue(pg, statement);

    if (n >= 0
        && !PQsendQueryPrepared(pg->conn, statement->name, statement->n_params,
                                values, lengths, formats, 0)) {
        n = -1;
    }

    result = answer_to(pg, n < 0 ? n : n + 1, &good);

    if (result == NULL) {
        return CX_PG_AWAY;
    }

    /* what is prepared stays so, also when the statement itself is refused */
    if (good == n) {
        remember(pg, statement);
    }

    if (is_good(result)) {
        hold(ctx, result);
        *out = result;
        return CX_PG_OK;
    }

    rc = refused(pg, result, statement, fresh, good == n, again);
    PQclear(result);

    return rc;
}


cx_pg_rc_t
cx_pg_query_array(cx_pg_t *pg, TALLOC_CTX *ctx, PGresult **result,
                  const cx_statement_t *statement, const char *const *values,
                  const int *lengths, const int *formats)
{
    bool again;
    cx_pg_rc_t rc;

    *result = NULL;

    if (pg->transaction && pg->lost) {
        return CX_PG_AWAY;
    }

    rc = run(pg, ctx, result, statement, values, lengths, formats, &again);

    if (rc != CX_PG_OK && again) {
        rc = run(pg, ctx, result, statement, values, lengths, formats, &again);
    }

    return rc;
}


cx_pg_rc_t
cx_pg_query_list(cx_pg_t *pg, TALLOC_CTX *ctx, PGresult **result,
                 const cx_statement_t *statement, va_list parameters)
{
    int i;
    const char *values[PARAMS_MAX];

    if (statement->n_params > PARAMS_MAX) {
        cx_alert("PostgreSQL: %s has too many parameters", statement->name);
        *result = NULL;
        return CX_PG_REFUSED;
    }

    for (i = 0; i < statement->n_params; i++) {
        values[i] = va_arg(parameters, const char *);
    }

    return cx_pg_query_array(pg, ctx, result, statement, values, NULL, NULL);
}


cx_pg_rc_t
cx_pg_query(cx_pg_t *pg, TALLOC_CTX *ctx, PGresult **result,
            const cx_statement_t *statement, ...)
{
    va_list ap;
    cx_pg_rc_t rc;

    va_start(ap, statement);
    rc = cx_pg_query_list(pg, ctx, result, statement, ap);
    va_end(ap);

    return rc;
}


/* Judges the answer to the `n` commands that were sent. */
static cx_pg_rc_t
finish(cx_pg_t *pg, int n, const char *what)
{
    int good;
    cx_pg_rc_t rc;
    PGresult *result;

    result = answer_to(pg, n, &good);

    if (result == NULL) {
        return CX_PG_AWAY;
    }

    rc = is_good(result) ? CX_PG_OK : judge(result, what);
    PQclear(result);

    return rc;
}


cx_pg_rc_t
cx_pg_begin(cx_pg_t *pg)
{
    if (!connected(pg)) {
        return CX_PG_AWAY;
    }

    pg->transaction = true;
    pg->opening = true;
    pg->lost = false;

    return CX_PG_OK;
}


/* The server has never heard of one without a statement. */
static cx_pg_rc_t
end_transaction(cx_pg_t *pg, const char *how)
{
    cx_pg_rc_t rc;

    if (pg->opening) {
        rc = CX_PG_OK;

    } else if (pg->conn == NULL) {
        rc = CX_PG_AWAY;

    } else {
        rc = finish(pg, send_command(pg, how), how);
    }

    pg->transaction = false;
    pg->opening = false;
    pg->lost = false;

    return rc;
}


cx_pg_rc_t
cx_pg_commit(cx_pg_t *pg)
{
    if (pg->lost) {
        cx_pg_rollback(pg);
        return CX_PG_AWAY;
    }

    return end_transaction(pg, "commit");
}


void
cx_pg_rollback(cx_pg_t *pg)
{
    if (pg->transaction) {
        (void) end_transaction(pg, "rollback");
    }
}


const char *
cx_pg_text(const PGresult *result, int row, int column)
{
    return PQgetisnull(result, row, column) ? NULL
                                            : PQgetvalue(result, row, column);
}


bool
cx_pg_true(const PGresult *result, int row, int column)
{
    return PQgetvalue(result, row, column)[0] == 't';
}


long long
cx_pg_integer(const PGresult *result, int row, int column)
{
    return strtoll(PQgetvalue(result, row, column), NULL, 10);
}


unsigned char *
cx_pg_bytes(TALLOC_CTX *ctx, const PGresult *result, int row, int column,
            size_t *len)
{
    unsigned char *raw, *bytes;

    *len = 0;

    if (PQgetisnull(result, row, column)) {
        return NULL;
    }

    raw = PQunescapeBytea(
        (const unsigned char *) PQgetvalue(result, row, column), len);
    bytes = cx_must(talloc_memdup(ctx, cx_must(raw), *len + 1));
    PQfreemem(raw);

    return bytes;
}


char *
cx_pg_bytea(TALLOC_CTX *ctx, const void *bytes, size_t len)
{
    char *text;

    text = cx_must(talloc_array(ctx, char, 2 * len + 3));
    text[0] = '\\';
    text[1] = 'x';
    cx_hex(bytes, len, text + 2);

    return text;
}


char *
cx_pg_array(TALLOC_CTX *ctx, char *const *strings)
{
    char *text, *out;
    const char *p;
    size_t size, i;

    if (strings == NULL) {
        return NULL;
    }

    size = 3;

    for (i = 0; strings[i] != NULL; i++) {
        size += 2 * strlen(strings[i]) + 3;
    }

    text = cx_must(talloc_array(ctx, char, size));
    out = text;
    *out++ = '{';

    for (i = 0; strings[i] != NULL; i++) {
        if (i > 0) {
            *out++ = ',';
        }

        *out++ = '"';

        for (p = strings[i]; *p != '\0'; p++) {
            if (*p == '"' || *p == '\\') {
                *out++ = '\\';
            }

            *out++ = *p;
        }

        *out++ = '"';
    }

    *out++ = '}';
    *out = '\0';

    return text;
}
