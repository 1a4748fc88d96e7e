
/*
 * cardx: the hot paths of a card server, answered from Redis.
 *
 * Memory has one of four owners: the cycle's pool (configuration), the
 * request's pool (contexts and answers), the heap (tickets: a command on its
 * way may outlive its request), and shared memory (counters).
 */


#ifndef _NGX_HTTP_CARDX_H_INCLUDED_
#define _NGX_HTTP_CARDX_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include <hiredis/hiredis.h>
#include <hiredis/async.h>

#include "cx_accept.h"
#include "cx_changes.h"
#include "cx_cluster.h"
#include "cx_id.h"
#include "cx_projection.h"


/* what a request was for; the order of the counters */
typedef enum {
    NGX_HTTP_CARDX_CARD = 0,
    NGX_HTTP_CARDX_MEDIA,
    NGX_HTTP_CARDX_THUMBNAIL,
    NGX_HTTP_CARDX_REDIRECT,
    NGX_HTTP_CARDX_AUTH,
    NGX_HTTP_CARDX_UPDATES,
    NGX_HTTP_CARDX_EVENTS,
    NGX_HTTP_CARDX_PATHS
} ngx_http_cardx_path_e;


/* what became of it; $cardx_status */
typedef enum {
    NGX_HTTP_CARDX_NONE = 0,
    NGX_HTTP_CARDX_CACHED,              /* a hit without asking Redis */
    NGX_HTTP_CARDX_HIT,
    NGX_HTTP_CARDX_MISS,                /* not in Redis, in doubt, or away */
    NGX_HTTP_CARDX_REFUSED,
    NGX_HTTP_CARDX_MALFORMED,           /* refused without asking */
    NGX_HTTP_CARDX_PASS,                /* a worker's by its nature */
    NGX_HTTP_CARDX_LIMITED,             /* too many refusals before */
    NGX_HTTP_CARDX_STATUSES
} ngx_http_cardx_status_e;


typedef struct {
    ngx_atomic_t                     requests[NGX_HTTP_CARDX_PATHS]
                                             [NGX_HTTP_CARDX_STATUSES];
    ngx_atomic_t                     fallbacks[NGX_HTTP_CARDX_PATHS];
    ngx_atomic_t                     unavailable[NGX_HTTP_CARDX_PATHS];
    ngx_atomic_t                     commands;
    ngx_atomic_t                     timeouts;
    ngx_atomic_t                     errors;      /* error replies */
    ngx_atomic_t                     connects;
    ngx_atomic_t                     disconnects; /* links lost or refused */
    ngx_atomic_t                     streams;     /* of events, begun */
    ngx_atomic_t                     events;      /* told from messages */
    ngx_atomic_t                     catches;     /* asked of workers */
    ngx_atomic_t                     stores;      /* into a cache */
    ngx_atomic_t                     forgets;     /* objects */
    ngx_atomic_t                     flushes;     /* everything forgotten */
    ngx_atomic_t                     locked;      /* a cache was in use */
    ngx_atomic_t                     lost_scans;
    ngx_atomic_t                     waited_calls; /* for a place */
    ngx_atomic_t                     refused_calls; /* none, or too late */
} ngx_http_cardx_counters_t;


typedef struct ngx_http_cardx_ctx_s     ngx_http_cardx_ctx_t;
typedef struct ngx_http_cardx_cache_s   ngx_http_cardx_cache_t;
typedef struct ngx_http_cardx_call_s    ngx_http_cardx_call_t;
typedef struct ngx_http_cardx_calls_s   ngx_http_cardx_calls_t;
typedef struct ngx_http_cardx_limit_s   ngx_http_cardx_limit_t;
typedef struct ngx_http_cardx_link_s    ngx_http_cardx_link_t;
typedef struct ngx_http_cardx_nodes_s   ngx_http_cardx_nodes_t;
typedef struct ngx_http_cardx_scans_s   ngx_http_cardx_scans_t;
typedef struct ngx_http_cardx_ticket_s  ngx_http_cardx_ticket_t;
typedef struct ngx_http_cardx_waiter_s  ngx_http_cardx_waiter_t;
typedef struct ngx_http_cardx_stream_s  ngx_http_cardx_stream_t;

