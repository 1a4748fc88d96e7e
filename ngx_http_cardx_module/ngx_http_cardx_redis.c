
/*
 * Asking Redis: tickets, and the links that are asked.
 *
 * Each command carries a ticket on the heap, which lives until hiredis calls
 * back, while the request it belongs to may have ended (client gone) or gone
 * on (too late).
 *
 * Nothing here is logged with a request's log: its lines would show the
 * request line, and so the key.
 */


#include "ngx_http_cardx.h"


static ngx_int_t ngx_http_cardx_say(ngx_http_cardx_link_t *link,
    u_char *command, size_t len, ngx_http_cardx_told_pt told, void *data);
static ngx_http_cardx_ticket_t *ngx_http_cardx_create_ticket(
    ngx_http_cardx_redis_t *redis, u_char *command, size_t len);
static void ngx_http_cardx_reply(redisAsyncContext *ac, void *data,
    void *privdata);
static void ngx_http_cardx_deliver(ngx_http_cardx_ticket_t *ticket,
    redisReply *reply);

static void ngx_http_cardx_deadline_handler(ngx_event_t *ev);


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

    if (len >= 1000) {
        p = ngx_sprintf(p, "%uz", len);

    } else {

        if (len >= 100) {
            *p++ = (u_char) ('0' + len / 100);
        }

        if (len >= 10) {
            *p++ = (u_char) ('0' + len / 10 % 10);
        }

        *p++ = (u_char) ('0' + len % 10);
    }

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
    ngx_http_cardx_nodes_t   *nodes;
    ngx_http_cardx_ticket_t  *ticket;

    link = ngx_http_cardx_route(redis, command, len);

    if (link == NULL
        || link->state != NGX_HTTP_CARDX_LINK_READY
        || link->stalled)
    {
        return NGX_DECLINED;
    }

    ticket = ngx_http_cardx_create_ticket(redis, command, len);
    if (ticket == NULL) {
        return NGX_DECLINED;
    }

    if (ngx_http_cardx_send_ticket(ticket, link, command, len) != NGX_OK) {
        ngx_free(ticket);
        return NGX_DECLINED;
    }

    (void) ngx_atomic_fetch_add(&redis->main->counters->commands, 1);

    ticket->ctx = ctx;
    ticket->deadline = ngx_current_msec + redis->timeout;

    ctx->ticket = ticket;
    ctx->handler = handler;

    nodes = redis->nodes;

    ngx_queue_insert_tail(&nodes->waiting, &ticket->queue);

    /* all timeouts are equal, so the first to expire is the first in line */

    nodes->deadline.cancelable = 0;

    if (!nodes->deadline.timer_set) {
        ngx_add_timer(&nodes->deadline, redis->timeout);
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_cardx_redis_tell(ngx_http_cardx_redis_t *redis, u_char *command,
    size_t len)
{
    ngx_http_cardx_link_t  *link;

    link = ngx_http_cardx_route(redis, command, len);

    if (link == NULL || link->ac == NULL) {
        return NGX_DECLINED;
    }

    if (redis->cluster) {

        /* it may have to be said again */

        return ngx_http_cardx_say(link, command, len, NULL, NULL);
    }

    if (redisAsyncFormattedCommand(link->ac, NULL, NULL, (char *) command,
                                   len)
        != REDIS_OK)
    {
        return NGX_DECLINED;
    }

    (void) ngx_atomic_fetch_add(&redis->main->counters->commands, 1);

    return NGX_OK;
}


ngx_int_t
ngx_http_cardx_redis_say(ngx_http_cardx_redis_t *redis, u_char *command,
    size_t len, ngx_http_cardx_told_pt told, void *data)
{
    ngx_http_cardx_link_t  *link;

    link = ngx_http_cardx_route(redis, command, len);

    if (link == NULL || link->state != NGX_HTTP_CARDX_LINK_READY) {
        return NGX_DECLINED;
    }

    return ngx_http_cardx_say(link, command, len, told, data);
}


static ngx_int_t
ngx_http_cardx_say(ngx_http_cardx_link_t *link, u_char *command, size_t len,
    ngx_http_cardx_told_pt told, void *data)
{
    ngx_http_cardx_ticket_t  *ticket;

    ticket = ngx_http_cardx_create_ticket(link->redis, command, len);
    if (ticket == NULL) {
        return NGX_DECLINED;
    }

    ticket->tell = 1;
    ticket->told = told;
    ticket->data = data;

    if (ngx_http_cardx_send_ticket(ticket, link, command, len) != NGX_OK) {
        ngx_free(ticket);
        return NGX_DECLINED;
    }

    (void) ngx_atomic_fetch_add(&link->redis->main->counters->commands, 1);

    return NGX_OK;
}


static ngx_http_cardx_ticket_t *
ngx_http_cardx_create_ticket(ngx_http_cardx_redis_t *redis, u_char *command,
    size_t len)
{
    size_t                    size;
    ngx_http_cardx_ticket_t  *ticket;

    size = redis->cluster
           ? offsetof(ngx_http_cardx_ticket_t, command) + len
           : sizeof(ngx_http_cardx_ticket_t);

    ticket = ngx_alloc(ngx_max(size, sizeof(ngx_http_cardx_ticket_t)),
                       ngx_cycle->log);
    if (ticket == NULL) {
        return NULL;
    }

    ticket->ctx = NULL;
    ticket->len = 0;
    ticket->hops = 0;
    ticket->tell = 0;
    ticket->told = NULL;

    if (redis->cluster) {
        ngx_memcpy(ticket->command, command, len);
        ticket->len = len;
    }

    return ticket;
}


ngx_int_t
ngx_http_cardx_send_ticket(ngx_http_cardx_ticket_t *ticket,
    ngx_http_cardx_link_t *link, u_char *command, size_t len)
{
    if (redisAsyncFormattedCommand(link->ac, ngx_http_cardx_reply, ticket,
                                   (char *) command, len)
        != REDIS_OK)
    {
        return NGX_ERROR;
    }

    ticket->link = link;

    return NGX_OK;
}


/* The request has ended, or waits no longer; the reply may still come. */

void
ngx_http_cardx_redis_forget(ngx_http_cardx_ticket_t *ticket)
{
    ngx_http_cardx_nodes_t  *nodes;

    nodes = ticket->link->redis->nodes;

    ngx_queue_remove(&ticket->queue);

    if (ngx_queue_empty(&nodes->waiting)) {

        /* nothing waits: the timer may not keep a worker from quitting */

        nodes->deadline.cancelable = 1;
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

            if (link->redis->cluster
                && ngx_http_cardx_redirected(ticket, reply) == NGX_OK)
            {
                return;
            }

            (void) ngx_atomic_fetch_add(&link->redis->main->counters->errors,
                                        1);
        }
    }

    if (ticket->ctx) {
        ngx_http_cardx_deliver(ticket, reply);

    } else if (ticket->told) {
        ticket->told(ticket->data, reply);
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
    ngx_http_cardx_nodes_t   *nodes;
    ngx_http_cardx_ticket_t  *ticket;

    nodes = ev->data;

    while (!ngx_queue_empty(&nodes->waiting)) {

        q = ngx_queue_head(&nodes->waiting);
        ticket = ngx_queue_data(q, ngx_http_cardx_ticket_t, queue);

        left = (ngx_msec_int_t) (ticket->deadline - ngx_current_msec);

        if (left > 0) {
            if (!ev->timer_set) {
                ngx_add_timer(ev, (ngx_msec_t) left);
            }

            return;
        }

        (void) ngx_atomic_fetch_add(&nodes->redis->main->counters->timeouts,
                                    1);

        /* who comes now would wait in vain too, until something is heard */

        ticket->link->stalled = 1;

        ngx_http_cardx_deliver(ticket, NULL);
    }
}


ngx_int_t
ngx_http_cardx_redis_init(ngx_cycle_t *cycle, ngx_http_cardx_redis_t *redis)
{
    ngx_uint_t                 i;
    ngx_http_cardx_link_t     *link;
    ngx_http_cardx_nodes_t    *nodes;
    ngx_http_cardx_address_t  *address;

    nodes = ngx_calloc(sizeof(ngx_http_cardx_nodes_t), cycle->log);
    if (nodes == NULL) {
        return NGX_ERROR;
    }

    /*
     * set by ngx_calloc():
     *
     *     nodes->n = 0;
     *     nodes->map, nodes->fresh = NULL;
     */

    nodes->redis = redis;

    ngx_queue_init(&nodes->waiting);

    nodes->deadline.handler = ngx_http_cardx_deadline_handler;
    nodes->deadline.data = nodes;
    nodes->deadline.log = cycle->log;
    nodes->deadline.cancelable = 1;

    redis->nodes = nodes;

    address = redis->addresses.elts;

    for (i = 0; i < redis->addresses.nelts; i++) {

        link = ngx_http_cardx_add_link(nodes, &address[i]);
        if (link == NULL) {
            return NGX_ERROR;
        }

        link->keep = 1;

        ngx_http_cardx_connect(link);
    }

    return NGX_OK;
}


void
ngx_http_cardx_redis_exit(ngx_http_cardx_redis_t *redis)
{
    ngx_uint_t               i;
    ngx_http_cardx_link_t   *link;
    ngx_http_cardx_nodes_t  *nodes;

    nodes = redis->nodes;

    if (nodes == NULL) {
        return;
    }

    for (i = 0; i < nodes->n; i++) {
        nodes->links[i]->exiting = 1;
    }

    for (i = 0; i < nodes->n; i++) {
        link = nodes->links[i];

        if (link->ac) {
            redisAsyncFree(link->ac);
        }

        if (link->reconnect.timer_set) {
            ngx_del_timer(&link->reconnect);
        }

        if (link->map_text) {
            ngx_free(link->map_text);
        }
    }

    if (nodes->deadline.timer_set) {
        ngx_del_timer(&nodes->deadline);
    }

    for (i = 0; i < nodes->n; i++) {
        ngx_free(nodes->links[i]);
    }

    if (nodes->map) {
        ngx_free(nodes->map);
    }

    if (nodes->fresh) {
        ngx_free(nodes->fresh);
    }

    ngx_free(nodes);
    redis->nodes = NULL;
}


/* Whether there is a link that can be told something of a name. */

ngx_uint_t
ngx_http_cardx_redis_is_up(ngx_http_cardx_redis_t *redis, const char *name)
{
    u_char                 *p, command[NGX_HTTP_CARDX_COMMAND];
    ngx_http_cardx_link_t  *link;

    p = ngx_http_cardx_command(command, 2);
    p = ngx_http_cardx_literal(p, "GET");
    p = ngx_http_cardx_argument(p, name, ngx_strlen(name));

    link = ngx_http_cardx_route(redis, command, p - command);

    return link && link->state >= NGX_HTTP_CARDX_LINK_CHECKING;
}


/* Writes now what was told, for who is about to exit. */

void
ngx_http_cardx_redis_flush(ngx_http_cardx_redis_t *redis)
{
    ngx_uint_t              i;
    ngx_http_cardx_link_t  *link;

    if (redis->nodes == NULL) {
        return;
    }

    for (i = 0; i < redis->nodes->n; i++) {
        link = redis->nodes->links[i];

        if (link->ac) {
            redisAsyncHandleWrite(link->ac);
        }
    }
}


/* One more connection, to another of the addresses than the last one. */

redisAsyncContext *
ngx_http_cardx_redis_context(ngx_http_cardx_redis_t *redis)
{
    ngx_http_cardx_address_t  *address;

    address = redis->addresses.elts;

    return ngx_http_cardx_address_context(
                        &address[redis->turn++ % redis->addresses.nelts]);
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
