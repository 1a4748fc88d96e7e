
/*
 * Channels: a connection of its own, since one that subscribes can ask
 * nothing else, for each nginx worker and cardx_redis that has a channel.
 *
 * Redis confirms each SUBSCRIBE in order, so a channel is up once as many
 * were confirmed as had been sent when its own was.  What was published while
 * the link was down is lost: who needs it catches up, or forgets, when its
 * channel is down, and up again.
 *
 * A dead peer is noticed because the link also hears what is published, on
 * the command link, to a channel of its own.  PING is of no use here: hiredis
 * before 1.0 takes the answer for a message.
 */


#include "ngx_http_cardx.h"


#define NGX_HTTP_CARDX_ECHO         "cardx:echo:"


/* all channels of one name */

typedef struct {
    ngx_str_node_t                   node;
    ngx_queue_t                      channels;
    u_char                           name[1];
} ngx_http_cardx_name_t;


struct ngx_http_cardx_pubsub_s {
    redisAsyncContext               *ac;       /* NULL: no connection */
    ngx_http_cardx_events_t          events;
    ngx_http_cardx_redis_t          *redis;

    ngx_rbtree_t                     names;
    ngx_rbtree_node_t                sentinel;
    ngx_uint_t                       channels;

    ngx_uint_t                       sent;     /* SUBSCRIBEs */
    ngx_uint_t                       confirmed;
    ngx_msec_t                       heard;    /* when anything was */

    ngx_event_t                      reconnect;
    ngx_event_t                      watch;
    ngx_msec_t                       backoff;

    ngx_str_t                        echo;
    u_char                           text[sizeof(NGX_HTTP_CARDX_ECHO)
                                          + NGX_INT64_LEN + 16];

    unsigned                         failed:1; /* and logged */
    unsigned                         exiting:1;
};


static ngx_http_cardx_pubsub_t *ngx_http_cardx_pubsub_create(
    ngx_http_cardx_redis_t *redis);
static ngx_http_cardx_name_t *ngx_http_cardx_pubsub_find(
    ngx_http_cardx_pubsub_t *ps, ngx_str_t *name);
static ngx_int_t ngx_http_cardx_pubsub_send(ngx_http_cardx_pubsub_t *ps,
    const char *command, ngx_str_t *name);

static void ngx_http_cardx_pubsub_connect(ngx_http_cardx_pubsub_t *ps);
static ngx_int_t ngx_http_cardx_pubsub_setup(ngx_http_cardx_pubsub_t *ps);
static ngx_int_t ngx_http_cardx_pubsub_setup_name(ngx_http_cardx_pubsub_t *ps,
    ngx_rbtree_node_t *node);
static void ngx_http_cardx_pubsub_auth_reply(redisAsyncContext *ac,
    void *data, void *privdata);
static void ngx_http_cardx_pubsub_reply(redisAsyncContext *ac, void *data,
    void *privdata);
static void ngx_http_cardx_pubsub_confirmed(ngx_http_cardx_pubsub_t *ps,
    ngx_str_t *name);
static void ngx_http_cardx_pubsub_message(ngx_http_cardx_pubsub_t *ps,
    ngx_str_t *name, ngx_str_t *message);

static void ngx_http_cardx_pubsub_down(void *data);
static ngx_http_cardx_channel_t *ngx_http_cardx_pubsub_first_up(
    ngx_http_cardx_pubsub_t *ps);
static void ngx_http_cardx_pubsub_failed(ngx_http_cardx_pubsub_t *ps,
    const char *why);
static void ngx_http_cardx_pubsub_reconnect_handler(ngx_event_t *ev);
static void ngx_http_cardx_pubsub_watch_handler(ngx_event_t *ev);


