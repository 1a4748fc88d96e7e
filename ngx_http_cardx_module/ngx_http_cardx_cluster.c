
/*
 * Redis Cluster: which link a command goes to, and where else.
 *
 * The map of slots comes from CLUSTER NODES, which each link asks when it
 * comes up, while its node is not complete, and when somebody's key was said
 * to have moved.  A request follows such a word as far as a link that is
 * there and ready; it never makes one.  So addresses come from the map and
 * the configuration alone, and what leads nowhere falls back.
 */


#include "ngx_http_cardx.h"


#define NGX_HTTP_CARDX_HOPS     3
#define NGX_HTTP_CARDX_MAP_AGE  10000


static ngx_int_t ngx_http_cardx_key(u_char *p, u_char *last, ngx_str_t *key);
static ngx_int_t ngx_http_cardx_word(u_char **p, u_char *last,
    ngx_str_t *word);
static void ngx_http_cardx_map_reply(redisAsyncContext *ac, void *data,
    void *privdata);
static void ngx_http_cardx_map_learn(ngx_http_cardx_nodes_t *nodes);
static ngx_http_cardx_link_t *ngx_http_cardx_find_link(
    ngx_http_cardx_nodes_t *nodes, const char *host, ngx_uint_t port);
static ngx_http_cardx_link_t *ngx_http_cardx_new_link(
    ngx_http_cardx_nodes_t *nodes, cx_node_t *node);


/* The link of a command's key; NULL: nobody has it. */

ngx_http_cardx_link_t *
ngx_http_cardx_route(ngx_http_cardx_redis_t *redis, u_char *command,
    size_t len)
{
    ngx_str_t                key;
    ngx_uint_t               i;
    ngx_http_cardx_nodes_t  *nodes;

    nodes = redis->nodes;

    if (nodes == NULL) {
        return NULL;
    }

    if (!redis->cluster) {
        return nodes->links[0];
    }

    if (nodes->map == NULL
        || ngx_http_cardx_key(command, command + len, &key) != NGX_OK)
    {
        return NULL;
    }

    if (key.len) {
        i = nodes->map->owner[cx_slot((char *) key.data, key.len)];

        return (i == CX_NO_NODE) ? NULL : nodes->owner[i];
    }

    /* it has none: any will do */

    for (i = 0; i < nodes->map->n; i++) {

        if (nodes->owner[i]
            && nodes->owner[i]->state >= NGX_HTTP_CARDX_LINK_CHECKING)
        {
            return nodes->owner[i];
        }
    }

    return NULL;
}


