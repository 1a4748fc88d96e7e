#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.sql.h"
#include "check_kinds.h"
#include "clock.h"
#include "cx_buf.h"
#include "cx_projection.h"
#include "outbox.h"
#include "process.h"
#include "rebuild.h"

#define PAGE "500"
#define KINDS_MAX 32
#define SUSPECTS_MAX 10000
#define LOOKS 6         /* at a suspect, until it is told */
#define LOOK_EVERY 1000 /* ms */

typedef struct {
    cx_look_t look;
    char **suspects;
    size_t n_suspects;
    long long seen[KINDS_MAX];
    long long names;
    long long wrong;
    long long missing;
    int away;
} check_t;

/* Names that must be there: a page of rows each gives one. */
typedef void (*name_t)(const PGresult *rows, int row, char *out);

typedef struct {
    const cx_statement_t *statement;
    const char *start;
    name_t name;
} truth_t;


static int
kind_of(const char *name)
{
    int i;

    for (i = 0; cx_check_kinds[i].prefix != NULL; i++) {
        if (strncmp(name, cx_check_kinds[i].prefix,
                    strlen(cx_check_kinds[i].prefix))
            == 0) {
            break;
        }
    }

    return i;
}


static cx_check_rc_t
look_at(check_t *c, TALLOC_CTX *ctx, const char *name)
{
    const cx_check_kind_t *kind;

    kind = &cx_check_kinds[kind_of(name)];
    c->look.why = "";

    return kind->look == NULL
               ? CX_CHECK_SAME
               : kind->look(&c->look, ctx, name, name + strlen(kind->prefix));
}


/* The first look at a name. */
static void
first_look(check_t *c, const char *name)
{
    TALLOC_CTX *ctx;

    ctx = cx_must(talloc_new(NULL));

    if (look_at(c, ctx, name) != CX_CHECK_SAME
        && c->n_suspects < SUSPECTS_MAX) {
        c->suspects[c->n_suspects++] =
            cx_must(talloc_strdup(c->suspects, name));
    }

    talloc_free(ctx);
}


/* Every name that a node has. */
static bool
look_node(check_t *c, cx_redis_node_t *node)
{
    size_t i;
    bool ok;
    TALLOC_CTX *page;
    const redisReply *names;
    char cursor[CX_CURSOR] = "0";

    do {
        page = cx_must(talloc_new(NULL));
        names = cx_check_scan(c->look.p, node, page, cursor, "cardx:*");
        ok = names != NULL;

        for (i = 0; ok && i < names->elements; i++) {
            c->seen[kind_of(names->element[i]->str)]++;
            c->names++;
            first_look(c, names->element[i]->str);
        }

        talloc_free(page);
    } while (ok && strcmp(cursor, "0") != 0 && !cx_stopping);

    return ok;
}


/* Every name that Redis has. */
static bool
look_redis(check_t *c)
{
    size_t i, n;
    bool ok;
    cx_redis_node_t **nodes;

    n = cx_redis_nodes(c->look.p->redis, &nodes);
    nodes = cx_must(talloc_memdup(NULL, nodes, n * sizeof(*nodes)));
    ok = n > 0;

    for (i = 0; ok && i < n; i++) {
        ok = look_node(c, nodes[i]);
    }

    talloc_free(nodes);

    return ok;
}


static void
name_card(const PGresult *rows, int row, char *out)
{
    cx_card_name(out, PQgetvalue(rows, row, 0));
}


static void
name_token(const PGresult *rows, int row, char *out)
{
    /* "\x" and 64 hex digits */
    snprintf(out, CX_NAME_MAX, CX_TOKEN_PREFIX "%s}:%.*s",
             PQgetvalue(rows, row, 1), CX_HASH_NAME,
             PQgetvalue(rows, row, 0) + 2);
}


static void
name_thumbnail(const PGresult *rows, int row, char *out)
{
    cx_thumb_name(out, PQgetvalue(rows, row, 0));
}


static const truth_t truths[] = {
    { &SQL_CHECK_CARDS_PAGE, "", name_card },
    { &SQL_CHECK_TOKENS_PAGE, "\\x", name_token },
    { &SQL_CHECK_THUMBNAILS_PAGE, "", name_thumbnail },
};


/* Whether a name is there: what is, has been looked at. */
static void
look_there(check_t *c, TALLOC_CTX *ctx, const char *name)
{
    const redisReply *reply;

    reply = cx_redis_words(c->look.p->redis, ctx, "EXISTS", name, NULL);

    if (reply == NULL || reply->type != REDIS_REPLY_INTEGER
        || reply->integer == 0) {
        first_look(c, name);
    }
}