/* reply is NULL if there is none: too late, or the link was lost */
typedef void (*ngx_http_cardx_reply_pt)(ngx_http_cardx_ctx_t *ctx,
    redisReply *reply);

/* the same of what no request waits for */
typedef void (*ngx_http_cardx_told_pt)(void *data, redisReply *reply);


typedef struct {
    ngx_array_t                      redis;    /* ngx_http_cardx_redis_t * */
    ngx_array_t                      caches;   /* ngx_http_cardx_cache_t * */
    ngx_shm_zone_t                  *zone;
    ngx_http_cardx_counters_t       *counters;
    ngx_uint_t                       used;     /* unsigned  used:1; */
    ngx_http_cardx_limit_t          *limit;    /* NULL: none */

    /* of this process: who has calls that wait or run */
    ngx_rbtree_t                     callers;
    ngx_rbtree_node_t                callers_sentinel;
} ngx_http_cardx_main_conf_t;


typedef struct {
    ngx_str_t                        name;     /* for logs */
    char                            *path;     /* unix socket, or NULL */
    char                            *host;     /* numeric */
    ngx_uint_t                       port;
} ngx_http_cardx_address_t;


/* one cardx_redis directive */
typedef struct {
    ngx_str_t                        name;     /* the first address */
    ngx_array_t                      addresses;
                                               /* ngx_http_cardx_address_t */
    ngx_int_t                        db;
    ngx_str_t                        user;
    ngx_str_t                        password;
    ngx_msec_t                       connect_timeout;
    ngx_msec_t                       timeout;

    ngx_http_cardx_main_conf_t      *main;
    ngx_http_cardx_nodes_t          *nodes;    /* of this process */
    ngx_uint_t                       turn;     /* the address to try next */
    struct ngx_http_cardx_pubsub_s  *pubsub;   /* the same, or NULL */
    struct ngx_http_cardx_hub_s     *hub;      /* the same, or NULL */
    ngx_http_cardx_scans_t          *scans;    /* the same, or NULL */

    unsigned                         cluster:1;
} ngx_http_cardx_redis_t;


typedef struct {
    ngx_http_cardx_redis_t          *redis;
    ngx_http_cardx_cache_t          *cache;    /* NULL: off */
    ngx_http_cardx_calls_t          *calls;    /* NULL: off */
    cx_id_key_t                     *id_key;
    ngx_str_t                        fallback;
    ngx_str_t                        media;
    ngx_str_t                        changes;
    ngx_msec_t                       heartbeat;
    ngx_flag_t                       auth;
    ngx_flag_t                       card;
    ngx_flag_t                       thumbnail;
    ngx_flag_t                       redirect;
    ngx_flag_t                       updates;
    ngx_flag_t                       events;
    ngx_flag_t                       metrics;
    ngx_flag_t                       private_log;
} ngx_http_cardx_loc_conf_t;


typedef enum {
    NGX_HTTP_CARDX_AUTH_NONE = 0,
    NGX_HTTP_CARDX_AUTH_WAITING,
    NGX_HTTP_CARDX_AUTH_UNKNOWN,
    NGX_HTTP_CARDX_AUTH_REFUSED,
    NGX_HTTP_CARDX_AUTH_VERIFIED
} ngx_http_cardx_auth_e;


/* what must be unchanged when what Redis said is stored */

typedef struct {
    ngx_atomic_uint_t                era;
    ngx_atomic_uint_t                generation;
    uint32_t                         object;
    unsigned                         open:1;
} ngx_http_cardx_fill_t;


struct ngx_http_cardx_ctx_s {
    ngx_http_request_t              *request;
    ngx_http_cardx_ticket_t         *ticket;   /* while waiting for Redis */
    ngx_http_cardx_reply_pt          handler;

    ngx_http_cardx_path_e            path;
    ngx_http_cardx_status_e          status;

    ngx_http_cardx_auth_e            auth;
    cx_token_t                      *token;
    ngx_str_t                        head;     /* if it came with that */
    ngx_http_cardx_waiter_t         *waiter;
    ngx_http_cardx_stream_t         *stream;
    ngx_http_cardx_call_t           *call;