static ngx_int_t
ngx_http_cardx_key(u_char *p, u_char *last, ngx_str_t *key)
{
    int        n;
    ngx_str_t  word;

    /* the number of arguments: one digit */

    p += sizeof("*1" CRLF) - 1;

    if (ngx_http_cardx_word(&p, last, &word) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_str_null(key);

    for (n = cx_command_key((char *) word.data, word.len); n > 0; n--) {

        if (ngx_http_cardx_word(&p, last, key) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/* $<length> CR LF <word> CR LF */

static ngx_int_t
ngx_http_cardx_word(u_char **pos, u_char *last, ngx_str_t *word)
{
    u_char     *p, *cr;
    ngx_int_t   len;

    p = *pos;

    if (p >= last || *p++ != '$') {
        return NGX_ERROR;
    }

    cr = ngx_strlchr(p, last, CR);

    if (cr == NULL) {
        return NGX_ERROR;
    }

    len = ngx_atoi(p, cr - p);
    p = cr + 2;

    if (len == NGX_ERROR || last - p < len + 2) {
        return NGX_ERROR;
    }

    word->len = len;
    word->data = p;

    *pos = p + len + 2;

    return NGX_OK;
}


/* NGX_OK: the ticket is on its way again. */

ngx_int_t
ngx_http_cardx_redirected(ngx_http_cardx_ticket_t *ticket, redisReply *reply)
{
    u_char                  *p, asking[NGX_HTTP_CARDX_COMMAND];
    cx_redirect_t            to;
    ngx_http_cardx_link_t   *link;
    ngx_http_cardx_nodes_t  *nodes;

    link = ticket->link;
    nodes = link->redis->nodes;

    cx_redirect_error_read(reply->str, reply->len, &to);

    if (to.kind == CX_REDIRECT_NONE) {
        return NGX_DECLINED;
    }

    if (to.kind == CX_REDIRECT_MOVED && !nodes->stale) {
        nodes->stale = 1;

        if (ngx_http_cardx_ask_map(link) != NGX_OK) {
            return NGX_DECLINED;
        }
    }

    if (ticket->hops == NGX_HTTP_CARDX_HOPS
        || (ticket->ctx == NULL && !ticket->tell)
        || link->exiting)
    {
        return NGX_DECLINED;
    }

    link = ngx_http_cardx_find_link(nodes, to.host[0] ? to.host
                                                      : link->address.host,
                                    to.port);

    if (link == NULL
        || link->state != NGX_HTTP_CARDX_LINK_READY
        || link->stalled)
    {
        return NGX_DECLINED;
    }

    if (to.kind == CX_REDIRECT_ASK) {
        p = ngx_http_cardx_command(asking, 1);
        p = ngx_http_cardx_literal(p, "ASKING");

        if (redisAsyncFormattedCommand(link->ac, NULL, NULL, (char *) asking,
                                       p - asking)
            != REDIS_OK)
        {
            return NGX_DECLINED;
        }
    }

    ticket->hops++;

    return ngx_http_cardx_send_ticket(ticket, link, ticket->command,
                                      ticket->len);
}


ngx_uint_t
ngx_http_cardx_map_is_old(ngx_http_cardx_link_t *link)
{
    ngx_http_cardx_nodes_t  *nodes;

    nodes = link->redis->nodes;

    return link->redis->cluster
           && (link->state != NGX_HTTP_CARDX_LINK_READY
               || nodes->stale
               || ngx_current_msec - nodes->learned > NGX_HTTP_CARDX_MAP_AGE);
}


ngx_int_t
ngx_http_cardx_ask_map(ngx_http_cardx_link_t *link)
{
    u_char  *p, command[NGX_HTTP_CARDX_COMMAND];

    p = ngx_http_cardx_command(command, 2);
    p = ngx_http_cardx_literal(p, "CLUSTER");
    p = ngx_http_cardx_literal(p, "NODES");

    if (redisAsyncFormattedCommand(link->ac, ngx_http_cardx_map_reply,
                                   &link->map, (char *) command, p - command)
        != REDIS_OK)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


static void
ngx_http_cardx_map_reply(redisAsyncContext *ac, void *data, void *privdata)
{
    cx_cluster_t             *map;
    redisReply               *reply;
    ngx_http_cardx_link_t    *link;
    ngx_http_cardx_nodes_t   *nodes;
    ngx_http_cardx_ticket_t  *ticket;

    reply = data;
    ticket = privdata;
    link = ticket->link;

    if (reply == NULL || (ac->c.flags & REDIS_FREEING) || link->exiting) {
        return;
    }

    if (reply->type != REDIS_REPLY_STRING || reply->str == NULL) {
        ngx_http_cardx_link_failed(link, reply->type == REDIS_REPLY_ERROR
                                         ? reply->str
                                         : "no answer to CLUSTER NODES");
        return;
    }

    nodes = link->redis->nodes;

    if (nodes->fresh == NULL) {
        nodes->fresh = ngx_alloc(sizeof(cx_cluster_t), ngx_cycle->log);

        if (nodes->fresh == NULL) {
            return;
        }
    }

    if (cx_cluster_read(nodes->fresh, reply->str, reply->len,
                        link->address.host)
        == 0)
    {
        map = nodes->map;
        nodes->map = nodes->fresh;
        nodes->fresh = map;

        nodes->stale = 0;
        nodes->learned = ngx_current_msec;

        ngx_http_cardx_map_learn(nodes);
    }

    ngx_free(link->map_text);
    link->map_text = NULL;
}


static void
ngx_http_cardx_map_learn(ngx_http_cardx_nodes_t *nodes)
{
    cx_node_t              *node;
    ngx_uint_t              i;
    ngx_http_cardx_link_t  *link;

    for (i = nodes->redis->addresses.nelts; i < nodes->n; i++) {
        nodes->links[i]->keep = 0;
    }

    for (i = 0; i < nodes->map->n; i++) {
        node = &nodes->map->nodes[i];

        nodes->owner[i] = ngx_http_cardx_find_link(nodes, node->host,
                                                   node->port);
        if (nodes->owner[i]) {
            nodes->owner[i]->keep = 1;
        }
    }

    for (i = 0; i < nodes->map->n; i++) {
        node = &nodes->map->nodes[i];

        if (nodes->owner[i] == NULL) {
            nodes->owner[i] = ngx_http_cardx_new_link(nodes, node);
        }

        link = nodes->owner[i];

        if (link == NULL) {
            continue;
        }

        link->keep = 1;

        if (link->mark != node->mark) {
            link->mark = node->mark;
            link->ready_len = cx_own_name(link->ready, CX_READY, node->mark);

            if (link->state == NGX_HTTP_CARDX_LINK_READY) {
                link->state = NGX_HTTP_CARDX_LINK_CHECKING;
            }
        }

        if (link->ac == NULL && !link->reconnect.timer_set) {

            /* at once, but not from here */

            ngx_add_timer(&link->reconnect, 0);
        }
    }
}


static ngx_http_cardx_link_t *
ngx_http_cardx_find_link(ngx_http_cardx_nodes_t *nodes, const char *host,
    ngx_uint_t port)
{
    ngx_uint_t              i;
    ngx_http_cardx_link_t  *link;

    for (i = 0; i < nodes->n; i++) {
        link = nodes->links[i];

        if (link->address.port == port
            && ngx_strcmp(link->address.host, host) == 0)
        {
            return link;
        }
    }

    return NULL;
}


/* A link for a node that was not known; in the place of one that has left, if
 * there is one, so that their number stays bounded. */

static ngx_http_cardx_link_t *
ngx_http_cardx_new_link(ngx_http_cardx_nodes_t *nodes, cx_node_t *node)
{
    ngx_uint_t                 i;
    ngx_http_cardx_link_t     *link;
    ngx_http_cardx_address_t   address;

    link = NULL;

    for (i = 0; i < nodes->n; i++) {

        if (!nodes->links[i]->keep
            && nodes->links[i]->ac == NULL
            && !nodes->links[i]->reconnect.timer_set)
        {
            link = nodes->links[i];
            break;
        }
    }

    if (link == NULL) {
        ngx_memzero(&address, sizeof(ngx_http_cardx_address_t));

        link = ngx_http_cardx_add_link(nodes, &address);

        if (link == NULL) {
            return NULL;
        }
    }

    ngx_memcpy(link->host, node->host, CX_HOST_MAX);

    link->address.host = link->host;
    link->address.port = node->port;
    link->address.name.data = link->name;
    link->address.name.len = ngx_sprintf(link->name, "%s:%ui", link->host,
                                         (ngx_uint_t) node->port)
                             - link->name;

    return link;
}
