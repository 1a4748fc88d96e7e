
/*
 * The link to Redis: one connection for each nginx worker and cardx_redis
 * directive, on which the commands of all requests are pipelined.
 *
 *     DOWN ---reconnect timer---> SETUP ---INFO answered---> CHECKING
 *       ^                           |                         |    ^
 *       |                           |     cardx:ready is ours |    | or not
 *       +------- lost, silent ------+------------------- READY ----+
 *
 * Requests are served in READY only; else they fall back at once.  A watch
 * asks for cardx:ready at intervals, so that a projection that is no longer
 * complete, and a dead peer, are noticed.
 *
 * Each command carries a ticket on the heap, which lives until hiredis calls
 * back, while the request it belongs to may have ended (client gone) or gone
 * on (too late).
 *
 * Nothing here is logged with a request's log: its lines would show the
 * request line, and so the key.
 */


#include "ngx_http_cardx.h"


#define NGX_HTTP_CARDX_BACKOFF_MIN  50
#define NGX_HTTP_CARDX_BACKOFF_MAX  2000
#define NGX_HTTP_CARDX_WATCH        250


static void ngx_http_cardx_connect(ngx_http_cardx_link_t *link);
static ngx_int_t ngx_http_cardx_setup(ngx_http_cardx_link_t *link);
static void ngx_http_cardx_setup_reply(redisAsyncContext *ac, void *data,
    void *privdata);
static void ngx_http_cardx_info_reply(redisAsyncContext *ac, void *data,
    void *privdata);
static ngx_int_t ngx_http_cardx_ask_ready(ngx_http_cardx_link_t *link);
static void ngx_http_cardx_ready_reply(redisAsyncContext *ac, void *data,
    void *privdata);
static void ngx_http_cardx_link_failed(ngx_http_cardx_link_t *link,
    const char *why);

static void ngx_http_cardx_reply(redisAsyncContext *ac, void *data,
    void *privdata);
static void ngx_http_cardx_deliver(ngx_http_cardx_ticket_t *ticket,
    redisReply *reply);

static void ngx_http_cardx_deadline_handler(ngx_event_t *ev);
static void ngx_http_cardx_reconnect_handler(ngx_event_t *ev);
static void ngx_http_cardx_watch_handler(ngx_event_t *ev);


u_char *
ngx_http_cardx_command(u_char *p, ngx_uint_t arguments)
{
    *p++ = '*';
    *p++ = (u_char) ('0' + arguments);
    *p++ = CR;
    *p++ = LF;

    return p;
}


u_char *
ngx_http_cardx_argument(u_char *p, const void *data, size_t len)
{
    *p++ = '$';

    if (len >= 100) {
        *p++ = (u_char) ('0' + len / 100);
    }

    if (len >= 10) {
        *p++ = (u_char) ('0' + len / 10 % 10);
    }

    *p++ = (u_char) ('0' + len % 10);
    *p++ = CR;
    *p++ = LF;

    p = ngx_cpymem(p, data, len);

    *p++ = CR;
    *p++ = LF;

    return p;
}