    ngx_str_t                        id;       /* CX_ID_LEN, in r->uri */
    ngx_str_t                        key;      /* CX_KEY_LEN */
    ngx_str_t                        kind;     /* of media, or empty */
    unsigned char                    hash[CX_SECRET_LEN]; /* of the key */
    u_char                           view[CX_VIEW_LEN];
    size_t                           view_len;

    ngx_http_cardx_fill_t            fill;
    ngx_http_cardx_fill_t            head_fill;

    ngx_str_t                        media_id;
    ngx_str_t                        media_type;

    unsigned                         vcf:1;
    unsigned                         refusable:1; /* and so counted */
    unsigned                         passing:1;   /* verified, then passed */
    unsigned                         head_cached:1;
};


/*
 * Writing commands.  The caller's buffer has room: NGX_HTTP_CARDX_COMMAND is
 * enough for any command of this module, whose arguments are all bounded.
 */

#define NGX_HTTP_CARDX_COMMAND  512

u_char *ngx_http_cardx_command(u_char *p, ngx_uint_t arguments);
u_char *ngx_http_cardx_argument(u_char *p, const void *data, size_t len);

#define ngx_http_cardx_literal(p, text)                                       \
    ngx_http_cardx_argument(p, text, sizeof(text) - 1)


/*
 * Redis.  ask: NGX_OK, and the handler will be called exactly once, unless
 * the request ends before; NGX_DECLINED: Redis is away, nothing will be
 * called.  tell: fire and forget; NGX_DECLINED: there is no link.  say: told
 * will be called exactly once, unless it is NGX_DECLINED: no complete Redis.
 */

ngx_int_t ngx_http_cardx_redis_ask(ngx_http_cardx_ctx_t *ctx,
    ngx_http_cardx_redis_t *redis, ngx_http_cardx_reply_pt handler,
    u_char *command, size_t len);
ngx_int_t ngx_http_cardx_redis_tell(ngx_http_cardx_redis_t *redis,
    u_char *command, size_t len);
ngx_int_t ngx_http_cardx_redis_say(ngx_http_cardx_redis_t *redis,
    u_char *command, size_t len, ngx_http_cardx_told_pt told, void *data);
void ngx_http_cardx_redis_forget(ngx_http_cardx_ticket_t *ticket);

ngx_int_t ngx_http_cardx_redis_init(ngx_cycle_t *cycle,
    ngx_http_cardx_redis_t *redis);
void ngx_http_cardx_redis_exit(ngx_http_cardx_redis_t *redis);
ngx_uint_t ngx_http_cardx_redis_is_up(ngx_http_cardx_redis_t *redis,
    const char *name);
void ngx_http_cardx_redis_flush(ngx_http_cardx_redis_t *redis);
redisAsyncContext *ngx_http_cardx_redis_context(
    ngx_http_cardx_redis_t *redis);
ngx_int_t ngx_http_cardx_redis_auth(ngx_http_cardx_redis_t *redis,
    redisAsyncContext *ac, redisCallbackFn *reply, void *data);


/* hiredis' event hooks and reply objects; see ngx_http_cardx_adapter.c */

/* the longest array that is ever asked for */
#define NGX_HTTP_CARDX_ELEMENTS  4

/* room for what a link asks for itself; longer replies are cut */
#define NGX_HTTP_CARDX_TEXT      2048


typedef enum {
    NGX_HTTP_CARDX_LINK_DOWN = 0,
    NGX_HTTP_CARDX_LINK_SETUP,          /* connecting, AUTH, SELECT, INFO */
    NGX_HTTP_CARDX_LINK_CHECKING,       /* the projection is not complete */
    NGX_HTTP_CARDX_LINK_READY
} ngx_http_cardx_link_e;


struct ngx_http_cardx_ticket_s {
    ngx_queue_t                      queue;    /* while ctx is not NULL */
    ngx_msec_t                       deadline;
    ngx_http_cardx_ctx_t            *ctx;      /* NULL: nobody waits */
    ngx_http_cardx_link_t           *link;
    ngx_http_cardx_told_pt           told;     /* or NULL */
    void                            *data;

