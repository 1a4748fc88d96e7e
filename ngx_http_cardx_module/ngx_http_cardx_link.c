
/*
 * The link to Redis: one connection for each nginx worker and server of a
 * cardx_redis directive, on which the commands of all requests are pipelined.
 * In a cluster there is one for each node, each with a state of its own.
 *
 *     DOWN ---reconnect timer---> SETUP ---INFO answered---> CHECKING
 *       ^                           |                         |    ^
 *       |                           |     cardx:ready is ours |    | or not
 *       +------- lost, silent ------+------------------- READY ----+
 *
 * Requests are served in READY only; else they fall back at once.  A watch
 * asks for cardx:ready at intervals, so that a projection that is no longer
 * complete, one that takes no writes, and a dead peer, are noticed.
 */


#include "ngx_http_cardx.h"


#define NGX_HTTP_CARDX_BACKOFF_MIN  50
#define NGX_HTTP_CARDX_BACKOFF_MAX  2000
#define NGX_HTTP_CARDX_WATCH        250


static ngx_int_t ngx_http_cardx_setup(ngx_http_cardx_link_t *link);
static void ngx_http_cardx_setup_reply(redisAsyncContext *ac, void *data,
    void *privdata);
static void ngx_http_cardx_info_reply(redisAsyncContext *ac, void *data,
    void *privdata);
static ngx_int_t ngx_http_cardx_ask_ready(ngx_http_cardx_link_t *link);
static void ngx_http_cardx_ready_reply(redisAsyncContext *ac, void *data,
    void *privdata);
static void ngx_http_cardx_reconnect_handler(ngx_event_t *ev);
static void ngx_http_cardx_watch_handler(ngx_event_t *ev);


/* NULL also if there are too many. */

ngx_http_cardx_link_t *
ngx_http_cardx_add_link(ngx_http_cardx_nodes_t *nodes,
    ngx_http_cardx_address_t *address)
{
    ngx_http_cardx_link_t  *link;

    if (nodes->n == CX_NODES_MAX) {
        return NULL;
    }

    link = ngx_calloc(sizeof(ngx_http_cardx_link_t), ngx_cycle->log);
    if (link == NULL) {
        return NULL;
    }

    /*
     * set by ngx_calloc():
     *
     *     link->state = NGX_HTTP_CARDX_LINK_DOWN;
     *     link->ac = NULL;
     *     link->own.ctx, link->map.ctx = NULL;
     *     link->map_text = NULL;
     */

    link->redis = nodes->redis;
    link->address = *address;
    link->own.link = link;
    link->map.link = link;

    link->mark = CX_SLOTS;
    link->ready_len = cx_own_name(link->ready, CX_READY, CX_SLOTS);

    link->reconnect.handler = ngx_http_cardx_reconnect_handler;
    link->reconnect.data = link;
    link->reconnect.log = ngx_cycle->log;
    link->reconnect.cancelable = 1;

    link->watch.handler = ngx_http_cardx_watch_handler;
    link->watch.data = link;
    link->watch.log = ngx_cycle->log;
    link->watch.cancelable = 1;

    nodes->links[nodes->n++] = link;

    return link;
}


void
ngx_http_cardx_connect(ngx_http_cardx_link_t *link)
{
    redisAsyncContext       *ac;
    ngx_http_cardx_redis_t  *redis;

    redis = link->redis;

    ac = ngx_http_cardx_address_context(&link->address);

    if (ac == NULL) {
        ngx_http_cardx_link_failed(link, "no memory");
        ngx_http_cardx_link_down(link);
        return;
    }

    link->ac = ac;

    if (ac->err || ngx_http_cardx_attach_link(link) != NGX_OK) {
        ngx_http_cardx_link_failed(link, ac->err ? ac->errstr
                                                 : "no connection left");

        /* not attached: hiredis tells nobody that the context is gone */

        link->ac = NULL;
        redisAsyncFree(ac);
        ngx_http_cardx_link_down(link);
        return;
    }

    link->state = NGX_HTTP_CARDX_LINK_SETUP;

    if (ngx_http_cardx_setup(link) != NGX_OK) {
        ngx_http_cardx_link_failed(link, "no memory");
        redisAsyncFree(ac);
        return;
    }

    link->asked = ngx_current_msec;
    link->watching = 1;

    ngx_add_timer(&link->watch, redis->connect_timeout);
}