ngx_int_t
ngx_http_cardx_subscribe(ngx_http_cardx_redis_t *redis,
    ngx_http_cardx_channel_t *channel)
{
    ngx_http_cardx_name_t    *name;
    ngx_http_cardx_pubsub_t  *ps;

    if (redis->pubsub == NULL) {
        redis->pubsub = ngx_http_cardx_pubsub_create(redis);

        if (redis->pubsub == NULL) {
            return NGX_ERROR;
        }
    }

    ps = redis->pubsub;

    if (ps->exiting) {
        return NGX_ERROR;
    }

    name = ngx_http_cardx_pubsub_find(ps, &channel->name);

    if (name == NULL) {
        name = ngx_alloc(offsetof(ngx_http_cardx_name_t, name)
                         + channel->name.len, ngx_cycle->log);
        if (name == NULL) {
            return NGX_ERROR;
        }

        ngx_memcpy(name->name, channel->name.data, channel->name.len);

        name->node.str.len = channel->name.len;
        name->node.str.data = name->name;
        name->node.node.key = ngx_crc32_short(name->name, channel->name.len);

        ngx_queue_init(&name->channels);
        ngx_rbtree_insert(&ps->names, &name->node.node);
    }

    ngx_queue_insert_tail(&name->channels, &channel->queue);

    channel->pubsub = ps;
    channel->up = 0;

    ps->channels++;

    if (ps->ac && (ps->ac->c.flags & REDIS_FREEING)) {

        /* on its way out: the next comes by timer */

        return NGX_OK;
    }

    if (ps->ac) {

        /* asked again if there are others: its own answer says when */

        if (ngx_http_cardx_pubsub_send(ps, "SUBSCRIBE", &channel->name)
            != NGX_OK)
        {
            ngx_http_cardx_pubsub_failed(ps, "no memory");
            redisAsyncFree(ps->ac);
            return NGX_OK;
        }

        channel->after = ++ps->sent;

    } else if (!ps->reconnect.timer_set) {

        /* at once, but not from here: a state may be told meanwhile */

        ngx_add_timer(&ps->reconnect, 0);
    }

    return NGX_OK;
}


void
ngx_http_cardx_unsubscribe(ngx_http_cardx_channel_t *channel)
{
    ngx_http_cardx_name_t    *name;
    ngx_http_cardx_pubsub_t  *ps;

    ps = channel->pubsub;

    if (ps == NULL) {
        return;
    }

    name = ngx_http_cardx_pubsub_find(ps, &channel->name);

    ngx_queue_remove(&channel->queue);

    channel->pubsub = NULL;
    channel->up = 0;

    ps->channels--;

    if (!ngx_queue_empty(&name->channels)) {
        return;
    }

    if (ps->ac && ps->channels) {

        if (ngx_http_cardx_pubsub_send(ps, "UNSUBSCRIBE", &name->node.str)
            != NGX_OK)
        {
            ngx_http_cardx_pubsub_failed(ps, "no memory");
            redisAsyncFree(ps->ac);
        }
    }

    ngx_rbtree_delete(&ps->names, &name->node.node);
    ngx_free(name);

    if (ps->channels == 0) {

        if (ps->reconnect.timer_set) {
            ngx_del_timer(&ps->reconnect);
        }

        if (ps->ac && !(ps->ac->c.flags & REDIS_FREEING)) {
            redisAsyncFree(ps->ac);
        }
    }
}


void
ngx_http_cardx_pubsub_exit(ngx_http_cardx_redis_t *redis)
{
    ngx_queue_t               *q;
    ngx_rbtree_node_t         *node;
    ngx_http_cardx_name_t     *name;
    ngx_http_cardx_pubsub_t   *ps;
    ngx_http_cardx_channel_t  *channel;

    ps = redis->pubsub;

    if (ps == NULL) {
        return;
    }

    ps->exiting = 1;

    if (ps->ac) {
        redisAsyncFree(ps->ac);
    }

    if (ps->reconnect.timer_set) {
        ngx_del_timer(&ps->reconnect);
    }

    while (ps->names.root != &ps->sentinel) {

        node = ngx_rbtree_min(ps->names.root, &ps->sentinel);
        name = (ngx_http_cardx_name_t *) node;

        while (!ngx_queue_empty(&name->channels)) {
            q = ngx_queue_head(&name->channels);
            channel = ngx_queue_data(q, ngx_http_cardx_channel_t, queue);

            ngx_queue_remove(q);
            channel->pubsub = NULL;
        }

        ngx_rbtree_delete(&ps->names, node);
        ngx_free(name);
    }

    ngx_free(ps);
    redis->pubsub = NULL;
}


