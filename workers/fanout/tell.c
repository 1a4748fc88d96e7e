#include "tell.h"

#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "cx_buf.h"
#include "cx_changes.h"
#include "cx_projection.h"
#include "log.h"
#include "tell.sql.h"

#define WAKES "256"       /* users at once */
#define CHANGES_MAX "16"  /* of one user in a message */
#define MESSAGE_MAX 65536 /* bytes; more users: another message */
#define TIMEOUT_MS 1000   /* for a node that is not known to be away */

/* in place of a link */
#define NOWHERE (-1) /* its node is lost */
#define NOBODY (-2)  /* no user */

/* A chunk ends after 40 ms: its size follows what the last ones took. */
#define CHUNK_MS 40
#define CHUNK_FIRST 200
#define CHUNK_MIN 16
#define CHUNK_MAX 4000


void
cx_tell_init(cx_tell_t *tell, cx_projector_t *p)
{
    memset(tell, 0, sizeof(*tell));
    tell->p = p;
    tell->page = CHUNK_FIRST;
}


void
cx_tell_close(cx_tell_t *tell)
{
    int i;

    for (i = 0; i < tell->n; i++) {
        talloc_free(tell->bulks[i]);
        talloc_free(tell->addresses[i]);
    }

    tell->n = 0;
}


/* Forgets links that were lost: they may be had again. */
static void
tidy(cx_tell_t *tell)
{
    int i, n;

    n = 0;

    for (i = 0; i < tell->n; i++) {
        if (tell->bulks[i] == NULL) {
            talloc_free(tell->addresses[i]);
            continue;
        }

        tell->bulks[n] = tell->bulks[i];
        tell->addresses[n++] = tell->addresses[i];
    }

    tell->n = n;
    tell->failed = false;
}


static bool
same(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}


/* The link to an address, opened by its first use.  One that can't be had is
 * not tried again before tidy(). */
static int
link_to(cx_tell_t *tell, const char *address)
{
    int i;

    for (i = 0; i < tell->n; i++) {
        if (same(tell->addresses[i], address)) {
            return tell->bulks[i] != NULL ? i : NOWHERE;
        }
    }

    if (i == CX_TELL_NODES) {
        return NOWHERE;
    }

    tell->n++;
    tell->bulks[i] = cx_bulk_open(NULL, tell->p->settings, address, TIMEOUT_MS);
    tell->addresses[i] =
        address != NULL ? cx_must(talloc_strdup(NULL, address)) : NULL;

    return tell->bulks[i] != NULL ? i : NOWHERE;
}


/* The link to the node of a name.  One that is away, as the projection's own
 * link finds, makes nobody wait. */
static int
link_of(cx_tell_t *tell, const char *name)
{
    cx_redis_node_t *node;

    if (!tell->p->settings->redis_cluster) {
        return link_to(tell, NULL);
    }

    node = cx_redis_node(tell->p->redis, name);

    return node != NULL && !cx_redis_is_away(node)
               ? link_to(tell, node->address)
               : NOWHERE;
}


/* A cluster's nodes hand on to each other what is published. */
static int
link_of_any(cx_tell_t *tell)
{
    int at;
    size_t i, n;
    cx_redis_node_t **nodes;

    at = NOWHERE;
    n = tell->p->settings->redis_cluster
            ? cx_redis_nodes(tell->p->redis, &nodes)
            : 0;

    for (i = 0; i < n && at == NOWHERE; i++) {
        if (!cx_redis_is_away(nodes[i])) {
            at = link_to(tell, nodes[i]->address);
        }
    }

    return at;
}


/* Waits for what was sent.  Links that fail are lost until tidy().  False:
 * some have. */
static bool
collect(cx_tell_t *tell)
{
    int i;
    bool ok;

    ok = !tell->failed;

    for (i = 0; i < tell->n; i++) {
        if (tell->bulks[i] != NULL && !cx_bulk_collect(tell->bulks[i])) {
            talloc_free(tell->bulks[i]);
            tell->bulks[i] = NULL;
            ok = false;
        }
    }

    if (!ok) {
        cx_redis_doubt(tell->p->redis);
    }

    return ok;
}


static void
flush(cx_tell_t *tell)
{
    int i;

    for (i = 0; i < tell->n; i++) {
        if (tell->bulks[i] != NULL) {
            /* what fails shows when it is collected */
            (void) cx_bulk_flush(tell->bulks[i]);
        }
    }
}


/* A head of the users in the first column. */
static const char *
head_name(const PGresult *rows, int i, char name[CX_NAME_MAX])
{
    const char *user_id;

    user_id = cx_pg_text(rows, i, 0);

    if (user_id == NULL || strlen(user_id) != CX_ID_LEN) {
        return NULL;
    }

    cx_head_name(name, user_id);

    return name;
}


/* Has Redis drop heads; the link that each was sent on.  The one server is
 * told of all by one command; in a cluster each has a slot of its own. */