    /* in a cluster, to say it again to another node */
    size_t                           len;
    ngx_uint_t                       hops;
    unsigned                         tell:1;   /* nobody ever waited */
    u_char                           command[1];
};


/* a hiredis context on nginx's events */

typedef struct {
    redisAsyncContext               *ac;       /* NULL: no connection */
    ngx_connection_t                *connection;
    void                           (*down)(void *data);
    void                            *data;

    unsigned                         flushing:1;
} ngx_http_cardx_events_t;


struct ngx_http_cardx_link_s {
    redisAsyncContext               *ac;       /* NULL: no connection */
    ngx_http_cardx_events_t          events;
    ngx_http_cardx_redis_t          *redis;
    ngx_http_cardx_address_t         address;
    ngx_http_cardx_link_e            state;

    ngx_event_t                      reconnect;
    ngx_event_t                      watch;
    ngx_msec_t                       backoff;
    ngx_msec_t                       asked;    /* when the watch asked */

    u_char                           run_id[40];
    ngx_http_cardx_ticket_t          own;      /* the link's own commands */
    ngx_http_cardx_ticket_t          map;      /* CLUSTER NODES */
    char                            *map_text; /* its answer, on the heap */

    /* the node's mark, see cx_cluster.h, and what cardx:ready is there */
    ngx_uint_t                       mark;
    char                             ready[CX_NAME_MAX];
    size_t                           ready_len;
    ngx_uint_t                       ready_mark; /* when it was asked for */

    u_char                           name[CX_HOST_MAX + 8];
    char                             host[CX_HOST_MAX];

    /* the reply that is being read */
    redisReply                       node[1 + NGX_HTTP_CARDX_ELEMENTS];
    redisReply                      *element[NGX_HTTP_CARDX_ELEMENTS];
    char                             text[NGX_HTTP_CARDX_TEXT];

    unsigned                         keep:1;     /* configured, or has slots */
    unsigned                         watching:1; /* asked and not answered */
    unsigned                         stalled:1;
    unsigned                         failed:1;   /* and logged */
    unsigned                         exiting:1;
};


/* the one server, or the nodes of a cluster */

struct ngx_http_cardx_nodes_s {
    ngx_http_cardx_redis_t          *redis;

    /* tickets in the order of their deadlines, and a timer for the first */
    ngx_queue_t                      waiting;
    ngx_event_t                      deadline;

    ngx_uint_t                       n;
    ngx_http_cardx_link_t           *links[CX_NODES_MAX];

    /* in a cluster; place in the map -> link */
    cx_cluster_t                    *map;      /* NULL: not known */
    cx_cluster_t                    *fresh;
    ngx_http_cardx_link_t           *owner[CX_NODES_MAX];
    ngx_msec_t                       learned;
    unsigned                         stale:1;
};


/* Clusters; see ngx_http_cardx_cluster.c. */

ngx_http_cardx_link_t *ngx_http_cardx_route(ngx_http_cardx_redis_t *redis,
    u_char *command, size_t len);
ngx_int_t ngx_http_cardx_redirected(ngx_http_cardx_ticket_t *ticket,
    redisReply *reply);
ngx_int_t ngx_http_cardx_ask_map(ngx_http_cardx_link_t *link);
ngx_uint_t ngx_http_cardx_map_is_old(ngx_http_cardx_link_t *link);

ngx_http_cardx_link_t *ngx_http_cardx_add_link(ngx_http_cardx_nodes_t *nodes,
    ngx_http_cardx_address_t *address);
redisAsyncContext *ngx_http_cardx_address_context(
    ngx_http_cardx_address_t *address);
void ngx_http_cardx_connect(ngx_http_cardx_link_t *link);
ngx_msec_t ngx_http_cardx_backoff(ngx_msec_t *backoff);
void ngx_http_cardx_link_failed(ngx_http_cardx_link_t *link, const char *why);
ngx_int_t ngx_http_cardx_send_ticket(ngx_http_cardx_ticket_t *ticket,
    ngx_http_cardx_link_t *link, u_char *command, size_t len);