static ngx_http_cardx_pubsub_t *
ngx_http_cardx_pubsub_create(ngx_http_cardx_redis_t *redis)
{
    ngx_http_cardx_pubsub_t  *ps;

    ps = ngx_calloc(sizeof(ngx_http_cardx_pubsub_t), ngx_cycle->log);
    if (ps == NULL) {
        return NULL;
    }

    ps->redis = redis;

    ngx_rbtree_init(&ps->names, &ps->sentinel, ngx_str_rbtree_insert_value);

    ps->echo.data = ps->text;
    ps->echo.len = ngx_sprintf(ps->text, NGX_HTTP_CARDX_ECHO "%P:%xD%xD",
                               ngx_pid, (uint32_t) ngx_random(),
                               (uint32_t) ngx_random())
                   - ps->text;

    ps->reconnect.handler = ngx_http_cardx_pubsub_reconnect_handler;
    ps->reconnect.data = ps;
    ps->reconnect.log = ngx_cycle->log;
    ps->reconnect.cancelable = 1;

    ps->watch.handler = ngx_http_cardx_pubsub_watch_handler;
    ps->watch.data = ps;
    ps->watch.log = ngx_cycle->log;
    ps->watch.cancelable = 1;

    return ps;
}


static ngx_http_cardx_name_t *
ngx_http_cardx_pubsub_find(ngx_http_cardx_pubsub_t *ps, ngx_str_t *name)
{
    return (ngx_http_cardx_name_t *)
               ngx_str_rbtree_lookup(&ps->names, name,
                                     ngx_crc32_short(name->data, name->len));
}