redisAsyncContext *
ngx_http_cardx_address_context(ngx_http_cardx_address_t *address)
{
    /* the host is numeric: no name is resolved here */

    if (address->path) {
        return redisAsyncConnectUnix(address->path);
    }

    return redisAsyncConnect(address->host, (int) address->port);
}


/*
 * All that must be said first is sent in one go.  Answers come in order, so
 * the projection's mark is compared after the run_id is known.
 */

static ngx_int_t
ngx_http_cardx_setup(ngx_http_cardx_link_t *link)
{
    int                      rc;
    size_t                   len[2];
    u_char                   db[NGX_INT_T_LEN];
    const char              *argv[2];
    redisAsyncContext       *ac;
    ngx_http_cardx_redis_t  *redis;

    ac = link->ac;
    redis = link->redis;

    if (ngx_http_cardx_redis_auth(redis, ac, ngx_http_cardx_setup_reply,
                                  &link->own)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (redis->db) {
        argv[0] = "SELECT";
        len[0] = sizeof("SELECT") - 1;
        argv[1] = (char *) db;
        len[1] = ngx_sprintf(db, "%i", redis->db) - db;

        rc = redisAsyncCommandArgv(ac, ngx_http_cardx_setup_reply, &link->own,
                                   2, argv, len);
        if (rc != REDIS_OK) {
            return NGX_ERROR;
        }
    }

    argv[0] = "INFO";
    len[0] = sizeof("INFO") - 1;
    argv[1] = "server";
    len[1] = sizeof("server") - 1;

    rc = redisAsyncCommandArgv(ac, ngx_http_cardx_info_reply, &link->own,
                               2, argv, len);
    if (rc != REDIS_OK) {
        return NGX_ERROR;
    }

    return ngx_http_cardx_ask_ready(link);
}


/* AUTH or SELECT */

static void
ngx_http_cardx_setup_reply(redisAsyncContext *ac, void *data, void *privdata)
{
    redisReply               *reply;
    ngx_http_cardx_ticket_t  *own;

    reply = data;
    own = privdata;

    if (reply == NULL || reply->type == REDIS_REPLY_STATUS) {
        return;
    }

    ngx_http_cardx_link_failed(own->link, reply->type == REDIS_REPLY_ERROR
                                          ? reply->str : "unexpected reply");

    redisAsyncFree(ac);
}


static void
ngx_http_cardx_info_reply(redisAsyncContext *ac, void *data, void *privdata)
{
    char                     *p;
    redisReply               *reply;
    ngx_http_cardx_link_t    *link;
    ngx_http_cardx_ticket_t  *own;

    reply = data;
    own = privdata;
    link = own->link;

    /* another reply may still come after redisAsyncFree() in a callback */

    if (reply == NULL || (ac->c.flags & REDIS_FREEING)) {
        return;
    }

    p = (reply->type == REDIS_REPLY_STRING) ? strstr(reply->str, "run_id:")
                                            : NULL;

    if (p == NULL
        || reply->str + reply->len - p
           < (ssize_t) (sizeof("run_id:") - 1 + sizeof(link->run_id)))
    {
        ngx_http_cardx_link_failed(link, reply->type == REDIS_REPLY_ERROR
                                         ? reply->str : "no run_id");
        redisAsyncFree(ac);
        return;
    }

    ngx_memcpy(link->run_id, p + sizeof("run_id:") - 1, sizeof(link->run_id));

    link->state = NGX_HTTP_CARDX_LINK_CHECKING;
    link->backoff = 0;

    (void) ngx_atomic_fetch_add(&link->redis->main->counters->connects, 1);

    if (link->failed) {
        link->failed = 0;

        ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                      "cardx: redis \"%V\" is back", &link->address.name);
    }
}


