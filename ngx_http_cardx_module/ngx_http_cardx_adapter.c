
/*
 * hiredis on nginx's events: its hooks, and the objects its parser makes.
 *
 * Events are level-triggered, since hiredis reads at most 16 KiB at a time.
 * A write is not waited for but posted, so that whatever the requests of one
 * turn of the event loop ask goes out in one write.
 *
 * Reply objects stand in the link itself and are used again for each reply;
 * strings go straight from the parser's buffer to the pool of the request
 * that waits for them.  That is the only copy of a card.
 */


#include "ngx_http_cardx.h"


/* for one event; more would keep the other connections waiting */
#define NGX_HTTP_CARDX_READS   8

/* what the parser may keep while it has nothing to parse */
#define NGX_HTTP_CARDX_BUFFER  (256 * 1024)

/* the longest answer to CLUSTER NODES that is read */
#define NGX_HTTP_CARDX_MAP     (1024 * 1024)


static void ngx_http_cardx_read_handler(ngx_event_t *rev);
static void ngx_http_cardx_write_handler(ngx_event_t *wev);
static void ngx_http_cardx_add_read(void *data);
static void ngx_http_cardx_del_read(void *data);
static void ngx_http_cardx_add_write(void *data);
static void ngx_http_cardx_del_write(void *data);
static void ngx_http_cardx_detach(void *data);

static redisReply *ngx_http_cardx_node(const redisReadTask *task, int type);
static void *ngx_http_cardx_create_map(ngx_http_cardx_link_t *link,
    redisReply *node, char *str, size_t len);
static void *ngx_http_cardx_create_string(const redisReadTask *task,
    char *str, size_t len);
static void *ngx_http_cardx_create_integer(const redisReadTask *task,
    long long value);
static void *ngx_http_cardx_create_nil(const redisReadTask *task);
static void ngx_http_cardx_free_object(void *object);

#if (HIREDIS_MAJOR >= 1)
static void *ngx_http_cardx_create_array(const redisReadTask *task,
    size_t elements);
static void *ngx_http_cardx_create_double(const redisReadTask *task,
    double value, char *str, size_t len);
static void *ngx_http_cardx_create_bool(const redisReadTask *task, int value);
#else
static void *ngx_http_cardx_create_array(const redisReadTask *task,
    int elements);
#endif


static redisReplyObjectFunctions  ngx_http_cardx_reply_functions = {
    ngx_http_cardx_create_string,
    ngx_http_cardx_create_array,
    ngx_http_cardx_create_integer,
#if (HIREDIS_MAJOR >= 1)
    ngx_http_cardx_create_double,
#endif
    ngx_http_cardx_create_nil,
#if (HIREDIS_MAJOR >= 1)
    ngx_http_cardx_create_bool,
#endif
    ngx_http_cardx_free_object
};


/* Gives a new context a connection of nginx's, and the hooks. */

ngx_int_t
ngx_http_cardx_attach(ngx_http_cardx_events_t *events, redisAsyncContext *ac,
    void (*down)(void *data), void *data)
{
    ngx_connection_t  *c;

    c = ngx_get_connection(ac->c.fd, ngx_cycle->log);
    if (c == NULL) {
        return NGX_ERROR;
    }

    c->data = events;
    c->log_error = NGX_ERROR_ERR;

    c->read->handler = ngx_http_cardx_read_handler;
    c->read->log = c->log;
    c->write->handler = ngx_http_cardx_write_handler;
    c->write->log = c->log;

    c->number = ngx_atomic_fetch_add(ngx_connection_counter, 1);
    c->start_time = ngx_current_msec;

    events->ac = ac;
    events->connection = c;
    events->down = down;
    events->data = data;

    ac->ev.data = events;
    ac->ev.addRead = ngx_http_cardx_add_read;
    ac->ev.delRead = ngx_http_cardx_del_read;
    ac->ev.addWrite = ngx_http_cardx_add_write;
    ac->ev.delWrite = ngx_http_cardx_del_write;
    ac->ev.cleanup = ngx_http_cardx_detach;

    /* by default each burst of replies would have a new buffer */

    ac->c.reader->maxbuf = NGX_HTTP_CARDX_BUFFER;

    return NGX_OK;
}