/*
 * attach: hooks a new context; down(data) is called once, when it is gone.
 * attach_link: the same, with the link's own reply objects.
 */

ngx_int_t ngx_http_cardx_attach(ngx_http_cardx_events_t *events,
    redisAsyncContext *ac, void (*down)(void *data), void *data);
ngx_int_t ngx_http_cardx_attach_link(ngx_http_cardx_link_t *link);
void ngx_http_cardx_link_down(void *data);


/*
 * Pub/sub: one more connection for each nginx worker and cardx_redis, while
 * there is a channel; see ngx_http_cardx_pubsub.c.
 *
 * A channel's record is its user's, and may stand beside others of the same
 * name.  state(data, 1): messages from now on are heard; state(data, 0): they
 * are no more, until state(data, 1) is called again.  Neither is called within
 * subscribe() or unsubscribe(), unless memory runs out.  A message lives as
 * long as its handler runs.  Handlers may subscribe others, and unsubscribe
 * their own record; one that is told that its channel is down, any.
 */

typedef struct ngx_http_cardx_pubsub_s   ngx_http_cardx_pubsub_t;
typedef struct ngx_http_cardx_channel_s  ngx_http_cardx_channel_t;

struct ngx_http_cardx_channel_s {
    ngx_str_t                        name;     /* lives as long as this */
    void                           (*message)(void *data, ngx_str_t *message);
    void                           (*state)(void *data, ngx_uint_t up);
                                               /* or NULL */
    void                            *data;

    ngx_queue_t                      queue;
    ngx_http_cardx_pubsub_t         *pubsub;   /* NULL: not subscribed */
    ngx_uint_t                       after;    /* up after so many answers */
    unsigned                         up:1;
};


ngx_int_t ngx_http_cardx_subscribe(ngx_http_cardx_redis_t *redis,
    ngx_http_cardx_channel_t *channel);
void ngx_http_cardx_unsubscribe(ngx_http_cardx_channel_t *channel);
void ngx_http_cardx_pubsub_exit(ngx_http_cardx_redis_t *redis);


/*
 * The cache.  open: NGX_OK, and the zone is locked until close; else there is
 * nothing to be found.  begin: before Redis is asked for what will be stored.
 * A cache may be NULL.  See ngx_http_cardx_cache.c.
 */

/* room for the longest key: a letter that says of what, an id and a hash */
#define NGX_HTTP_CARDX_CACHE_KEY      80

/* how long a refusal is remembered at most, in seconds */
#define NGX_HTTP_CARDX_CACHE_REFUSAL  10

ngx_int_t ngx_http_cardx_trylock(ngx_shmtx_t *mutex);

ngx_int_t ngx_http_cardx_cache_open(ngx_http_cardx_cache_t *cache);
ngx_int_t ngx_http_cardx_cache_find(ngx_http_cardx_cache_t *cache,
    u_char *key, size_t len, ngx_str_t *value, time_t *expires);
void ngx_http_cardx_cache_close(ngx_http_cardx_cache_t *cache);
size_t ngx_http_cardx_cache_key(u_char *key, u_char kind, const void *data,
    size_t len);
void ngx_http_cardx_cache_begin(ngx_http_cardx_cache_t *cache,
    ngx_http_cardx_fill_t *fill, char *name, size_t len);
void ngx_http_cardx_cache_store(ngx_http_cardx_cache_t *cache,
    ngx_http_cardx_fill_t *fill, u_char *key, size_t len, time_t expires,
    ngx_str_t *parts, ngx_uint_t n);
void ngx_http_cardx_cache_forget(ngx_http_cardx_cache_t *cache,
    uint32_t object);
void ngx_http_cardx_head_begin(ngx_http_cardx_ctx_t *ctx);
void ngx_http_cardx_head_find(ngx_http_cardx_ctx_t *ctx,
    ngx_http_cardx_cache_t *cache);
void ngx_http_cardx_head_keep(ngx_http_cardx_ctx_t *ctx, redisReply *head);
char *ngx_http_cardx_cache_merge(ngx_conf_t *cf,
    ngx_http_cardx_cache_t *cache, ngx_http_cardx_redis_t *redis);

