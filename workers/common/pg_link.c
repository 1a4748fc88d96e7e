#include "pg_link.h"

#include <poll.h>
#include <stdio.h>

#include "clock.h"

/* What is preset: a host that has gone without a word is noticed in some 15 s
 * where nothing is sent, and in 10 s where something is. */
static const char *const words[] = { "connect_timeout",
                                     "keepalives_idle",
                                     "keepalives_interval",
                                     "keepalives_count",
                                     "tcp_user_timeout",
                                     "dbname",
                                     NULL };

static int patience = 15000;


void
cx_pg_patience(int ms)
{
    patience = ms;
}


int64_t
cx_pg_link_end(void)
{
    return cx_monotonic_ms() + patience;
}


const char *
cx_pg_one_line(char *out, size_t size, const char *message)
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


/* Waits until PQgetResult() would not.  False: it still would. */
static bool
await(PGconn *conn, int64_t end)
{
    int unsent;
    int64_t left;
    struct pollfd pfd;

    while (PQisBusy(conn)) {
        unsent = PQflush(conn);
        left = end - cx_monotonic_ms();

        if (unsent < 0) {
            return true; /* PQgetResult() tells */
        }

        if (left <= 0) {
            return false;
        }

        pfd.fd = PQsocket(conn);
        pfd.events = (short) (unsent > 0 ? POLLIN | POLLOUT : POLLIN);

        /* a signal, or a write that is due now */
        if (poll(&pfd, 1, (int) left) <= 0 || !(pfd.revents & ~POLLOUT)) {
            continue;
        }

        if (!PQconsumeInput(conn)) {
            return true;
        }
    }

    return true;
}


PGresult *
cx_pg_link_result(PGconn *conn, int64_t end, bool *late)
{
    *late = !await(conn, end);

    return *late ? NULL : PQgetResult(conn);
}


/* Sent on each new connection: nothing may wait for long, and nothing may
 * stay open.  These bound what a worker can be kept from its other work. */
static bool
set_up(PGconn *conn)
{
    bool late, ok;
    char sql[512];
    PGresult *result;
    int64_t end;

    snprintf(sql, sizeof(sql),
             "SET search_path = cardx, pg_catalog; SET statement_timeout = %d;"
             "SET lock_timeout = %d;"
             "SET idle_in_transaction_session_timeout = '20s';"
             "SET timezone = 'UTC'; SET bytea_output = 'hex';"
             "SET client_min_messages = warning",
             patience / 3 * 2, patience / 3);

    ok = PQsendQuery(conn, sql) == 1;
    end = cx_pg_link_end();

    while (ok && (result = cx_pg_link_result(conn, end, &late)) != NULL) {
        ok = PQresultStatus(result) == PGRES_COMMAND_OK;
        PQclear(result);
    }

    return ok && !late && PQenterPipelineMode(conn) == 1;
}


PGconn *
cx_pg_link_open(const char *conninfo, char *why, size_t size)
{
    PGconn *conn;
    const char *const values[] = {
        "3", "6", "3", "3", "10000", conninfo, NULL
    };

    conn = PQconnectdbParams(words, values, 1);

    if (PQstatus(conn) != CONNECTION_OK) {
        cx_pg_one_line(why, size, PQerrorMessage(conn));
        PQfinish(conn);
        return NULL;
    }

    PQsetNoticeReceiver(conn, ignore_notice, NULL);

    if (PQsetnonblocking(conn, 1) != 0 || !set_up(conn)) {
        snprintf(why, size, "the session can't be set up");
        PQfinish(conn);
        return NULL;
    }

    return conn;
}