ngx_int_t
ngx_http_cardx_attach_link(ngx_http_cardx_link_t *link)
{
    redisAsyncContext  *ac;

    ac = link->ac;

    if (ngx_http_cardx_attach(&link->events, ac, ngx_http_cardx_link_down,
                              link)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    ac->c.reader->fn = &ngx_http_cardx_reply_functions;
    ac->c.reader->privdata = link;

    return NGX_OK;
}


static void
ngx_http_cardx_read_handler(ngx_event_t *rev)
{
    int                      left;
    ngx_uint_t               i;
    ngx_connection_t         *c;
    ngx_http_cardx_events_t  *events;

    c = rev->data;
    events = c->data;

    for (i = 0; i < NGX_HTTP_CARDX_READS; i++) {

        /* the context may be freed in here, and c with it */

        redisAsyncHandleRead(events->ac);

        if (events->ac == NULL
            || ngx_socket_nread(c->fd, &left) == -1
            || left == 0)
        {
            break;
        }
    }
}


static void
ngx_http_cardx_write_handler(ngx_event_t *wev)
{
    ngx_connection_t         *c;
    ngx_http_cardx_events_t  *events;

    c = wev->data;
    events = c->data;

    events->flushing = 1;

    redisAsyncHandleWrite(events->ac);

    events->flushing = 0;
}


static void
ngx_http_cardx_add_read(void *data)
{
    ngx_event_t              *rev;
    ngx_http_cardx_events_t  *events;

    events = data;
    rev = events->connection->read;

    if (!rev->active) {
        (void) ngx_add_event(rev, NGX_READ_EVENT, NGX_LEVEL_EVENT);
    }
}


static void
ngx_http_cardx_del_read(void *data)
{
    ngx_event_t              *rev;
    ngx_http_cardx_events_t  *events;

    events = data;
    rev = events->connection->read;

    if (rev->active) {
        (void) ngx_del_event(rev, NGX_READ_EVENT, 0);
    }
}


static void
ngx_http_cardx_add_write(void *data)
{
    ngx_event_t              *wev;
    ngx_http_cardx_events_t  *events;

    events = data;
    wev = events->connection->write;

    if (wev->active) {
        return;
    }

    if (!events->flushing && (events->ac->c.flags & REDIS_CONNECTED)) {
        ngx_post_event(wev, &ngx_posted_events);
        return;
    }

    /* connecting, or the socket's buffer is full */

    (void) ngx_add_event(wev, NGX_WRITE_EVENT, NGX_LEVEL_EVENT);
}


static void
ngx_http_cardx_del_write(void *data)
{
    ngx_event_t              *wev;
    ngx_http_cardx_events_t  *events;

    events = data;
    wev = events->connection->write;

    if (wev->active) {
        (void) ngx_del_event(wev, NGX_WRITE_EVENT, 0);
    }
}


/*
 * The last that is heard of a context, however it ended; its callbacks have
 * been called.  The descriptor is hiredis', who closes it after this.
 */

static void
ngx_http_cardx_detach(void *data)
{
    ngx_connection_t         *c;
    redisAsyncContext        *ac;
    ngx_http_cardx_events_t  *events;

    events = data;
    c = events->connection;
    ac = events->ac;

    ngx_http_cardx_del_read(events);
    ngx_http_cardx_del_write(events);

    if (c->read->posted) {
        ngx_delete_posted_event(c->read);
    }

    if (c->write->posted) {
        ngx_delete_posted_event(c->write);
    }

    c->read->closed = 1;
    c->write->closed = 1;

    ngx_free_connection(c);
    c->fd = (ngx_socket_t) -1;

    ac->ev.data = NULL;
    ac->ev.addRead = NULL;
    ac->ev.delRead = NULL;
    ac->ev.addWrite = NULL;
    ac->ev.delWrite = NULL;
    ac->ev.cleanup = NULL;

    events->ac = NULL;
    events->connection = NULL;
    events->flushing = 0;

    events->down(events->data);
}


/*
 * The place of a value: the root or an element of it.  NULL, which makes
 * hiredis give up the link, if nothing was asked that has such an answer.
 */

static redisReply *
ngx_http_cardx_node(const redisReadTask *task, int type)
{
    redisReply             *node;
    ngx_http_cardx_link_t  *link;

    link = task->privdata;

    if (task->parent == NULL) {

        /* hiredis would abort() on a reply that nobody asked for */

        if (link->ac->replies.head == NULL) {
            return NULL;
        }

        node = &link->node[0];

    } else if (task->parent->parent == NULL) {
        node = &link->node[1 + task->idx];
        link->element[task->idx] = node;

    } else {
        return NULL;
    }

    node->type = type;
    node->str = NULL;
    node->len = 0;
    node->elements = 0;

    return node;
}


/* It may be as long as a cluster is large. */

static void *
ngx_http_cardx_create_map(ngx_http_cardx_link_t *link, redisReply *node,
    char *str, size_t len)
{
    if (len > NGX_HTTP_CARDX_MAP) {
        return node;
    }

    if (link->map_text) {
        ngx_free(link->map_text);
    }

    link->map_text = ngx_alloc(len + 1, ngx_cycle->log);

    if (link->map_text) {
        ngx_memcpy(link->map_text, str, len);
        link->map_text[len] = '\0';
        node->str = link->map_text;
        node->len = len;
    }

    return node;
}


static void *
ngx_http_cardx_create_string(const redisReadTask *task, char *str, size_t len)
{
    redisReply               *node;
    ngx_http_cardx_link_t    *link;
    ngx_http_cardx_ticket_t  *ticket;

    node = ngx_http_cardx_node(task, task->type);
    if (node == NULL) {
        return NULL;
    }

    link = task->privdata;
    ticket = link->ac->replies.head->privdata;

    if (ticket == NULL) {
        return node;
    }

    /* the map is no array's element: another would take its place */

    if (ticket == &link->map
        && task->parent == NULL
        && node->type == REDIS_REPLY_STRING)
    {
        return ngx_http_cardx_create_map(link, node, str, len);
    }

    if (ticket == &link->own || node->type == REDIS_REPLY_ERROR) {
        node->str = link->text;
        node->len = ngx_min(len, sizeof(link->text) - 1);
        ngx_memcpy(node->str, str, node->len);
        node->str[node->len] = '\0';
        return node;
    }

    if (ticket->ctx == NULL) {
        return node;
    }

    node->str = ngx_pnalloc(ticket->ctx->request->pool, len);

    if (node->str == NULL) {

        /* no nil: an absent mark would grant */

        node->type = REDIS_REPLY_ERROR;
        return node;
    }

    node->len = len;
    ngx_memcpy(node->str, str, len);

    return node;
}


#if (HIREDIS_MAJOR >= 1)

static void *
ngx_http_cardx_create_array(const redisReadTask *task, size_t elements)

#else

static void *
ngx_http_cardx_create_array(const redisReadTask *task, int elements)

#endif
{
    redisReply             *node;
    ngx_http_cardx_link_t  *link;

    if (task->parent != NULL
        || (size_t) elements > NGX_HTTP_CARDX_ELEMENTS)
    {
        return NULL;
    }

    node = ngx_http_cardx_node(task, task->type);
    if (node == NULL) {
        return NULL;
    }

    link = task->privdata;

    node->elements = elements;
    node->element = link->element;

    return node;
}


static void *
ngx_http_cardx_create_integer(const redisReadTask *task, long long value)
{
    redisReply  *node;

    node = ngx_http_cardx_node(task, REDIS_REPLY_INTEGER);

    if (node != NULL) {
        node->integer = value;
    }

    return node;
}


static void *
ngx_http_cardx_create_nil(const redisReadTask *task)
{
    return ngx_http_cardx_node(task, REDIS_REPLY_NIL);
}


#if (HIREDIS_MAJOR >= 1)

/* RESP3 is never asked for */

static void *
ngx_http_cardx_create_double(const redisReadTask *task, double value,
    char *str, size_t len)
{
    return ngx_http_cardx_node(task, REDIS_REPLY_NIL);
}


static void *
ngx_http_cardx_create_bool(const redisReadTask *task, int value)
{
    return ngx_http_cardx_node(task, REDIS_REPLY_NIL);
}

#endif


static void
ngx_http_cardx_free_object(void *object)
{
    /* it stands in the link, its strings in a request's pool */
}
