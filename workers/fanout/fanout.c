/*
 * cardx-fanout SETTINGS [rebuild | check | rewrap]: keeps the projection true:
 * brings what the outbox asks for, builds it again when Redis has lost it, and
 * once a while deletes from PostgreSQL what has had its time
 * (docs/projection.md).
 *
 * With `rebuild` it empties Redis, builds the projection, and exits; with
 * `check` it compares it with PostgreSQL; with `rewrap` it has another master
 * key take the place of the one before.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "clock.h"
#include "cx_buf.h"
#include "cx_id.h"
#include "fanout.sql.h"
#include "log.h"
#include "match_books.h"
#include "outbox.h"
#include "process.h"
#include "rebuild.h"
#include "rewrap.h"
#include "scans.h"
#include "tell.h"

#define BATCH 32
#define RETRY_MAX 300    /* s */
#define RETRY_SOON 1     /* the same while a node of Redis is away */
#define SCANS_EVERY 1000 /* ms */
#define SWEEP_EVERY 60000
#define REBUILD_EVERY 1000 /* ms between two tries to begin */

typedef struct {
    const cx_settings_t *settings;
    cx_projector_t p;
    cx_tell_t tell;
    cx_rebuild_t *rebuild; /* or NULL */
    int64_t checked;       /* these are ms of the monotonic clock */
    int64_t tried;
    int64_t drained;
    int64_t swept;
    cx_projection_state_t state;
    cx_outbox_t outbox;
} fanout_t;


/* What card_projection() does not cover.  A denial must be confirmed; what
 * gives access need not. */
static bool
handle_row(fanout_t *f, TALLOC_CTX *ctx, const char *card_id,
           const PGresult *rows, int i)
{
    size_t len;
    long long expires;
    unsigned char *hash;

    hash = cx_pg_bytes(ctx, rows, i, 0, &len);
    expires = cx_pg_integer(rows, i, 1);

    if (hash == NULL || len != CX_SECRET_LEN) {
        return true;
    }

    if (expires == 0) {
        return cx_deny_key(&f->p, card_id, hash);
    }

    cx_project_key(&f->p, card_id, hash, expires, cx_pg_text(rows, i, 2));

    return true;
}


static bool
handle_card(fanout_t *f, TALLOC_CTX *ctx, const char *card_id)
{
    int i;
    bool done;
    PGresult *rows;

    /* the epoch first: what is read after it may be written in it */
    if (!cx_projector_epoch(&f->p)
        || cx_pg_query(f->p.pg, ctx, &rows, &SQL_FANOUT_CARD, card_id)
               != CX_PG_OK) {
        return false;
    }

    done = true;
    cx_projector_hold(&f->p);

    for (i = 0; i < PQntuples(rows) && done; i++) {
        done = handle_row(f, ctx, card_id, rows, i);
    }

    done = done && cx_renew_card(&f->p, card_id, false);

    return cx_projector_release(&f->p) && done;
}


static bool
handle_terminal(fanout_t *f, TALLOC_CTX *ctx, const char *object)
{
    const char *slash;
    char user_id[CX_ID_LEN + 1];
    PGresult *row;

    slash = strchr(object, '/');
    if (slash == NULL || slash - object != CX_ID_LEN) {
        cx_alert("outbox: terminal %s: expected <user_id>/<terminal_id>",
                 object);
        return true;
    }

    memcpy(user_id, object, CX_ID_LEN);
    user_id[CX_ID_LEN] = '\0';

    if (cx_pg_query(f->p.pg, ctx, &row, &SQL_FANOUT_TERMINAL_GONE, user_id,
                    slash + 1)
        != CX_PG_OK) {
        return false;
    }

    return !cx_pg_true(row, 0, 0)
           || cx_deny_terminal(&f->p, user_id,
                               (uint32_t) strtoul(slash + 1, NULL, 10));
}


static bool
handle(void *data, TALLOC_CTX *ctx, const cx_outbox_item_t *item)
{
    fanout_t *f = data;

    if (strcmp(item->effect, "match") == 0) {
        return cx_match_user(f->p.pg, f->settings, ctx, item->object);
    }

    return strcmp(item->effect, "card") == 0
               ? handle_card(f, ctx, item->object)
               : handle_terminal(f, ctx, item->object);
}


/* Begins a rebuild if one is due, or does its next step.  True: there is
 * more of it. */
static bool
rebuild(fanout_t *f, int64_t now)
{
    bool busy;

    if (f->rebuild == NULL) {
        if (f->state == CX_PROJECTION_READY || now - f->tried < REBUILD_EVERY) {
            return false;
        }

        f->tried = now;
        f->rebuild = cx_rebuild_begin(NULL, &f->p, false, &busy);
        if (f->rebuild == NULL) {
            return false;
        }

        cx_info("projection: not complete for this Redis, building it");
        f->state = CX_PROJECTION_PART;
    }

    switch (cx_rebuild_step(f->rebuild)) {
    case CX_REBUILD_MORE:
        return true;

    case CX_REBUILD_DONE:
        f->state = CX_PROJECTION_READY;
        break;

    case CX_REBUILD_BROKEN:
        cx_warn("projection: Redis failed or was flushed, starting again");
        break;
    }

    talloc_free(f->rebuild);
    f->rebuild = NULL;

    return false;
}


static void
sweep(fanout_t *f, TALLOC_CTX *ctx, int64_t now)
{
    PGresult *row;

    if (now - f->swept < SWEEP_EVERY) {
        return;
    }

    /* in small steps, one a round, until there is nothing left */
    if (cx_pg_query(f->p.pg, ctx, &row, &SQL_SWEEP) != CX_PG_OK
        || (cx_pg_integer(row, 0, 0) == 0 && !cx_match_sweep(f->p.pg, ctx))) {
        f->swept = now;
    }
}


