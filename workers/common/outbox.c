#include "outbox.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "cx_buf.h"
#include "log.h"
#include "outbox.sql.h"
#include "process.h"

#define PAUSE_FIRST 100 /* ms */
#define PAUSE_MAX 5000

typedef struct {
    char **effects;
    char **objects;
    char **generations;
    size_t n;
} done_t;


bool
cx_outbox_pause(int *ms)
{
    int left;
    struct timespec step = { 0, 50 * 1000000L };

    *ms = *ms == 0 ? PAUSE_FIRST : *ms * 2 > PAUSE_MAX ? PAUSE_MAX : *ms * 2;

    /* in steps: a signal may come just before the sleep */
    for (left = *ms; left > 0 && !cx_stopping; left -= 50) {
        nanosleep(&step, NULL);
    }

    return !cx_stopping;
}


static cx_pg_rc_t
claim(const cx_outbox_t *outbox, TALLOC_CTX *ctx, PGresult **result)
{
    char limit[16];

    snprintf(limit, sizeof(limit), "%d", outbox->batch);

    return cx_pg_query(outbox->pg, ctx, result, &SQL_OUTBOX_CLAIM,
                       outbox->effects, limit);
}


/* While PostgreSQL is away nothing else can be done, so that a row does not
 * wait for the end of its lease when it is back. */
static void
retry(const cx_outbox_t *outbox, TALLOC_CTX *ctx, const cx_outbox_item_t *item)
{
    int ms;
    char max[16];
    PGresult *result;

    ms = 0;
    snprintf(max, sizeof(max), "%d", outbox->retry_max);

    while (cx_pg_query(outbox->pg, ctx, &result, &SQL_OUTBOX_RETRY,
                       item->effect, item->object, item->generation, max)
           == CX_PG_AWAY) {
        if (!cx_outbox_pause(&ms)) {
            break;
        }
    }
}


static void
finish(const cx_outbox_t *outbox, TALLOC_CTX *ctx, done_t *done)
{
    int ms;
    char *effects, *objects, *generations;
    PGresult *result;

    if (done->n == 0) {
        return;
    }

    ms = 0;
    effects = cx_must(cx_pg_array(ctx, done->effects));
    objects = cx_must(cx_pg_array(ctx, done->objects));
    generations = cx_must(cx_pg_array(ctx, done->generations));

    while (cx_pg_query(outbox->pg, ctx, &result, &SQL_OUTBOX_DONE, effects,
                       objects, generations)
           == CX_PG_AWAY) {
        if (!cx_outbox_pause(&ms)) {
            break;
        }
    }
}


static void
handle_all(const cx_outbox_t *outbox, TALLOC_CTX *ctx, const PGresult *rows)
{
    int i, n;
    done_t done;
    TALLOC_CTX *item_ctx;
    cx_outbox_item_t item;

    n = PQntuples(rows);
    done.effects = cx_must(talloc_zero_array(ctx, char *, n + 1));
    done.objects = cx_must(talloc_zero_array(ctx, char *, n + 1));
    done.generations = cx_must(talloc_zero_array(ctx, char *, n + 1));
    done.n = 0;

    for (i = 0; i < n; i++) {
        item.effect = cx_pg_text(rows, i, 0);
        item.object = cx_pg_text(rows, i, 1);
        item.generation = cx_pg_text(rows, i, 2);

        item_ctx = cx_must(talloc_new(ctx));

        if (outbox->handle(outbox->data, item_ctx, &item)) {
            done.effects[done.n] = (char *) item.effect;
            done.objects[done.n] = (char *) item.object;
            done.generations[done.n++] = (char *) item.generation;

        } else {
            retry(outbox, item_ctx, &item);
        }

        talloc_free(item_ctx);
    }

    finish(outbox, ctx, &done);
}


int
cx_outbox_run(const cx_outbox_t *outbox)
{
    int fd, ms;
    TALLOC_CTX *ctx;
    PGresult *rows;
    cx_outbox_turn_t turn;

    fd = cx_poke_listen(outbox->settings, outbox->name);
    if (fd == -1) {
        return 1;
    }

    ms = 0;

    while (!cx_stopping) {
        ctx = cx_must(talloc_new(NULL));
        turn = CX_OUTBOX_IDLE;

        if (outbox->between != NULL) {
            turn = outbox->between(outbox->data, ctx);
        }

        if (turn != CX_OUTBOX_WAIT) {
            if (claim(outbox, ctx, &rows) != CX_PG_OK) {
                talloc_free(ctx);
                cx_outbox_pause(&ms);
                continue;
            }

            ms = 0;
            handle_all(outbox, ctx, rows);

            if (PQntuples(rows) == outbox->batch) {
                turn = CX_OUTBOX_BUSY;
            }
        }

        talloc_free(ctx);

        if (turn != CX_OUTBOX_BUSY) {
            cx_poke_wait(fd, turn == CX_OUTBOX_SOON ? CX_OUTBOX_SHORT
                                                    : CX_OUTBOX_POLL);
        }
    }

    close(fd);

    return 0;
}
