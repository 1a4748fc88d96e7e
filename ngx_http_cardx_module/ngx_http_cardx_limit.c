
/*
 * Refusals per address: who tries keys is slowed down, and who stands behind
 * the same address with a valid code is not.
 *
 * What counts is a refusal of /c/, /t/ or /q/, whoever found it out.  An
 * address beyond its limit still gets what Redis opens with one command; it
 * is refusals, and what only a worker could tell, that become 429.
 *
 * An address is what $cardx_network says: of IPv6 the first half, since the
 * rest is its owner's to choose.
 *
 * The lock is tried, never waited for, as the cache's is: without it nobody is
 * limited, and nothing counts.  Who was killed while changing something has
 * left the zone dirty, and the next one empties it.
 */


#include "ngx_http_cardx.h"


/* lengths of an IPv4 address and of half an IPv6 address differ */
#define NGX_HTTP_CARDX_NETWORK  8


typedef struct {
    ngx_rbtree_node_t                node;     /* its key: a CRC */
    ngx_queue_t                      queue;
    ngx_msec_t                       last;
    ngx_uint_t                       excess;   /* thousandths of a refusal */
    u_char                           len;
    u_char                           data[NGX_HTTP_CARDX_NETWORK];
} ngx_http_cardx_limit_node_t;


typedef struct {
    ngx_rbtree_t                     rbtree;
    ngx_rbtree_node_t                sentinel;
    ngx_queue_t                      queue;    /* the latest first */
    ngx_atomic_t                     dirty;
    ngx_uint_t                       size;     /* nodes */
    ngx_uint_t                       used;     /* of them, or were */
    ngx_http_cardx_limit_node_t      nodes[1];
} ngx_http_cardx_limit_shared_t;


struct ngx_http_cardx_limit_s {
    ngx_shm_zone_t                  *zone;
    ngx_slab_pool_t                 *shpool;
    ngx_http_cardx_limit_shared_t   *shared;
    ngx_uint_t                       rate;     /* thousandths a second */
    ngx_uint_t                       burst;    /* thousandths */
};


static char *ngx_http_cardx_limit_parameter(ngx_conf_t *cf,
    ngx_http_cardx_limit_t *limit, ngx_str_t *value, ssize_t *size);
static ngx_int_t ngx_http_cardx_limit_init_zone(ngx_shm_zone_t *zone,
    void *data);
static void ngx_http_cardx_limit_insert(ngx_rbtree_node_t *temp,
    ngx_rbtree_node_t *node, ngx_rbtree_node_t *sentinel);
static ngx_int_t ngx_http_cardx_limit_lock(ngx_http_cardx_limit_t *limit);
static ngx_http_cardx_limit_node_t *ngx_http_cardx_limit_find(
    ngx_http_cardx_limit_t *limit, ngx_str_t *network);
static ngx_http_cardx_limit_node_t *ngx_http_cardx_limit_node(
    ngx_http_cardx_limit_t *limit, ngx_str_t *network);
static void ngx_http_cardx_limit_drain(ngx_http_cardx_limit_t *limit,
    ngx_http_cardx_limit_node_t *ln);
static ngx_http_cardx_limit_t *ngx_http_cardx_limit_get(
    ngx_http_cardx_ctx_t *ctx);


/* cardx_refusals rate=5r/s burst=500 [size=4m] */

char *
ngx_http_cardx_conf_refusals(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_cardx_main_conf_t  *mcf = conf;

    char                    *rv;
    ssize_t                  size;
    ngx_str_t               *value;
    ngx_uint_t               i;
    ngx_http_cardx_limit_t  *limit;
    static ngx_str_t         name = ngx_string("cardx_refusals");

    if (mcf->limit) {
        return "is duplicate";
    }

    limit = ngx_pcalloc(cf->pool, sizeof(ngx_http_cardx_limit_t));
    if (limit == NULL) {
        return NGX_CONF_ERROR;
    }

    size = 4 * 1024 * 1024;
    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        rv = ngx_http_cardx_limit_parameter(cf, limit, &value[i], &size);

        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    if (limit->rate == 0 || limit->burst == 0) {
        return "requires \"rate\" and \"burst\"";
    }

    /* a tag of its own: no cardx_cache may name this zone */

    limit->zone = ngx_shared_memory_add(cf, &name, size, &name);
    if (limit->zone == NULL) {
        return NGX_CONF_ERROR;
    }

    limit->zone->init = ngx_http_cardx_limit_init_zone;
    limit->zone->data = limit;

    mcf->limit = limit;

    return NGX_CONF_OK;
}


