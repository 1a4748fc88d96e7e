/*
 * A connection of libpq that waits for nothing without end: not for a host
 * that does not answer, nor for a server that has stopped in the middle.
 */

#ifndef CX_PG_LINK_H
#define CX_PG_LINK_H

#include <stdbool.h>
#include <stdint.h>
#include <libpq-fe.h>

/* How long an answer may take, of all connections of this process (the
 * setting postgresql_timeout).  The server itself gives a statement up after
 * two thirds of it, and a lock after one. */
void cx_pg_patience(int ms);

/* Connects; what `conninfo` says goes before what is preset here.  NULL:
 * `why`, one line. */
PGconn *cx_pg_link_open(const char *conninfo, char *why, size_t size);

/* The next result, as PQgetResult() gives it.  *late: there is none, since
 * the server has not answered until `end` (ms of the monotonic clock). */
PGresult *cx_pg_link_result(PGconn *conn, int64_t end, bool *late);

/* Until when an answer to what is sent now may take. */
int64_t cx_pg_link_end(void);

/* libpq's messages end with a line feed and may have several lines. */
const char *cx_pg_one_line(char *out, size_t size, const char *message);

#endif