static bool
look_truth(check_t *c, const truth_t *truth)
{
    int i, n;
    char *after;
    TALLOC_CTX *ctx, *page;
    PGresult *rows;
    char name[CX_NAME_MAX];

    ctx = cx_must(talloc_new(NULL));
    after = cx_must(talloc_strdup(ctx, truth->start));

    do {
        page = cx_must(talloc_new(ctx));

        if (cx_pg_query(c->look.p->pg, page, &rows, truth->statement, after,
                        PAGE)
            != CX_PG_OK) {
            talloc_free(ctx);
            return false;
        }

        n = PQntuples(rows);

        for (i = 0; i < n; i++) {
            truth->name(rows, i, name);
            look_there(c, page, name);
        }

        if (n > 0) {
            after = cx_must(talloc_strdup(ctx, PQgetvalue(rows, n - 1, 0)));
        }

        talloc_free(page);
    } while (n == atoi(PAGE) && !cx_stopping);

    talloc_free(ctx);

    return true;
}


/* Looks again at what differed; tells what does so to the end. */
static void
look_again(check_t *c, bool last)
{
    size_t i, n;
    TALLOC_CTX *ctx;
    cx_check_rc_t rc;

    n = 0;

    for (i = 0; i < c->n_suspects; i++) {
        ctx = cx_must(talloc_new(NULL));
        rc = look_at(c, ctx, c->suspects[i]);

        if (rc != CX_CHECK_SAME) {
            c->suspects[n++] = c->suspects[i];
        }

        if (last && rc != CX_CHECK_SAME) {
            c->wrong += rc == CX_CHECK_WRONG;
            c->missing += rc == CX_CHECK_MISSING;
            c->away += rc == CX_CHECK_AWAY;
            printf("%s: %s%s%s\n",
                   rc == CX_CHECK_WRONG     ? "wrong"
                   : rc == CX_CHECK_MISSING ? "missing"
                                            : "not known",
                   c->suspects[i], c->look.why[0] != '\0' ? ": " : "",
                   c->look.why);
        }

        talloc_free(ctx);
    }

    c->n_suspects = n;
}


static void
show_seen(const check_t *c)
{
    int i;

    printf("looked at:");

    for (i = 0; i == 0 || cx_check_kinds[i - 1].prefix != NULL; i++) {
        if (cx_check_kinds[i].look != NULL
            || cx_check_kinds[i].prefix == NULL) {
            printf(" %s %lld", cx_check_kinds[i].what, c->seen[i]);
        }
    }

    printf("\n");
}


/* Effects that wait, and those that have for more than a minute. */
static bool
outbox(check_t *c, long long *waiting, long long *late)
{
    bool ok;
    PGresult *row;
    TALLOC_CTX *ctx;

    ctx = cx_must(talloc_new(NULL));
    ok = cx_pg_query(c->look.p->pg, ctx, &row, &SQL_CHECK_OUTBOX) == CX_PG_OK;
    *waiting = ok ? cx_pg_integer(row, 0, 0) : 0;
    *late = ok ? cx_pg_integer(row, 0, 1) : 0;
    talloc_free(ctx);

    return ok;
}


static bool
look_at_all(check_t *c)
{
    int i;
    size_t k;

    if (!look_redis(c)) {
        return false;
    }

    for (k = 0; k < sizeof(truths) / sizeof(truths[0]); k++) {
        if (!look_truth(c, &truths[k])) {
            return false;
        }
    }

    c->look.again = true;

    for (i = 1; c->n_suspects > 0 && i <= LOOKS && !cx_stopping; i++) {
        cx_poke_wait(-1, LOOK_EVERY);
        look_again(c, i == LOOKS);
    }

    return c->away == 0 && !cx_stopping;
}


int
cx_check(cx_projector_t *p)
{
    bool told, whole;
    check_t c;
    TALLOC_CTX *ctx;
    long long waiting, late;
    cx_projection_state_t state;

    memset(&c, 0, sizeof(c));
    c.look.p = p;
    ctx = cx_must(talloc_new(NULL));
    c.suspects = cx_must(talloc_array(ctx, char *, SUSPECTS_MAX));

    state = cx_projection_state(p, ctx, &whole);
    told = state == CX_PROJECTION_READY && whole && look_at_all(&c)
           && outbox(&c, &waiting, &late);
    talloc_free(c.look.signed_out);
    talloc_free(ctx);

    if (state != CX_PROJECTION_READY || !whole) {
        fprintf(stderr, "Redis is away, or the projection is not complete\n");
        return 2;
    }

    if (!told) {
        fprintf(stderr, "Redis or PostgreSQL could not be asked\n");
        return 2;
    }

    show_seen(&c);
    printf("compared %lld names: %lld wrong, %lld missing; outbox: %lld "
           "waiting, %lld late\n",
           c.names, c.wrong, c.missing, waiting, late);

    if (c.wrong > 0 || late > 0) {
        return 1;
    }

    return c.missing > 0 ? 3 : 0;
}
