#include "pg.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cx_id.h"
#include "log.h"

#define PARAMS_MAX 32
#define PREPARED_MAX 256

/* Sent on each new connection: nothing may wait for long, and nothing may
 * stay open.  These bound what a worker can be kept from its other work. */
static const char session_settings[] =
    "SET search_path = cardx, pg_catalog; SET statement_timeout = '10s';"
    "SET lock_timeout = '5s';"
    "SET idle_in_transaction_session_timeout = '20s';"
    "SET timezone = 'UTC'; SET bytea_output = 'hex';"
    "SET client_min_messages = warning";

static const char set_user[] = "select set_config('cardx.user_id', $1, true)";

struct cx_pg_s {
    char *conninfo;
    PGconn *conn;
    const char *user_id;
    bool transaction; /* an explicit one is open */
    bool lost;        /* the open one can only be rolled back */
    bool set_user_ready;
    bool away; /* said so in the log */
    char constraint[64];
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

    pg = talloc_zero(ctx, cx_pg_t);
    if (pg == NULL) {
        return NULL;
    }

    pg->conninfo = talloc_strdup(pg, conninfo);
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


const char *
cx_pg_constraint(const cx_pg_t *pg)
{
    return pg->constraint;
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


/* libpq's messages end with a line feed and may have several lines. */
static const char *
one_line(char *out, size_t size, const char *message)
{
    size_t i;

    for (i = 0; i + 1 < size && message[i] != '\0' && message[i] != '\n'; i++) {
        out[i] = message[i];
    }

    out[i] = '\0';

    return out;
}


static void
ignore_notice(void *data, const PGresult *result)
{
    (void) data;
    (void) result;
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
    PGresult *result;
    bool ok;

    if (pg->conn != NULL && !pg->transaction && !idle_is_alive(pg)) {
        disconnect(pg, "closed by the server");
    }

    if (pg->conn != NULL) {
        return true;
    }

    if (pg->transaction) {
        return false;
    }

    pg->conn = PQconnectdb(pg->conninfo);

    if (PQstatus(pg->conn) != CONNECTION_OK) {
        if (!pg->away) {
            cx_error("PostgreSQL: can't connect: %s",
                     one_line(line, sizeof(line), PQerrorMessage(pg->conn)));
        }

        pg->away = true;
        PQfinish(pg->conn);
        pg->conn = NULL;
        return false;
    }

    PQsetNoticeReceiver(pg->conn, ignore_notice, NULL);

    result = PQexec(pg->conn, session_settings);
    ok = PQresultStatus(result) == PGRES_COMMAND_OK;
    PQclear(result);

    if (!ok || PQenterPipelineMode(pg->conn) != 1) {
        disconnect(pg, "the session can't be set up");
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
judge(cx_pg_t *pg, const PGresult *result, const char *statement)
{
    char line[256];
    const char *state, *constraint;

    state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    constraint = PQresultErrorField(result, PG_DIAG_CONSTRAINT_NAME);

    if (state == NULL) {
        return CX_PG_AWAY;
    }

    snprintf(pg->constraint, sizeof(pg->constraint), "%s",
             constraint != NULL ? constraint : "");

    if (strcmp(state, "23505") == 0) {
        return CX_PG_CONFLICT;
    }

    /* the primary message alone: details may quote values.  Class 42 is a
     * statement or a right that is wrong: a bug. */
    cx_log(starts(state, "42") ? CX_LOG_ALERT : CX_LOG_ERROR,
           "PostgreSQL: %s: %s: %s", statement, state,
           one_line(line, sizeof(line),
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


/* Ties a result to a talloc context. */
static void
hold(TALLOC_CTX *ctx, PGresult *result)
{
    holder_t *holder;

    holder = talloc(ctx, holder_t);
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


/* Reads what the pipeline answers up to its Sync.  Of `expected` commands
 * the last one's result is kept in *last, or the first error's.  False: the
 * connection is gone. */
static bool
collect(cx_pg_t *pg, int expected, PGresult **last)
{
    PGresult *result;
    ExecStatusType status;

    *last = NULL;

    while (expected-- > 0) {
        while ((result = PQgetResult(pg->conn)) != NULL) {
            status = PQresultStatus(result);

            if (*last != NULL && PQresultStatus(*last) == PGRES_FATAL_ERROR) {
                PQclear(result);
                continue;
            }

            if (status == PGRES_PIPELINE_ABORTED) {
                PQclear(result);
                continue;
            }

            PQclear(*last);
            *last = result;
        }

        if (PQstatus(pg->conn) != CONNECTION_OK) {
            return false;
        }
    }

    while ((result = PQgetResult(pg->conn)) != NULL) {
        status = PQresultStatus(result);
        PQclear(result);

        if (status == PGRES_PIPELINE_SYNC) {
            return true;
        }
    }

    return false;
}


/* Sends what belongs before the statement; returns how many commands. */
static int
send_prologue(cx_pg_t *pg, const cx_statement_t *statement)
{
    int n;
    const char *user;

    n = 0;

    if (!pg->transaction) {
        if (!pg->set_user_ready) {
            if (!PQsendPrepare(pg->conn, "set_user", set_user, 1, NULL)) {
                return -1;
            }

            n++;
        }

        user = pg->user_id != NULL ? pg->user_id : "";

        if (!PQsendQueryPrepared(pg->conn, "set_user", 1, &user, NULL, NULL,
                                 0)) {
            return -1;
        }

        n++;
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
    if (!pg->transaction) {
        pg->set_user_ready = true;
    }

    if (!is_prepared(pg, statement) && pg->n_prepared < PREPARED_MAX) {
        pg->prepared[pg->n_prepared++] = statement;
    }
}


/* One try.  *again: nothing has run, since the statement must be prepared
 * anew.  A connection lost while waiting is never tried again: the statement
 * may have been committed. */
static cx_pg_rc_t
run(cx_pg_t *pg, TALLOC_CTX *ctx, PGresult **out,
    const cx_statement_t *statement, const char *const *values,
    const int *lengths, const int *formats, bool *again)
{
    int n;
    bool fresh;
    cx_pg_rc_t rc;
    PGresult *result;
    const char *state;

    *again = false;

    if (!connected(pg)) {
        return CX_PG_AWAY;
    }

    fresh = pg->n_prepared == 0;

    n = send_prologue(pg, statement);

    if (n < 0
        || !PQsendQueryPrepared(pg->conn, statement->name, statement->n_params,
                                values, lengths, formats, 0)
        || !PQpipelineSync(pg->conn)) {
        disconnect(pg, "can't send");
        return CX_PG_AWAY;
    }

    if (!collect(pg, n + 1, &result)) {
        PQclear(result);
        disconnect(pg, "lost while waiting for the answer");
        return CX_PG_AWAY;
    }

    switch (PQresultStatus(result)) {
    case PGRES_TUPLES_OK:
    case PGRES_COMMAND_OK:
        remember(pg, statement);
        hold(ctx, result);
        *out = result;
        return CX_PG_OK;

    default:
        break;
    }

    state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

    /* 0A000 cached plan must not change result type; 26000, 42P05: what is
     * prepared is not what we think (a pooler, a failover) */
    if (state != NULL && !fresh && !pg->transaction
        && (strcmp(state, "0A000") == 0 || strcmp(state, "26000") == 0
            || strcmp(state, "42P05") == 0)) {
        *again = true;
    }

    rc = judge(pg, result, statement->name);

    /* 57P01 .. 57P03 shutdown, 25006 read only: another server may be right */
    if (*again || state == NULL || starts(state, "57P")
        || strcmp(state, "25006") == 0 || starts(state, "08")) {
        disconnect(pg, "the server can't be used");
    }

    pg->lost = pg->transaction;
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
    pg->constraint[0] = '\0';

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
cx_pg_query(cx_pg_t *pg, TALLOC_CTX *ctx, PGresult **result,
            const cx_statement_t *statement, ...)
{
    int i;
    va_list ap;
    const char *values[PARAMS_MAX];

    if (statement->n_params > PARAMS_MAX) {
        cx_alert("PostgreSQL: %s has too many parameters", statement->name);
        return CX_PG_REFUSED;
    }

    va_start(ap, statement);

    for (i = 0; i < statement->n_params; i++) {
        values[i] = va_arg(ap, const char *);
    }

    va_end(ap);

    return cx_pg_query_array(pg, ctx, result, statement, values, NULL, NULL);
}


/* One simple command under a Sync of its own. */
static cx_pg_rc_t
command(cx_pg_t *pg, const char *text)
{
    cx_pg_rc_t rc;
    PGresult *result;

    if (!connected(pg)) {
        return CX_PG_AWAY;
    }

    if (!PQsendQueryParams(pg->conn, text, 0, NULL, NULL, NULL, NULL, 0)
        || !PQpipelineSync(pg->conn)) {
        disconnect(pg, "can't send");
        return CX_PG_AWAY;
    }

    if (!collect(pg, 1, &result)) {
        PQclear(result);
        disconnect(pg, "lost while waiting for the answer");
        return CX_PG_AWAY;
    }

    rc = PQresultStatus(result) == PGRES_COMMAND_OK ? CX_PG_OK
                                                    : judge(pg, result, text);
    PQclear(result);

    return rc;
}


cx_pg_rc_t
cx_pg_begin(cx_pg_t *pg)
{
    cx_pg_rc_t rc;
    const char *user;
    PGresult *result;

    rc = command(pg, "begin");

    if (rc != CX_PG_OK) {
        return rc;
    }

    pg->transaction = true;
    pg->lost = false;
    user = pg->user_id != NULL ? pg->user_id : "";

    if (!PQsendQueryParams(pg->conn, set_user, 1, NULL, &user, NULL, NULL, 0)
        || !PQpipelineSync(pg->conn) || !collect(pg, 1, &result)) {
        disconnect(pg, "lost at the start of a transaction");
        return CX_PG_AWAY;
    }

    rc = PQresultStatus(result) == PGRES_TUPLES_OK ? CX_PG_OK : CX_PG_AWAY;
    PQclear(result);
    pg->lost = rc != CX_PG_OK;

    return rc;
}


cx_pg_rc_t
cx_pg_commit(cx_pg_t *pg)
{
    cx_pg_rc_t rc;

    if (pg->lost) {
        cx_pg_rollback(pg);
        return CX_PG_AWAY;
    }

    rc = command(pg, "commit");
    pg->transaction = false;
    pg->lost = false;

    return rc;
}


void
cx_pg_rollback(cx_pg_t *pg)
{
    if (!pg->transaction) {
        return;
    }

    if (pg->conn != NULL) {
        (void) command(pg, "rollback");
    }

    pg->transaction = false;
    pg->lost = false;
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
    if (raw == NULL) {
        return NULL;
    }

    bytes = talloc_memdup(ctx, raw, *len + 1);
    PQfreemem(raw);

    return bytes;
}


char *
cx_pg_bytea(TALLOC_CTX *ctx, const void *bytes, size_t len)
{
    char *text;

    text = talloc_array(ctx, char, 2 * len + 3);
    if (text == NULL) {
        return NULL;
    }

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

    text = talloc_array(ctx, char, size);
    if (text == NULL) {
        return NULL;
    }

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