static ngx_int_t
ngx_http_cardx_ask_ready(ngx_http_cardx_link_t *link)
{
    u_char  *p, command[NGX_HTTP_CARDX_COMMAND];

    if (ngx_http_cardx_map_is_old(link)
        && ngx_http_cardx_ask_map(link) != NGX_OK)
    {
        return NGX_ERROR;
    }

    link->ready_mark = link->mark;

    /* counts as writing: who takes no denial, as a replica, does not answer */

    p = ngx_http_cardx_command(command, 2);
    p = ngx_http_cardx_literal(p, "GETEX");
    p = ngx_http_cardx_argument(p, link->ready, link->ready_len);

    if (redisAsyncFormattedCommand(link->ac, ngx_http_cardx_ready_reply,
                                   &link->own, (char *) command, p - command)
        != REDIS_OK)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


static void
ngx_http_cardx_ready_reply(redisAsyncContext *ac, void *data, void *privdata)
{
    redisReply               *reply;
    ngx_http_cardx_link_t    *link;
    ngx_http_cardx_ticket_t  *own;

    reply = data;
    own = privdata;
    link = own->link;

    if (reply == NULL || (ac->c.flags & REDIS_FREEING)) {
        link->state = NGX_HTTP_CARDX_LINK_DOWN;
        return;
    }

    link->stalled = 0;

    if (link->ready_mark != link->mark) {

        /* the map came in between: this was another name */

        link->state = NGX_HTTP_CARDX_LINK_CHECKING;

        if (ngx_http_cardx_ask_ready(link) != NGX_OK) {
            redisAsyncFree(ac);
        }

        return;
    }

    link->watching = 0;

    if (reply->type == REDIS_REPLY_STRING
        && reply->len == sizeof(link->run_id)
        && ngx_memcmp(reply->str, link->run_id, sizeof(link->run_id)) == 0)
    {
        link->state = NGX_HTTP_CARDX_LINK_READY;

    } else {
        link->state = NGX_HTTP_CARDX_LINK_CHECKING;
    }

    if (!link->exiting) {
        ngx_add_timer(&link->watch, NGX_HTTP_CARDX_WATCH);
    }
}


static void
ngx_http_cardx_watch_handler(ngx_event_t *ev)
{
    ngx_msec_int_t          left;
    ngx_http_cardx_link_t  *link;

    link = ev->data;

    if (link->ac == NULL) {
        return;
    }

    if (!link->watching) {
        link->watching = 1;
        link->asked = ngx_current_msec;

        if (ngx_http_cardx_ask_ready(link) != NGX_OK) {
            redisAsyncFree(link->ac);
            return;
        }
    }

    left = (ngx_msec_int_t) (link->asked + link->redis->connect_timeout
                             - ngx_current_msec);

    if (left > 0) {
        ngx_add_timer(ev, (ngx_msec_t) left);
        return;
    }

    ngx_http_cardx_link_failed(link, "no answer");

    redisAsyncFree(link->ac);
}


/* Says once that Redis is away, and why. */

void
ngx_http_cardx_link_failed(ngx_http_cardx_link_t *link, const char *why)
{
    if (link->failed || link->exiting) {
        return;
    }

    link->failed = 1;

    ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                  "cardx: redis \"%V\" is away: %s",
                  &link->address.name, why);
}


/* The context is gone, or never was: the next comes by timer, never here. */

void
ngx_http_cardx_link_down(void *data)
{
    redisAsyncContext      *ac;
    ngx_http_cardx_link_t  *link;

    link = data;
    ac = link->ac;

    if (ac && ac->err) {
        ngx_http_cardx_link_failed(link, ac->errstr);
    }

    link->ac = NULL;
    link->state = NGX_HTTP_CARDX_LINK_DOWN;
    link->watching = 0;
    link->stalled = 0;

    if (link->watch.timer_set) {
        ngx_del_timer(&link->watch);
    }

    if (link->exiting) {
        return;
    }

    (void) ngx_atomic_fetch_add(&link->redis->main->counters->disconnects, 1);

    link->redis->nodes->stale = 1;

    if (!link->keep) {

        /* it has left the cluster */

        return;
    }

    ngx_add_timer(&link->reconnect, ngx_http_cardx_backoff(&link->backoff));
}


/* How long to wait for the next try; backoff is 0 after one that succeeded. */

ngx_msec_t
ngx_http_cardx_backoff(ngx_msec_t *backoff)
{
    *backoff = *backoff ? ngx_min(2 * *backoff, NGX_HTTP_CARDX_BACKOFF_MAX)
                        : NGX_HTTP_CARDX_BACKOFF_MIN;

    /* workers that lost it together don't come back together */

    return *backoff / 2 + ngx_random() % (*backoff / 2 + 1);
}


static void
ngx_http_cardx_reconnect_handler(ngx_event_t *ev)
{
    ngx_http_cardx_link_t  *link;

    link = ev->data;

    ngx_http_cardx_connect(link);
}