static char *
ngx_http_cardx_limit_parameter(ngx_conf_t *cf, ngx_http_cardx_limit_t *limit,
    ngx_str_t *value, ssize_t *size)
{
    size_t      len;
    ngx_int_t   number, seconds;
    ngx_str_t   s;

    if (ngx_strncmp(value->data, "rate=", 5) == 0) {

        len = value->len;
        seconds = 1;

        if (len > 8 && ngx_strncmp(value->data + len - 3, "r/s", 3) == 0) {
            len -= 3;

        } else if (len > 8
                   && ngx_strncmp(value->data + len - 3, "r/m", 3) == 0)
        {
            len -= 3;
            seconds = 60;

        } else {
            goto invalid;
        }

        number = ngx_atoi(value->data + 5, len - 5);

        if (number <= 0 || number > 1000000) {
            goto invalid;
        }

        limit->rate = number * 1000 / seconds;

        return NGX_CONF_OK;
    }

    if (ngx_strncmp(value->data, "burst=", 6) == 0) {

        number = ngx_atoi(value->data + 6, value->len - 6);

        if (number <= 0 || number > 1000000) {
            goto invalid;
        }

        limit->burst = number * 1000;

        return NGX_CONF_OK;
    }

    if (ngx_strncmp(value->data, "size=", 5) == 0) {

        s.len = value->len - 5;
        s.data = value->data + 5;

        *size = ngx_parse_size(&s);

        if (*size < (ssize_t) (8 * ngx_pagesize)) {
            goto invalid;
        }

        return NGX_CONF_OK;
    }

invalid:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid parameter \"%V\"",
                       value);

    return NGX_CONF_ERROR;
}


static ngx_int_t
ngx_http_cardx_limit_init_zone(ngx_shm_zone_t *zone, void *data)
{
    ngx_http_cardx_limit_t  *olimit = data;

    size_t                   size;
    ngx_http_cardx_limit_t  *limit;

    limit = zone->data;

    limit->shpool = (ngx_slab_pool_t *) zone->shm.addr;

    if (olimit) {

        /* a reload forgives nobody */

        limit->shared = olimit->shared;
        return NGX_OK;
    }

    if (zone->shm.exists) {
        limit->shared = limit->shpool->data;
        return NGX_OK;
    }

    /* everything there is, in one piece */

    size = limit->shpool->pfree * ngx_pagesize;

    limit->shared = ngx_slab_alloc(limit->shpool, size);
    if (limit->shared == NULL) {
        return NGX_ERROR;
    }

    limit->shared->size = (size - offsetof(ngx_http_cardx_limit_shared_t,
                                           nodes))
                          / sizeof(ngx_http_cardx_limit_node_t);

    /* whoever comes first empties it */

    limit->shared->dirty = 1;

    limit->shpool->data = limit->shared;

    return NGX_OK;
}


static ngx_int_t
ngx_http_cardx_limit_cmp(ngx_http_cardx_limit_node_t *ln, ngx_str_t *network)
{
    return ngx_memn2cmp(network->data, ln->data, network->len, ln->len);
}


static void
ngx_http_cardx_limit_insert(ngx_rbtree_node_t *temp, ngx_rbtree_node_t *node,
    ngx_rbtree_node_t *sentinel)
{
    ngx_str_t                     network;
    ngx_rbtree_node_t           **p;
    ngx_http_cardx_limit_node_t  *ln;

    ln = (ngx_http_cardx_limit_node_t *) node;

    network.len = ln->len;
    network.data = ln->data;

    for ( ;; ) {

        if (node->key != temp->key) {
            p = (node->key < temp->key) ? &temp->left : &temp->right;

        } else {
            p = (ngx_http_cardx_limit_cmp((ngx_http_cardx_limit_node_t *) temp,
                                          &network)
                 < 0) ? &temp->left : &temp->right;
        }

        if (*p == sentinel) {
            break;
        }

        temp = *p;
    }

    *p = node;
    node->parent = temp;
    node->left = sentinel;
    node->right = sentinel;
    ngx_rbt_red(node);
}