/* Users are told first: a chunk of a large fan-out takes its time. */
static cx_outbox_turn_t
tell(fanout_t *f)
{
    cx_tell_rc_t wakes, holders;

    wakes = cx_tell_wakes(&f->tell);
    holders = wakes != CX_TELL_AWAY ? cx_tell_holders(&f->tell) : wakes;

    if (wakes == CX_TELL_MORE || holders == CX_TELL_MORE) {
        return CX_OUTBOX_BUSY;
    }

    return wakes == CX_TELL_SOON || holders == CX_TELL_SOON ? CX_OUTBOX_SOON
                                                            : CX_OUTBOX_IDLE;
}


static cx_outbox_turn_t
between(void *data, TALLOC_CTX *ctx)
{
    bool more, whole;
    cx_outbox_turn_t turn;
    int64_t now;
    fanout_t *f = data;

    now = cx_monotonic_ms();
    sweep(f, ctx, now);

    if (now - f->checked >= CX_OUTBOX_POLL || f->state == CX_PROJECTION_AWAY) {
        f->checked = now;
        f->state = cx_projection_state(&f->p, ctx, &whole);

        /* what could not be denied on a node is as soon as it is back */
        f->outbox.retry_max = whole ? RETRY_MAX : RETRY_SOON;

        if (f->state != CX_PROJECTION_AWAY) {
            cx_forget_ready(f->p.redis);
        }
    }

    if (f->state == CX_PROJECTION_AWAY) {
        /* what was begun is on a connection that is lost, too */
        talloc_free(f->rebuild);
        f->rebuild = NULL;
        return CX_OUTBOX_WAIT;
    }

    more = rebuild(f, now);

    if (f->state == CX_PROJECTION_READY && now - f->drained >= SCANS_EVERY) {
        f->drained = now;
        cx_scans_drain(&f->p, ctx);
    }

    if (f->state == CX_PROJECTION_LOST) {
        return CX_OUTBOX_WAIT;
    }

    turn = tell(f);

    return more ? CX_OUTBOX_BUSY : turn;
}


static void
show(const cx_rebuild_t *r, long long total)
{
    int64_t ms;

    ms = cx_monotonic_ms() - r->started;

    if (total >= 0) {
        fprintf(stderr, "cards %lld/%lld, %lld per second\n", r->cards, total,
                r->cards * 1000 / (ms > 0 ? ms : 1));

    } else {
        fprintf(stderr, "cards %lld, %lld per second\n", r->cards,
                r->cards * 1000 / (ms > 0 ? ms : 1));
    }
}


/* True: done.  False: broken, or the process is to stop. */
static bool
rebuild_all(cx_rebuild_t *r)
{
    int64_t shown;
    long long total;
    cx_rebuild_rc_t rc;

    rc = CX_REBUILD_MORE;
    total = cx_rebuild_total(r);
    shown = 0;

    while (rc == CX_REBUILD_MORE && !cx_stopping) {
        if (cx_monotonic_ms() - shown >= 1000) {
            shown = cx_monotonic_ms();
            show(r, total);
        }

        rc = cx_rebuild_step(r);
    }

    show(r, total);

    return rc == CX_REBUILD_DONE;
}


/* The command. */
static int
rebuild_now(fanout_t *f)
{
    int ms;
    bool busy, done, whole;
    TALLOC_CTX *ctx;

    ctx = cx_must(talloc_new(NULL));
    ms = 0;
    done = false;

    if (cx_projection_state(&f->p, ctx, &whole) == CX_PROJECTION_READY) {
        cx_scans_drain(&f->p, ctx);
    }

    while (!done && !cx_stopping) {
        f->rebuild = cx_rebuild_begin(ctx, &f->p, true, &busy);

        if (f->rebuild != NULL) {
            done = rebuild_all(f->rebuild);
            talloc_free(f->rebuild);

        } else if (busy) {
            fprintf(stderr, "another process is rebuilding: waiting\n");
        }

        if (!done) {
            cx_outbox_pause(&ms);
        }
    }

    talloc_free(ctx);

    return done ? 0 : 1;
}


int
main(int argc, char **argv)
{
    int code;
    fanout_t f;
    cx_settings_t *settings;

    settings = cx_process_start(argc, argv, "cardx-fanout");

    memset(&f, 0, sizeof(f));
    f.settings = settings;
    cx_projector_init(&f.p, settings, settings->postgresql_fanout);
    cx_tell_init(&f.tell, &f.p);
    f.tried = -REBUILD_EVERY;

    f.outbox = (cx_outbox_t){
        .settings = settings,
        .pg = f.p.pg,
        .name = "fanout",
        .effects = "{card,match,terminal}",
        .batch = BATCH,
        .retry_max = RETRY_MAX,
        .data = &f,
        .handle = handle,
        .between = between,
    };

    if (argc == 2) {
        code = cx_outbox_run(&f.outbox);
        talloc_free(f.rebuild);
        cx_tell_close(&f.tell);

    } else if (argc == 3 && strcmp(argv[2], "rebuild") == 0) {
        code = rebuild_now(&f);

    } else if (argc == 3 && strcmp(argv[2], "check") == 0) {
        code = cx_check(&f.p);

    } else if (argc == 3 && strcmp(argv[2], "rewrap") == 0) {
        code = cx_rewrap(&f.p);

    } else {
        fprintf(stderr, "usage: cardx-fanout SETTINGS-FILE "
                        "[rebuild | check | rewrap]\n");
        code = 2;
    }

    talloc_free(settings);

    return code;
}
