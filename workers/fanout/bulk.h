/*
 * Many commands to Redis at once: a connection of the rebuild's own, since
 * the workers' one answers within 50 ms or is closed.
 */

#ifndef CX_BULK_H
#define CX_BULK_H

#include <stdbool.h>
#include <stdint.h>

#include "redis.h"

#define CX_SCRIPT_NAME 41 /* a SHA-1 in hex, and NUL */

typedef struct cx_bulk_s cx_bulk_t;

#define CX_BULK_TIMEOUT 5000 /* ms */

/* To one node (NULL: the one that the settings name), which may take so many
 * ms for an answer.  NULL: Redis is away, logged. */
cx_bulk_t *cx_bulk_open(TALLOC_CTX *ctx, const cx_settings_t *settings,
                        const char *address, int ms);

/* The words of the next command, copied by cx_bulk_send(): until then they
 * must live. */
void cx_bulk_word(cx_bulk_t *bulk, const char *word);
void cx_bulk_bytes(cx_bulk_t *bulk, const void *bytes, size_t len);
void cx_bulk_send(cx_bulk_t *bulk);

/* Has the server begin; false: the connection is lost. */
bool cx_bulk_flush(cx_bulk_t *bulk);

/* Makes a script known to the server, and gives its name for EVALSHA. */
bool cx_bulk_script(cx_bulk_t *bulk, const char *script,
                    char name[CX_SCRIPT_NAME]);

/* Waits for the answers to all that was sent.  False: the connection is
 * lost, or one of them is an error or a number below 0. */
bool cx_bulk_collect(cx_bulk_t *bulk);

/* The answer to the only command that was sent, owned by ctx; NULL: the
 * connection is lost. */
redisReply *cx_bulk_answer(cx_bulk_t *bulk, TALLOC_CTX *ctx);

#endif