void ngx_http_cardx_caches_init(ngx_cycle_t *cycle,
    ngx_http_cardx_main_conf_t *mcf);
void ngx_http_cardx_caches_exit(ngx_http_cardx_main_conf_t *mcf);


/*
 * Listening to changes of a user, see ngx_http_cardx_listen.c.
 *
 * wake: one line of a message, with its epoch; the same serial for all
 * listeners of the user.  ask: something may have been missed; called some
 * time after listen_again(), or when the channel is heard (again), and for
 * the impatient also when it is not any more.  exit: the worker is to exit.
 * turn: after take_turn() had none left, there is one now.  Each may end the
 * request, and exit must call unlisten.
 */

typedef struct ngx_http_cardx_hub_s       ngx_http_cardx_hub_t;
typedef struct ngx_http_cardx_user_s      ngx_http_cardx_user_t;
typedef struct ngx_http_cardx_listener_s  ngx_http_cardx_listener_t;

typedef struct {
    void                           (*wake)(ngx_http_cardx_listener_t *l,
                                         const char *epoch, cx_wake_t wake,
                                         ngx_uint_t serial);
    void                           (*ask)(ngx_http_cardx_listener_t *l);
    void                           (*exit)(ngx_http_cardx_listener_t *l);
    void                           (*turn)(ngx_http_cardx_listener_t *l);
} ngx_http_cardx_listener_calls_t;


struct ngx_http_cardx_listener_s {
    ngx_queue_t                      queue;    /* of the user */
    ngx_queue_t                      again;    /* while due */
    ngx_http_cardx_hub_t            *hub;      /* NULL: not listening */
    ngx_http_cardx_user_t           *user;

    const ngx_http_cardx_listener_calls_t  *calls;

    unsigned                         due:1;
    unsigned                         waiting:1;  /* for a turn */
    unsigned                         asks:1;     /* has one */
    unsigned                         impatient:1;
};


ngx_int_t ngx_http_cardx_listen(ngx_http_cardx_redis_t *redis,
    ngx_http_cardx_listener_t *l, const char *user_id);
void ngx_http_cardx_unlisten(ngx_http_cardx_listener_t *l);
void ngx_http_cardx_listen_again(ngx_http_cardx_listener_t *l);
ngx_uint_t ngx_http_cardx_take_turn(ngx_http_cardx_listener_t *l);
void ngx_http_cardx_end_turn(ngx_http_cardx_listener_t *l);
ngx_uint_t ngx_http_cardx_is_heard(ngx_http_cardx_listener_t *l);
void ngx_http_cardx_listen_exit(ngx_http_cardx_redis_t *redis);


/* scans of codes, counted; see ngx_http_cardx_scans.c */

void ngx_http_cardx_scans_count(ngx_http_cardx_redis_t *redis, u_char *hash);
void ngx_http_cardx_scans_exit(ngx_http_cardx_redis_t *redis);
void ngx_http_cardx_scans_free(ngx_http_cardx_redis_t *redis);


/* directives */