static ngx_int_t
ngx_http_cardx_limit_lock(ngx_http_cardx_limit_t *limit)
{
    ngx_http_cardx_limit_shared_t  *shared;

    if (ngx_http_cardx_trylock(&limit->shpool->mutex) != NGX_OK) {
        return NGX_BUSY;
    }

    shared = limit->shared;

    if (shared->dirty) {
        ngx_rbtree_init(&shared->rbtree, &shared->sentinel,
                        ngx_http_cardx_limit_insert);

        ngx_queue_init(&shared->queue);

        shared->used = 0;

        ngx_memory_barrier();

        shared->dirty = 0;
    }

    return NGX_OK;
}


/* The zone is locked. */

static ngx_http_cardx_limit_node_t *
ngx_http_cardx_limit_find(ngx_http_cardx_limit_t *limit, ngx_str_t *network)
{
    uint32_t                      hash;
    ngx_int_t                     rc;
    ngx_rbtree_node_t            *node;
    ngx_http_cardx_limit_node_t  *ln;

    hash = ngx_crc32_short(network->data, network->len);

    node = limit->shared->rbtree.root;

    while (node != &limit->shared->sentinel) {

        if (hash != node->key) {
            node = (hash < node->key) ? node->left : node->right;
            continue;
        }

        ln = (ngx_http_cardx_limit_node_t *) node;

        rc = ngx_http_cardx_limit_cmp(ln, network);

        if (rc == 0) {
            return ln;
        }

        node = (rc < 0) ? node->left : node->right;
    }

    return NULL;
}


/* A new one: if there is none left, that of who was refused the longest ago.
 * The zone is locked, and dirty. */

static ngx_http_cardx_limit_node_t *
ngx_http_cardx_limit_node(ngx_http_cardx_limit_t *limit, ngx_str_t *network)
{
    ngx_queue_t                    *last;
    ngx_http_cardx_limit_node_t    *ln;
    ngx_http_cardx_limit_shared_t  *shared;

    shared = limit->shared;

    if (shared->used < shared->size) {
        ln = &shared->nodes[shared->used++];

    } else {
        last = ngx_queue_last(&shared->queue);
        ln = ngx_queue_data(last, ngx_http_cardx_limit_node_t, queue);

        ngx_queue_remove(last);
        ngx_rbtree_delete(&shared->rbtree, &ln->node);
    }

    ln->node.key = ngx_crc32_short(network->data, network->len);
    ln->last = ngx_current_msec;
    ln->excess = 0;
    ln->len = (u_char) network->len;
    ngx_memcpy(ln->data, network->data, network->len);

    ngx_rbtree_insert(&shared->rbtree, &ln->node);
    ngx_queue_insert_head(&shared->queue, &ln->queue);

    return ln;
}


/* What has run out since it was last looked at. */

static void
ngx_http_cardx_limit_drain(ngx_http_cardx_limit_t *limit,
    ngx_http_cardx_limit_node_t *ln)
{
    uint64_t        gone;
    ngx_msec_int_t  ms;

    ms = (ngx_msec_int_t) (ngx_current_msec - ln->last);

    if (ms <= 0) {
        return;
    }

    gone = (uint64_t) limit->rate * (uint64_t) ms / 1000;

    /* so little that it would be rounded away for ever */

    if (gone == 0) {
        return;
    }

    ln->excess = (gone < ln->excess) ? ln->excess - (ngx_uint_t) gone : 0;
    ln->last = ngx_current_msec;
}


static ngx_http_cardx_limit_t *
ngx_http_cardx_limit_get(ngx_http_cardx_ctx_t *ctx)
{
    ngx_http_cardx_main_conf_t  *mcf;

    if (!ctx->refusable) {
        return NULL;
    }

    mcf = ngx_http_get_module_main_conf(ctx->request, ngx_http_cardx_module);

    return mcf->limit;
}


/* Seconds until the request's address may be refused again; 0: now. */