ngx_int_t
ngx_http_cardx_redis_ask(ngx_http_cardx_ctx_t *ctx,
    ngx_http_cardx_redis_t *redis, ngx_http_cardx_reply_pt handler,
    u_char *command, size_t len)
{
    ngx_http_cardx_link_t    *link;
    ngx_http_cardx_ticket_t  *ticket;

    link = redis->link;

    if (link == NULL
        || link->state != NGX_HTTP_CARDX_LINK_READY
        || link->stalled)
    {
        return NGX_DECLINED;
    }

    ticket = ngx_alloc(sizeof(ngx_http_cardx_ticket_t), ngx_cycle->log);
    if (ticket == NULL) {
        return NGX_DECLINED;
    }

    if (redisAsyncFormattedCommand(link->ac, ngx_http_cardx_reply, ticket,
                                   (char *) command, len)
        != REDIS_OK)
    {
        ngx_free(ticket);
        return NGX_DECLINED;
    }

    (void) ngx_atomic_fetch_add(&redis->main->counters->commands, 1);

    ticket->link = link;
    ticket->ctx = ctx;
    ticket->deadline = ngx_current_msec + redis->timeout;

    ctx->ticket = ticket;
    ctx->handler = handler;

    ngx_queue_insert_tail(&link->waiting, &ticket->queue);

    /* all timeouts are equal, so the first to expire is the first in line */

    link->deadline.cancelable = 0;

    if (!link->deadline.timer_set) {
        ngx_add_timer(&link->deadline, redis->timeout);
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_cardx_redis_tell(ngx_http_cardx_redis_t *redis, u_char *command,
    size_t len)
{
    ngx_http_cardx_link_t  *link;

    link = redis->link;

    if (link == NULL
        || link->ac == NULL
        || redisAsyncFormattedCommand(link->ac, NULL, NULL, (char *) command,
                                      len)
           != REDIS_OK)
    {
        return NGX_DECLINED;
    }

    (void) ngx_atomic_fetch_add(&redis->main->counters->commands, 1);

    return NGX_OK;
}


/* The request has ended, or waits no longer; the reply may still come. */

void
ngx_http_cardx_redis_forget(ngx_http_cardx_ticket_t *ticket)
{
    ngx_http_cardx_link_t  *link;

    link = ticket->link;

    ngx_queue_remove(&ticket->queue);

    if (ngx_queue_empty(&link->waiting)) {

        /* nothing waits: the timer may not keep a worker from quitting */

        link->deadline.cancelable = 1;
    }

    ticket->ctx->ticket = NULL;
    ticket->ctx = NULL;
}


static void
ngx_http_cardx_reply(redisAsyncContext *ac, void *data, void *privdata)
{
    redisReply               *reply;
    ngx_http_cardx_link_t    *link;
    ngx_http_cardx_ticket_t  *ticket;

    reply = data;
    ticket = privdata;
    link = ticket->link;

    if (reply == NULL) {
        link->state = NGX_HTTP_CARDX_LINK_DOWN;

    } else {
        link->stalled = 0;

        if (reply->type == REDIS_REPLY_ERROR) {
            (void) ngx_atomic_fetch_add(&link->redis->main->counters->errors,
                                        1);
        }
    }

    if (ticket->ctx) {
        ngx_http_cardx_deliver(ticket, reply);
    }

    ngx_free(ticket);
}


static void
ngx_http_cardx_deliver(ngx_http_cardx_ticket_t *ticket, redisReply *reply)
{
    ngx_connection_t      *c;
    ngx_http_request_t    *r;
    ngx_http_cardx_ctx_t  *ctx;

    ctx = ticket->ctx;

    ngx_http_cardx_redis_forget(ticket);

    if (ticket->link->exiting) {
        return;
    }

    r = ctx->request;
    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    ctx->handler(ctx, reply);

    ngx_http_run_posted_requests(c);
}


static void
ngx_http_cardx_deadline_handler(ngx_event_t *ev)
{
    ngx_msec_int_t            left;
    ngx_queue_t              *q;
    ngx_http_cardx_link_t    *link;
    ngx_http_cardx_ticket_t  *ticket;

    link = ev->data;

    while (!ngx_queue_empty(&link->waiting)) {

        q = ngx_queue_head(&link->waiting);
        ticket = ngx_queue_data(q, ngx_http_cardx_ticket_t, queue);

        left = (ngx_msec_int_t) (ticket->deadline - ngx_current_msec);

        if (left > 0) {
            if (!ev->timer_set) {
                ngx_add_timer(ev, (ngx_msec_t) left);
            }

            return;
        }

        (void) ngx_atomic_fetch_add(&link->redis->main->counters->timeouts, 1);

        /* who comes now would wait in vain too, until something is heard */

        link->stalled = 1;

        ngx_http_cardx_deliver(ticket, NULL);
    }
}


ngx_int_t
ngx_http_cardx_redis_init(ngx_cycle_t *cycle, ngx_http_cardx_redis_t *redis)
{
    ngx_http_cardx_link_t  *link;

    link = ngx_calloc(sizeof(ngx_http_cardx_link_t), cycle->log);
    if (link == NULL) {
        return NGX_ERROR;
    }

    /*
     * set by ngx_calloc():
     *
     *     link->state = NGX_HTTP_CARDX_LINK_DOWN;
     *     link->ac, link->connection = NULL;
     *     link->own.ctx = NULL;
     */

    link->redis = redis;
    link->own.link = link;

    ngx_queue_init(&link->waiting);

    link->deadline.handler = ngx_http_cardx_deadline_handler;
    link->deadline.data = link;
    link->deadline.log = cycle->log;
    link->deadline.cancelable = 1;

    link->reconnect.handler = ngx_http_cardx_reconnect_handler;
    link->reconnect.data = link;
    link->reconnect.log = cycle->log;
    link->reconnect.cancelable = 1;

    link->watch.handler = ngx_http_cardx_watch_handler;
    link->watch.data = link;
    link->watch.log = cycle->log;
    link->watch.cancelable = 1;

    redis->link = link;

    ngx_http_cardx_connect(link);

    return NGX_OK;
}


void
ngx_http_cardx_redis_exit(ngx_http_cardx_redis_t *redis)
{
    ngx_http_cardx_link_t  *link;

    link = redis->link;

    if (link == NULL) {
        return;
    }

    link->exiting = 1;

    if (link->ac) {
        redisAsyncFree(link->ac);
    }

    if (link->deadline.timer_set) {
        ngx_del_timer(&link->deadline);
    }

    if (link->reconnect.timer_set) {
        ngx_del_timer(&link->reconnect);
    }

    ngx_free(link);
    redis->link = NULL;
}


static void
ngx_http_cardx_connect(ngx_http_cardx_link_t *link)
{
    redisAsyncContext       *ac;
    ngx_http_cardx_redis_t  *redis;

    redis = link->redis;

    ac = ngx_http_cardx_redis_context(redis);

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


/* Whether there is a link that can be told something. */

ngx_uint_t
ngx_http_cardx_redis_is_up(ngx_http_cardx_redis_t *redis)
{
    return redis->link && redis->link->state >= NGX_HTTP_CARDX_LINK_CHECKING;
}


/* Writes now what was told, for who is about to exit. */

void
ngx_http_cardx_redis_flush(ngx_http_cardx_redis_t *redis)
{
    if (redis->link && redis->link->ac) {
        redisAsyncHandleWrite(redis->link->ac);
    }
}


redisAsyncContext *
ngx_http_cardx_redis_context(ngx_http_cardx_redis_t *redis)
{
    /* the host is numeric: no name is resolved here */

    if (redis->path) {
        return redisAsyncConnectUnix(redis->path);
    }

    return redisAsyncConnect(redis->host, (int) redis->port);
}


/* Gives the password, if there is one. */

ngx_int_t
ngx_http_cardx_redis_auth(ngx_http_cardx_redis_t *redis,
    redisAsyncContext *ac, redisCallbackFn *reply, void *data)
{
    int          argc;
    size_t       len[3];
    const char  *argv[3];

    if (redis->password.len == 0) {
        return NGX_OK;
    }

    argc = 0;

    argv[argc] = "AUTH";
    len[argc++] = sizeof("AUTH") - 1;

    if (redis->user.len) {
        argv[argc] = (char *) redis->user.data;
        len[argc++] = redis->user.len;
    }

    argv[argc] = (char *) redis->password.data;
    len[argc++] = redis->password.len;

    if (redisAsyncCommandArgv(ac, reply, data, argc, argv, len) != REDIS_OK) {
        return NGX_ERROR;
    }

    return NGX_OK;
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
                      "cardx: redis \"%V\" is back", &link->redis->name);
    }
}


static ngx_int_t
ngx_http_cardx_ask_ready(ngx_http_cardx_link_t *link)
{
    u_char  *p, command[NGX_HTTP_CARDX_COMMAND];

    p = ngx_http_cardx_command(command, 2);
    p = ngx_http_cardx_literal(p, "GET");
    p = ngx_http_cardx_literal(p, CX_READY);

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

    link->watching = 0;
    link->stalled = 0;

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

static void
ngx_http_cardx_link_failed(ngx_http_cardx_link_t *link, const char *why)
{
    if (link->failed || link->exiting) {
        return;
    }

    link->failed = 1;

    ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                  "cardx: redis \"%V\" is away: %s",
                  &link->redis->name, why);
}


/* The context is gone, or never was: the next comes by timer, never here. */

void
ngx_http_cardx_link_down(void *data)
{
    ngx_msec_t              delay;
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

    link->backoff = link->backoff
                    ? ngx_min(2 * link->backoff, NGX_HTTP_CARDX_BACKOFF_MAX)
                    : NGX_HTTP_CARDX_BACKOFF_MIN;

    /* workers that lost it together don't come back together */

    delay = link->backoff / 2 + ngx_random() % (link->backoff / 2 + 1);

    ngx_add_timer(&link->reconnect, delay);
}


static void
ngx_http_cardx_reconnect_handler(ngx_event_t *ev)
{
    ngx_http_cardx_link_t  *link;

    link = ev->data;

    ngx_http_cardx_connect(link);
}