char *ngx_http_cardx_conf_cache(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

char *ngx_http_cardx_conf_redis(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_cardx_conf_id_key(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_cardx_conf_named(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_http_cardx_conf_handler(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


/* requests and answers */

ngx_http_cardx_ctx_t *ngx_http_cardx_get_ctx(ngx_http_request_t *r);
ngx_http_cardx_ctx_t *ngx_http_cardx_create_ctx(ngx_http_request_t *r);
ngx_int_t ngx_http_cardx_begin(ngx_http_request_t *r,
    ngx_http_cardx_path_e path, ngx_http_cardx_ctx_t **ctx);
ngx_int_t ngx_http_cardx_rest(ngx_http_request_t *r, ngx_str_t *rest);
ngx_table_elt_t *ngx_http_cardx_find_header(ngx_http_request_t *r,
    ngx_str_t *name, ngx_table_elt_t *after);
cx_form_t ngx_http_cardx_form(ngx_http_request_t *r);
void ngx_http_cardx_count(ngx_http_cardx_ctx_t *ctx,
    ngx_http_cardx_status_e status);

ngx_int_t ngx_http_cardx_wait(ngx_http_cardx_ctx_t *ctx,
    ngx_http_cardx_reply_pt handler, u_char *command, size_t len);
ngx_int_t ngx_http_cardx_notice_leaving(ngx_http_request_t *r);
ngx_int_t ngx_http_cardx_suspend(ngx_http_cardx_ctx_t *ctx, ngx_int_t rc);
ngx_int_t ngx_http_cardx_get_value(ngx_http_cardx_ctx_t *ctx, char *name,
    size_t len, ngx_http_cardx_reply_pt handler);
void ngx_http_cardx_done(ngx_http_cardx_ctx_t *ctx, ngx_int_t rc);

ngx_int_t ngx_http_cardx_add_header(ngx_http_request_t *r, ngx_str_t *name,
    ngx_str_t *value);
ngx_int_t ngx_http_cardx_add_headers(ngx_http_request_t *r,
    ngx_keyval_t *headers);
ngx_int_t ngx_http_cardx_no_store(ngx_http_request_t *r);
ngx_int_t ngx_http_cardx_set_etag(ngx_http_request_t *r, ngx_str_t *etag);
ngx_int_t ngx_http_cardx_send(ngx_http_request_t *r, ngx_str_t *type,
    u_char *data, size_t len);
ngx_int_t ngx_http_cardx_send_tagged(ngx_http_request_t *r, ngx_str_t *type,
    u_char *data, size_t len);
ngx_int_t ngx_http_cardx_refuse(ngx_http_cardx_ctx_t *ctx,
    ngx_http_cardx_status_e status);
ngx_int_t ngx_http_cardx_unauthorized(ngx_http_request_t *r);
ngx_int_t ngx_http_cardx_fall_back(ngx_http_cardx_ctx_t *ctx,
    ngx_http_cardx_status_e status);
ngx_int_t ngx_http_cardx_unavailable(ngx_http_cardx_ctx_t *ctx);
ngx_int_t ngx_http_cardx_page_too_many(ngx_http_request_t *r);

size_t ngx_http_cardx_auth_command(u_char *command, cx_token_t *token,
    ngx_uint_t head);
ngx_http_cardx_auth_e ngx_http_cardx_auth_judge(redisReply *reply);


ngx_int_t ngx_http_cardx_card_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_cardx_thumbnail_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_cardx_redirect_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_cardx_auth_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_cardx_updates_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_cardx_events_handler(ngx_http_request_t *r);
void ngx_http_cardx_waiter_cleanup(ngx_http_cardx_waiter_t *w);
void ngx_http_cardx_stream_cleanup(ngx_http_cardx_stream_t *s);
uint64_t ngx_http_cardx_wake_last(cx_wake_t wake);
ngx_int_t ngx_http_cardx_metrics_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_cardx_metrics_zone(ngx_conf_t *cf,
    ngx_http_cardx_main_conf_t *cmcf);


extern ngx_str_t     ngx_http_cardx_status_names[];
extern ngx_module_t  ngx_http_cardx_module;


/* refusals per address; see ngx_http_cardx_limit.c */

char *ngx_http_cardx_conf_refusals(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
ngx_uint_t ngx_http_cardx_limited(ngx_http_cardx_ctx_t *ctx);
void ngx_http_cardx_limit_count(ngx_http_cardx_ctx_t *ctx);
size_t ngx_http_cardx_network(ngx_http_request_t *r, u_char *out);
ngx_int_t ngx_http_cardx_network_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);


/* calls that workers answer; see ngx_http_cardx_calls.c */

char *ngx_http_cardx_conf_calls(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
ngx_int_t ngx_http_cardx_calls_init(ngx_conf_t *cf,
    ngx_http_cardx_main_conf_t *mcf);
void ngx_http_cardx_call_end(ngx_http_cardx_call_t *call);


/* error_log; see ngx_http_cardx_log.c */

ngx_int_t ngx_http_cardx_log_post_read(ngx_http_request_t *r);
ngx_int_t ngx_http_cardx_log_rewrite(ngx_http_request_t *r);


#endif /* _NGX_HTTP_CARDX_H_INCLUDED_ */