ngx_uint_t
ngx_http_cardx_limited(ngx_http_cardx_ctx_t *ctx)
{
    u_char                        data[NGX_HTTP_CARDX_NETWORK];
    ngx_str_t                     network;
    ngx_uint_t                    seconds;
    ngx_http_cardx_limit_t       *limit;
    ngx_http_cardx_limit_node_t  *ln;

    limit = ngx_http_cardx_limit_get(ctx);

    if (limit == NULL) {
        return 0;
    }

    network.data = data;
    network.len = ngx_http_cardx_network(ctx->request, data);

    if (network.len == 0 || ngx_http_cardx_limit_lock(limit) != NGX_OK) {
        return 0;
    }

    seconds = 0;

    ln = ngx_http_cardx_limit_find(limit, &network);

    if (ln) {
        ngx_http_cardx_limit_drain(limit, ln);

        if (ln->excess + 1000 > limit->burst) {
            seconds = 1 + (ln->excess + 1000 - limit->burst) / limit->rate;
        }
    }

    ngx_shmtx_unlock(&limit->shpool->mutex);

    return seconds;
}


/* The end of a request: was it refused?  Who leaves before a worker could say
 * so has cost as much, unless Redis knows the key. */

static ngx_uint_t
ngx_http_cardx_limit_counts(ngx_http_cardx_ctx_t *ctx)
{
    switch (ctx->request->headers_out.status) {

    case NGX_HTTP_NOT_FOUND:
        return 1;

    case 0:
    case NGX_HTTP_CLIENT_CLOSED_REQUEST:
        return ctx->status == NGX_HTTP_CARDX_MISS
               || ctx->status == NGX_HTTP_CARDX_MALFORMED
               || ctx->status == NGX_HTTP_CARDX_REFUSED
               || (ctx->status == NGX_HTTP_CARDX_PASS && !ctx->passing);

    default:
        return 0;
    }
}


void
ngx_http_cardx_limit_count(ngx_http_cardx_ctx_t *ctx)
{
    u_char                        data[NGX_HTTP_CARDX_NETWORK];
    ngx_str_t                     network;
    ngx_http_cardx_limit_t       *limit;
    ngx_http_cardx_limit_node_t  *ln;

    limit = ngx_http_cardx_limit_get(ctx);

    if (limit == NULL || !ngx_http_cardx_limit_counts(ctx)) {
        return;
    }

    network.data = data;
    network.len = ngx_http_cardx_network(ctx->request, data);

    if (network.len == 0 || ngx_http_cardx_limit_lock(limit) != NGX_OK) {
        return;
    }

    limit->shared->dirty = 1;
    ngx_memory_barrier();

    ln = ngx_http_cardx_limit_find(limit, &network);

    if (ln) {
        ngx_http_cardx_limit_drain(limit, ln);

        ngx_queue_remove(&ln->queue);
        ngx_queue_insert_head(&limit->shared->queue, &ln->queue);

    } else {
        ln = ngx_http_cardx_limit_node(limit, &network);
    }

    ln->excess = ngx_min(ln->excess + 1000, limit->burst);

    ngx_memory_barrier();
    limit->shared->dirty = 0;

    ngx_shmtx_unlock(&limit->shpool->mutex);
}


/*
 * What counts as one address: an IPv4 address (also one that IPv6 carries),
 * or the first 8 bytes of an IPv6 address.  Its length, at most
 * NGX_HTTP_CARDX_NETWORK; 0: there is none, as on a unix socket.
 */

size_t
ngx_http_cardx_network(ngx_http_request_t *r, u_char *out)
{
    struct sockaddr      *sa;
    struct sockaddr_in   *sin;
#if (NGX_HAVE_INET6)
    struct sockaddr_in6  *sin6;
#endif

    sa = r->connection->sockaddr;

    switch (sa->sa_family) {

    case AF_INET:
        sin = (struct sockaddr_in *) sa;
        ngx_memcpy(out, &sin->sin_addr, 4);
        return 4;

#if (NGX_HAVE_INET6)

    case AF_INET6:
        sin6 = (struct sockaddr_in6 *) sa;

        if (IN6_IS_ADDR_V4MAPPED(&sin6->sin6_addr)) {
            ngx_memcpy(out, &sin6->sin6_addr.s6_addr[12], 4);
            return 4;
        }

        ngx_memcpy(out, sin6->sin6_addr.s6_addr, 8);
        return 8;

#endif

    default:
        return 0;
    }
}


/* $cardx_network, in bytes, for limit_req_zone and limit_conn_zone */

ngx_int_t
ngx_http_cardx_network_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    v->data = ngx_pnalloc(r->pool, NGX_HTTP_CARDX_NETWORK);
    if (v->data == NULL) {
        return NGX_ERROR;
    }

    v->len = ngx_http_cardx_network(r, v->data);
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}