static int *
drop_heads(cx_tell_t *tell, TALLOC_CTX *ctx, const PGresult *rows)
{
    int i, n, *at, begun;
    char(*names)[CX_NAME_MAX];

    n = PQntuples(rows);
    at = cx_must(talloc_array(ctx, int, (unsigned) n + 1));
    names = cx_must(talloc_size(at, ((size_t) n + 1) * sizeof(*names)));
    begun = NOWHERE;

    for (i = 0; i < n; i++) {
        at[i] = NOBODY;

        if (head_name(rows, i, names[i]) == NULL) {
            continue;
        }

        at[i] = link_of(tell, names[i]);

        if (at[i] == NOWHERE) {
            continue;
        }

        if (begun == NOWHERE) {
            cx_bulk_word(tell->bulks[at[i]], "DEL");
        }

        cx_bulk_word(tell->bulks[at[i]], names[i]);

        if (tell->p->settings->redis_cluster) {
            cx_bulk_send(tell->bulks[at[i]]);

        } else {
            begun = at[i];
        }
    }

    if (begun != NOWHERE) {
        cx_bulk_send(tell->bulks[begun]);
    }

    return at;
}


/* Users whose heads a lost node may still have are woken again later: nobody
 * else waits for it.  False: nothing is left but lost nodes. */
static bool
postpone(cx_tell_t *tell, TALLOC_CTX *ctx, const PGresult *rows, const int *at)
{
    int i, n;
    size_t lost;
    char **users;
    PGresult *done;

    lost = 0;
    n = PQntuples(rows);
    users = cx_must(talloc_zero_array(ctx, char *, (unsigned) n + 1));

    for (i = 0; i < n; i++) {
        if (at[i] == NOWHERE || (at[i] >= 0 && tell->bulks[at[i]] == NULL)) {
            users[lost++] = (char *) cx_pg_text(rows, i, 0);
        }
    }

    return lost == 0
           || (tell->p->settings->redis_cluster && link_of_any(tell) != NOWHERE
               && cx_pg_query(tell->p->pg, ctx, &done, &SQL_WAKES_POSTPONE,
                              cx_must(cx_pg_array(ctx, users)))
                      == CX_PG_OK);
}


static void
forget_heads(cx_tell_t *tell, const PGresult *rows)
{
    int i;
    char name[CX_NAME_MAX];

    for (i = 0; i < PQntuples(rows); i++) {
        if (head_name(rows, i, name) != NULL) {
            (void) cx_forget(&tell->p->forget, tell->p->redis, name);
        }
    }
}


/* When Redis has dropped them, caches are to forget them: who polls then asks
 * a worker.  `more` may be NULL. */
static bool
forget(cx_tell_t *tell, const PGresult *rows, const PGresult *more)
{
    cx_forget_hold(&tell->p->forget);
    forget_heads(tell, rows);

    if (more != NULL) {
        forget_heads(tell, more);
    }

    return cx_forget_release(&tell->p->forget, tell->p->redis);
}


static void
publish(cx_tell_t *tell, unsigned channel, const cx_buf_t *message)
{
    int at;
    char name[CX_NAME_MAX];

    cx_wake_name(name, channel);
    at = link_of(tell, name);

    if (at == NOWHERE) {
        at = link_of_any(tell);
    }

    if (at == NOWHERE) {
        tell->failed = true;
        return;
    }

    cx_bulk_word(tell->bulks[at], "PUBLISH");
    cx_bulk_word(tell->bulks[at], name);
    cx_bulk_bytes(tell->bulks[at], message->data, message->len);
    cx_bulk_send(tell->bulks[at]);
}


/* Rows of user, line and epoch: one message for each channel, which carries
 * all of its users. */
static void
wake(cx_tell_t *tell, TALLOC_CTX *ctx, const PGresult *rows)
{
    int i;
    unsigned channel;
    cx_buf_t *messages, *m;
    const char *user_id, *line;

    messages = cx_must(talloc_zero_array(ctx, cx_buf_t, CX_WAKE_CHANNELS));

    for (i = 0; i < PQntuples(rows); i++) {
        user_id = cx_pg_text(rows, i, 0);
        line = cx_pg_text(rows, i, 1);

        if (user_id == NULL || strlen(user_id) != CX_ID_LEN) {
            continue;
        }

        channel = cx_wake_channel(user_id);
        m = &messages[channel];

        if (m->len > MESSAGE_MAX) {
            publish(tell, channel, m);
            m->len = 0;
        }

        if (m->ctx == NULL) {
            cx_buf_init(m, messages);
        }

        if (m->len == 0) {
            cx_buf_puts(m, cx_pg_text(rows, i, 2));
            cx_buf_putc(m, '\n');
        }

        cx_buf_puts(m, user_id);

        if (line[0] != '\0') {
            cx_buf_putc(m, ' ');
            cx_buf_puts(m, line);
        }

        cx_buf_putc(m, '\n');
    }

    for (channel = 0; channel < CX_WAKE_CHANNELS; channel++) {
        if (messages[channel].len > 0) {
            publish(tell, channel, &messages[channel]);
        }
    }

    talloc_free(messages);
}


/* Nearly always nobody is, while a large fan-out runs: that is found out by
 * less than a transaction. */