static ngx_int_t
ngx_http_cardx_pubsub_send(ngx_http_cardx_pubsub_t *ps, const char *command,
    ngx_str_t *name)
{
    size_t       len[2];
    const char  *argv[2];

    argv[0] = command;
    len[0] = ngx_strlen(command);
    argv[1] = (char *) name->data;
    len[1] = name->len;

    if (redisAsyncCommandArgv(ps->ac, ngx_http_cardx_pubsub_reply, ps, 2,
                              argv, len)
        != REDIS_OK)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


static void
ngx_http_cardx_pubsub_connect(ngx_http_cardx_pubsub_t *ps)
{
    redisAsyncContext  *ac;

    ac = ngx_http_cardx_redis_context(ps->redis);

    if (ac == NULL) {
        ngx_http_cardx_pubsub_failed(ps, "no memory");
        ngx_http_cardx_pubsub_down(ps);
        return;
    }

    if (ac->err
        || ngx_http_cardx_attach(&ps->events, ac, ngx_http_cardx_pubsub_down,
                                 ps)
           != NGX_OK)
    {
        ngx_http_cardx_pubsub_failed(ps, ac->err ? ac->errstr
                                                 : "no connection left");

        /* not attached: hiredis tells nobody that the context is gone */

        redisAsyncFree(ac);
        ngx_http_cardx_pubsub_down(ps);
        return;
    }

    ps->ac = ac;
    ps->sent = 0;
    ps->confirmed = 0;
    ps->heard = ngx_current_msec;

    if (ngx_http_cardx_pubsub_setup(ps) != NGX_OK) {
        ngx_http_cardx_pubsub_failed(ps, "no memory");
        redisAsyncFree(ac);
        return;
    }

    ngx_add_timer(&ps->watch, ps->redis->connect_timeout / 2 + 1);
}


/* Channels know no database: there is no SELECT. */

static ngx_int_t
ngx_http_cardx_pubsub_setup(ngx_http_cardx_pubsub_t *ps)
{
    ngx_rbtree_node_t  *node;

    if (ngx_http_cardx_redis_auth(ps->redis, ps->ac,
                                  ngx_http_cardx_pubsub_auth_reply, ps)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (ngx_http_cardx_pubsub_send(ps, "SUBSCRIBE", &ps->echo) != NGX_OK) {
        return NGX_ERROR;
    }

    ps->sent++;

    if (ps->names.root == &ps->sentinel) {
        return NGX_OK;
    }

    for (node = ngx_rbtree_min(ps->names.root, &ps->sentinel);
         node;
         node = ngx_rbtree_next(&ps->names, node))
    {
        if (ngx_http_cardx_pubsub_setup_name(ps, node) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_cardx_pubsub_setup_name(ngx_http_cardx_pubsub_t *ps,
    ngx_rbtree_node_t *node)
{
    ngx_queue_t               *q;
    ngx_http_cardx_name_t     *name;
    ngx_http_cardx_channel_t  *channel;

    name = (ngx_http_cardx_name_t *) node;

    if (ngx_http_cardx_pubsub_send(ps, "SUBSCRIBE", &name->node.str)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    ps->sent++;

    for (q = ngx_queue_head(&name->channels);
         q != ngx_queue_sentinel(&name->channels);
         q = ngx_queue_next(q))
    {
        channel = ngx_queue_data(q, ngx_http_cardx_channel_t, queue);
        channel->after = ps->sent;
    }

    return NGX_OK;
}


static void
ngx_http_cardx_pubsub_auth_reply(redisAsyncContext *ac, void *data,
    void *privdata)
{
    redisReply               *reply = data;
    ngx_http_cardx_pubsub_t  *ps = privdata;

    if (reply == NULL || reply->type == REDIS_REPLY_STATUS) {
        return;
    }

    ngx_http_cardx_pubsub_failed(ps, reply->type == REDIS_REPLY_ERROR
                                     ? reply->str : "unexpected reply");

    redisAsyncFree(ac);
}


/* "subscribe", "unsubscribe" or "message", and the channel. */

static void
ngx_http_cardx_pubsub_reply(redisAsyncContext *ac, void *data, void *privdata)
{
    ngx_str_t                 type, name, message;
    redisReply               *reply = data;
    ngx_http_cardx_pubsub_t  *ps = privdata;

    if (reply == NULL
        || (ac->c.flags & REDIS_FREEING)
        || reply->type != REDIS_REPLY_ARRAY
        || reply->elements != 3
        || reply->element[0]->type != REDIS_REPLY_STRING
        || reply->element[1]->type != REDIS_REPLY_STRING)
    {
        return;
    }

    ps->heard = ngx_current_msec;

    type.len = reply->element[0]->len;
    type.data = (u_char *) reply->element[0]->str;

    name.len = reply->element[1]->len;
    name.data = (u_char *) reply->element[1]->str;

    if (type.len == sizeof("message") - 1
        && ngx_strncmp(type.data, "message", type.len) == 0
        && reply->element[2]->type == REDIS_REPLY_STRING)
    {
        message.len = reply->element[2]->len;
        message.data = (u_char *) reply->element[2]->str;

        ngx_http_cardx_pubsub_message(ps, &name, &message);
        return;
    }

    if (type.len == sizeof("subscribe") - 1
        && ngx_strncmp(type.data, "subscribe", type.len) == 0)
    {
        ps->confirmed++;
        ps->backoff = 0;

        ngx_http_cardx_pubsub_confirmed(ps, &name);
    }
}


static void
ngx_http_cardx_pubsub_confirmed(ngx_http_cardx_pubsub_t *ps, ngx_str_t *name)
{
    ngx_queue_t               *q, *next;
    ngx_http_cardx_name_t     *found;
    ngx_http_cardx_channel_t  *channel;

    if (ps->failed) {
        ps->failed = 0;

        ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                      "cardx: redis \"%V\" is heard again", &ps->redis->name);
    }

    found = ngx_http_cardx_pubsub_find(ps, name);

    if (found == NULL) {
        return;
    }

    for (q = ngx_queue_head(&found->channels);
         q != ngx_queue_sentinel(&found->channels);
         q = next)
    {
        next = ngx_queue_next(q);
        channel = ngx_queue_data(q, ngx_http_cardx_channel_t, queue);

        if (channel->up || channel->after > ps->confirmed) {
            continue;
        }

        channel->up = 1;

        if (channel->state) {
            channel->state(channel->data, 1);
        }
    }
}


static void
ngx_http_cardx_pubsub_message(ngx_http_cardx_pubsub_t *ps, ngx_str_t *name,
    ngx_str_t *message)
{
    ngx_queue_t               *q, *next;
    ngx_http_cardx_name_t     *found;
    ngx_http_cardx_channel_t  *channel;

    found = ngx_http_cardx_pubsub_find(ps, name);

    if (found == NULL) {
        return;
    }

    for (q = ngx_queue_head(&found->channels);
         q != ngx_queue_sentinel(&found->channels);
         q = next)
    {
        next = ngx_queue_next(q);
        channel = ngx_queue_data(q, ngx_http_cardx_channel_t, queue);

        if (channel->up) {
            channel->message(channel->data, message);
        }
    }
}


/* The context is gone, or never was: the next comes by timer, never here. */

static void
ngx_http_cardx_pubsub_down(void *data)
{
    ngx_http_cardx_pubsub_t   *ps = data;
    ngx_http_cardx_channel_t  *channel;

    if (ps->ac && ps->ac->err) {
        ngx_http_cardx_pubsub_failed(ps, ps->ac->errstr);
    }

    ps->ac = NULL;

    if (ps->watch.timer_set) {
        ngx_del_timer(&ps->watch);
    }

    if (ps->exiting) {
        return;
    }

    if (ps->channels) {
        ngx_add_timer(&ps->reconnect, ngx_http_cardx_backoff(&ps->backoff));
    }

    /* who is told may take others away: each time from the start */

    while ((channel = ngx_http_cardx_pubsub_first_up(ps)) != NULL) {
        channel->up = 0;

        if (channel->state) {
            channel->state(channel->data, 0);
        }
    }
}


static ngx_http_cardx_channel_t *
ngx_http_cardx_pubsub_first_up(ngx_http_cardx_pubsub_t *ps)
{
    ngx_queue_t               *q;
    ngx_rbtree_node_t         *node;
    ngx_http_cardx_name_t     *name;
    ngx_http_cardx_channel_t  *channel;

    if (ps->names.root == &ps->sentinel) {
        return NULL;
    }

    for (node = ngx_rbtree_min(ps->names.root, &ps->sentinel);
         node;
         node = ngx_rbtree_next(&ps->names, node))
    {
        name = (ngx_http_cardx_name_t *) node;

        for (q = ngx_queue_head(&name->channels);
             q != ngx_queue_sentinel(&name->channels);
             q = ngx_queue_next(q))
        {
            channel = ngx_queue_data(q, ngx_http_cardx_channel_t, queue);

            if (channel->up) {
                return channel;
            }
        }
    }

    return NULL;
}


/* Says once that nothing is heard, and why. */

static void
ngx_http_cardx_pubsub_failed(ngx_http_cardx_pubsub_t *ps, const char *why)
{
    if (ps->failed || ps->exiting) {
        return;
    }

    ps->failed = 1;

    ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                  "cardx: redis \"%V\" is not heard: %s",
                  &ps->redis->name, why);
}


static void
ngx_http_cardx_pubsub_reconnect_handler(ngx_event_t *ev)
{
    ngx_http_cardx_pubsub_t  *ps;

    ps = ev->data;

    ngx_http_cardx_pubsub_connect(ps);
}


static void
ngx_http_cardx_pubsub_watch_handler(ngx_event_t *ev)
{
    u_char                   *p, command[NGX_HTTP_CARDX_COMMAND];
    ngx_http_cardx_pubsub_t  *ps;

    ps = ev->data;

    if (ps->ac == NULL) {
        return;
    }

    if (ngx_current_msec - ps->heard > ps->redis->connect_timeout) {
        ngx_http_cardx_pubsub_failed(ps, "nothing but silence");
        redisAsyncFree(ps->ac);
        return;
    }

    p = ngx_http_cardx_command(command, 3);
    p = ngx_http_cardx_literal(p, "PUBLISH");
    p = ngx_http_cardx_argument(p, ps->echo.data, ps->echo.len);
    p = ngx_http_cardx_literal(p, "");

    if (ngx_http_cardx_redis_tell(ps->redis, command, p - command)
        != NGX_OK)
    {
        /* while nothing can be said, silence proves nothing */

        ps->heard = ngx_current_msec;
    }

    ngx_add_timer(ev, ps->redis->connect_timeout / 2 + 1);
}