static cx_tell_rc_t
wakes_due(cx_tell_t *tell, TALLOC_CTX *ctx)
{
    PGresult *row;

    if (cx_pg_query(tell->p->pg, ctx, &row, &SQL_WAKES_DUE) != CX_PG_OK) {
        return CX_TELL_AWAY;
    }

    return cx_pg_true(row, 0, 0) ? CX_TELL_MORE : CX_TELL_IDLE;
}


/* Told before the commit that takes the rows out of the outbox: at least
 * once.  What they are told of has been committed long since. */
cx_tell_rc_t
cx_tell_wakes(cx_tell_t *tell)
{
    int n, *at;
    bool waiting;
    PGresult *rows;
    TALLOC_CTX *ctx;
    cx_tell_rc_t rc;

    ctx = cx_must(talloc_new(NULL));
    rc = wakes_due(tell, ctx);

    if (rc != CX_TELL_MORE) {
        goto done;
    }

    rc = CX_TELL_AWAY;
    tidy(tell);

    if (cx_pg_begin(tell->p->pg) != CX_PG_OK
        || cx_pg_query(tell->p->pg, ctx, &rows, &SQL_WAKES_TAKE, WAKES,
                       CHANGES_MAX)
               != CX_PG_OK) {
        goto done;
    }

    n = PQntuples(rows);
    waiting = n > 0 && cx_pg_text(rows, n - 1, 0) == NULL;
    at = drop_heads(tell, ctx, rows);
    (void) collect(tell);

    if (!forget(tell, rows, NULL)) {
        goto done;
    }

    wake(tell, ctx, rows);

    if (collect(tell) && postpone(tell, ctx, rows, at)
        && cx_pg_commit(tell->p->pg) == CX_PG_OK) {
        rc = n > (waiting ? 1 : 0) ? CX_TELL_MORE
             : waiting             ? CX_TELL_SOON
                                   : CX_TELL_IDLE;
    }

done:

    cx_pg_rollback(tell->p->pg);
    talloc_free(ctx);

    return rc;
}


/* Tells of the last chunk, and writes the next one: while that is done Redis
 * drops heads. */
static bool
chunk(cx_tell_t *tell, TALLOC_CTX *ctx, const char *card_id, bool told)
{
    char page[16];
    int *at, *last_at;
    PGresult *last, *next;

    last = NULL;
    last_at = NULL;

    if (told) {
        if (cx_pg_query(tell->p->pg, ctx, &last, &SQL_FANOUT_TELL, card_id)
            != CX_PG_OK) {
            return false;
        }

        last_at = drop_heads(tell, ctx, last);
        flush(tell);
    }

    snprintf(page, sizeof(page), "%d", tell->page);

    if (cx_pg_query(tell->p->pg, ctx, &next, &SQL_FANOUT_WRITE, card_id, page)
        != CX_PG_OK) {
        return false;
    }

    /* before the commit, too: from then on no head may stand that does not
     * know of it, whoever is killed */
    at = drop_heads(tell, ctx, next);
    (void) collect(tell);

    if (!forget(tell, next, last)) {
        return false;
    }

    if (told) {
        wake(tell, ctx, last);
    }

    return collect(tell) && (!told || postpone(tell, ctx, last, last_at))
           && postpone(tell, ctx, next, at);
}


static void
adapt(cx_tell_t *tell, int64_t ms)
{
    int page;

    page = ms > CHUNK_MS ? (int) (tell->page * CHUNK_MS / ms)
                         : tell->page + tell->page / 4;
    tell->page = page < CHUNK_MIN   ? CHUNK_MIN
                 : page > CHUNK_MAX ? CHUNK_MAX
                                    : page;
}


cx_tell_rc_t
cx_tell_holders(cx_tell_t *tell)
{
    bool ok;
    int64_t began;
    PGresult *row;
    TALLOC_CTX *ctx;
    cx_tell_rc_t rc;
    const char *card_id, *state;

    rc = CX_TELL_AWAY;
    began = cx_monotonic_ms();
    ctx = cx_must(talloc_new(NULL));
    tidy(tell);

    if (cx_pg_begin(tell->p->pg) != CX_PG_OK
        || cx_pg_query(tell->p->pg, ctx, &row, &SQL_FANOUT_TAKE) != CX_PG_OK) {
        goto done;
    }

    card_id = cx_pg_text(row, 0, 0);

    if (card_id == NULL) {
        rc = CX_TELL_IDLE;
        goto done;
    }

    state = cx_pg_text(row, 0, 1);
    ok = strcmp(state, "wait") == 0
         || chunk(tell, ctx, card_id, strcmp(state, "tell") == 0);

    if (ok && cx_pg_commit(tell->p->pg) == CX_PG_OK) {
        rc = strcmp(state, "wait") == 0 ? CX_TELL_SOON : CX_TELL_MORE;

        if (rc == CX_TELL_MORE) {
            adapt(tell, cx_monotonic_ms() - began);
        }
    }

done:

    cx_pg_rollback(tell->p->pg);
    talloc_free(ctx);

    return rc;
}
