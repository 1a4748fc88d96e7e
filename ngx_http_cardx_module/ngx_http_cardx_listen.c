
/*
 * Who waits for changes of which user, in this nginx worker.
 *
 * Users hash into channels (see cx_projection.h), and a channel is subscribed
 * while somebody waits for a user of it.  A message names many users; here
 * those are found that somebody waits for.
 *
 * A listener may end its request, and with it others of the same HTTP/2
 * connection, whenever it is called.  So lists are walked by taking the first
 * away until none is left, and what a walk needs is not freed during it.
 */


#include "ngx_http_cardx.h"


/* how often those are looked after that must ask anew, and how many */
#define NGX_HTTP_CARDX_DUE_INTERVAL  20
#define NGX_HTTP_CARDX_DUE_MAX       20

/* how many listeners ask workers at a time, and of one user: after an outage
 * all of them want to, and workers are there for others, too */
#define NGX_HTTP_CARDX_TURNS         8
#define NGX_HTTP_CARDX_USER_TURNS    2

/* how soon an exiting worker lets go of its clients */
#define NGX_HTTP_CARDX_EXIT_INTERVAL  200


typedef struct {
    ngx_http_cardx_channel_t         channel;
    ngx_http_cardx_hub_t            *hub;
    ngx_queue_t                      users;
    u_char                           name[sizeof(CX_WAKE_PREFIX) + 2];
} ngx_http_cardx_wakes_t;


struct ngx_http_cardx_user_s {
    ngx_str_node_t                   node;
    ngx_queue_t                      queue;     /* of its channel */
    ngx_queue_t                      listeners;
    ngx_uint_t                       count;     /* listeners, and walks */
    ngx_queue_t                      waiting;   /* those for a turn */
    ngx_queue_t                      next;      /* while in_line */
    ngx_uint_t                       turns;     /* that are taken */
    ngx_http_cardx_wakes_t          *wakes;
    u_char                           id[CX_ID_LEN];
    unsigned                         in_line:1;
};


struct ngx_http_cardx_hub_s {
    ngx_rbtree_t                     users;
    ngx_rbtree_node_t                sentinel;
    ngx_queue_t                      due;       /* listeners */
    ngx_queue_t                      line;      /* users whose turn it is */
    ngx_uint_t                       turns;     /* that are taken */
    ngx_event_t                      tick;
    ngx_event_t                      turn;      /* one is free: posted */
    ngx_event_t                      exit;
    ngx_uint_t                       count;     /* listeners */
    ngx_http_cardx_wakes_t           wakes[CX_WAKE_CHANNELS];
};


static ngx_http_cardx_hub_t *ngx_http_cardx_hub_create(void);
static ngx_http_cardx_user_t *ngx_http_cardx_user_find(
    ngx_http_cardx_hub_t *hub, const char *user_id);
static ngx_http_cardx_user_t *ngx_http_cardx_user_create(
    ngx_http_cardx_redis_t *redis, const char *user_id);
static void ngx_http_cardx_user_line(ngx_http_cardx_hub_t *hub,
    ngx_http_cardx_user_t *user);
static void ngx_http_cardx_user_release(ngx_http_cardx_hub_t *hub,
    ngx_http_cardx_user_t *user);

static void ngx_http_cardx_wakes_message(void *data, ngx_str_t *message);
static void ngx_http_cardx_wakes_state(void *data, ngx_uint_t up);
static void ngx_http_cardx_hub_tick(ngx_event_t *ev);
static void ngx_http_cardx_hub_turn(ngx_event_t *ev);
static void ngx_http_cardx_hub_exit(ngx_event_t *ev);


ngx_int_t
ngx_http_cardx_listen(ngx_http_cardx_redis_t *redis,
    ngx_http_cardx_listener_t *l, const char *user_id)
{
    ngx_http_cardx_hub_t   *hub;
    ngx_http_cardx_user_t  *user;

    if (redis->hub == NULL) {
        redis->hub = ngx_http_cardx_hub_create();

        if (redis->hub == NULL) {
            return NGX_ERROR;
        }
    }

    hub = redis->hub;

    user = ngx_http_cardx_user_find(hub, user_id);

    if (user == NULL) {
        user = ngx_http_cardx_user_create(redis, user_id);

        if (user == NULL) {
            return NGX_ERROR;
        }
    }

    user->count++;
    ngx_queue_insert_tail(&user->listeners, &l->queue);

    l->hub = hub;
    l->user = user;
    l->due = 0;
    l->waiting = 0;
    l->asks = 0;

    if (hub->count++ == 0) {
        ngx_add_timer(&hub->exit, NGX_HTTP_CARDX_EXIT_INTERVAL);
    }

    return NGX_OK;
}


void
ngx_http_cardx_unlisten(ngx_http_cardx_listener_t *l)
{
    ngx_http_cardx_hub_t  *hub;

    hub = l->hub;

    if (hub == NULL) {
        return;
    }

    if (l->due || l->waiting) {
        ngx_queue_remove(&l->again);
    }

    ngx_http_cardx_end_turn(l);
    ngx_http_cardx_user_line(hub, l->user);

    ngx_queue_remove(&l->queue);
    l->hub = NULL;

    hub->count--;

    ngx_http_cardx_user_release(hub, l->user);
}


ngx_uint_t
ngx_http_cardx_is_heard(ngx_http_cardx_listener_t *l)
{
    return l->user->wakes->channel.up;
}


/* Has ask() called, soon, but not for all at once. */

void
ngx_http_cardx_listen_again(ngx_http_cardx_listener_t *l)
{
    if (l->due || l->waiting) {
        return;
    }

    l->due = 1;
    ngx_queue_insert_tail(&l->hub->due, &l->again);

    if (!l->hub->tick.timer_set) {
        ngx_add_timer(&l->hub->tick, NGX_HTTP_CARDX_DUE_INTERVAL);
    }
}


/*
 * 1: a worker may be asked, until end_turn(); 0: turn() will be called.  Users
 * come one after the other, however many listeners each of them has.
 */

ngx_uint_t
ngx_http_cardx_take_turn(ngx_http_cardx_listener_t *l)
{
    ngx_http_cardx_hub_t   *hub;
    ngx_http_cardx_user_t  *user;

    hub = l->hub;
    user = l->user;

    if (l->waiting) {
        return 0;
    }

    if (hub->turns < NGX_HTTP_CARDX_TURNS
        && user->turns < NGX_HTTP_CARDX_USER_TURNS)
    {
        hub->turns++;
        user->turns++;
        l->asks = 1;
        return 1;
    }

    if (l->due) {
        ngx_queue_remove(&l->again);
        l->due = 0;
    }

    l->waiting = 1;
    ngx_queue_insert_tail(&user->waiting, &l->again);
    ngx_http_cardx_user_line(hub, user);

    return 0;
}


void
ngx_http_cardx_end_turn(ngx_http_cardx_listener_t *l)
{
    if (!l->asks) {
        return;
    }

    l->asks = 0;
    l->hub->turns--;
    l->user->turns--;

    ngx_http_cardx_user_line(l->hub, l->user);

    ngx_post_event(&l->hub->turn, &ngx_posted_events);
}


void
ngx_http_cardx_listen_exit(ngx_http_cardx_redis_t *redis)
{
    ngx_http_cardx_hub_t  *hub;

    hub = redis->hub;

    if (hub == NULL) {
        return;
    }

    /* requests that are still there are not cleaned up: their users stay */

    while (hub->users.root != &hub->sentinel) {
        ngx_rbtree_node_t      *node;
        ngx_http_cardx_user_t  *user;

        node = ngx_rbtree_min(hub->users.root, &hub->sentinel);
        user = (ngx_http_cardx_user_t *) node;

        ngx_http_cardx_unsubscribe(&user->wakes->channel);
        ngx_rbtree_delete(&hub->users, node);
        ngx_free(user);
    }

    if (hub->tick.timer_set) {
        ngx_del_timer(&hub->tick);
    }

    if (hub->exit.timer_set) {
        ngx_del_timer(&hub->exit);
    }

    if (hub->turn.posted) {
        ngx_delete_posted_event(&hub->turn);
    }

    ngx_free(hub);
    redis->hub = NULL;
}


static ngx_http_cardx_hub_t *
ngx_http_cardx_hub_create(void)
{
    ngx_uint_t               i;
    ngx_http_cardx_hub_t    *hub;
    ngx_http_cardx_wakes_t  *wakes;

    hub = ngx_calloc(sizeof(ngx_http_cardx_hub_t), ngx_cycle->log);
    if (hub == NULL) {
        return NULL;
    }

    ngx_rbtree_init(&hub->users, &hub->sentinel, ngx_str_rbtree_insert_value);
    ngx_queue_init(&hub->due);
    ngx_queue_init(&hub->line);

    hub->tick.handler = ngx_http_cardx_hub_tick;
    hub->tick.data = hub;
    hub->tick.log = ngx_cycle->log;
    hub->tick.cancelable = 1;

    hub->turn.handler = ngx_http_cardx_hub_turn;
    hub->turn.data = hub;
    hub->turn.log = ngx_cycle->log;

    hub->exit.handler = ngx_http_cardx_hub_exit;
    hub->exit.data = hub;
    hub->exit.log = ngx_cycle->log;
    hub->exit.cancelable = 1;

    for (i = 0; i < CX_WAKE_CHANNELS; i++) {
        wakes = &hub->wakes[i];

        wakes->hub = hub;
        ngx_queue_init(&wakes->users);

        wakes->channel.name.len = cx_wake_name((char *) wakes->name,
                                               (unsigned) i);
        wakes->channel.name.data = wakes->name;
        wakes->channel.message = ngx_http_cardx_wakes_message;
        wakes->channel.state = ngx_http_cardx_wakes_state;
        wakes->channel.data = wakes;
    }

    return hub;
}


/* Ids are random where it matters: four bytes of one are a hash. */

static uint32_t
ngx_http_cardx_user_hash(const u_char *id)
{
    uint32_t  hash;

    ngx_memcpy(&hash, id + 4, sizeof(uint32_t));

    return hash;
}


static ngx_http_cardx_user_t *
ngx_http_cardx_user_find(ngx_http_cardx_hub_t *hub, const char *user_id)
{
    ngx_str_t  id;

    id.len = CX_ID_LEN;
    id.data = (u_char *) user_id;

    return (ngx_http_cardx_user_t *)
               ngx_str_rbtree_lookup(&hub->users, &id,
                                     ngx_http_cardx_user_hash(id.data));
}


static ngx_http_cardx_user_t *
ngx_http_cardx_user_create(ngx_http_cardx_redis_t *redis,
    const char *user_id)
{
    ngx_http_cardx_hub_t    *hub;
    ngx_http_cardx_user_t   *user;
    ngx_http_cardx_wakes_t  *wakes;

    hub = redis->hub;

    user = ngx_calloc(sizeof(ngx_http_cardx_user_t), ngx_cycle->log);
    if (user == NULL) {
        return NULL;
    }

    ngx_memcpy(user->id, user_id, CX_ID_LEN);

    wakes = &hub->wakes[cx_wake_channel(user_id)];

    if (ngx_queue_empty(&wakes->users)
        && ngx_http_cardx_subscribe(redis, &wakes->channel) != NGX_OK)
    {
        ngx_free(user);
        return NULL;
    }

    user->node.str.len = CX_ID_LEN;
    user->node.str.data = user->id;
    user->node.node.key = ngx_http_cardx_user_hash(user->id);

    ngx_queue_init(&user->listeners);
    ngx_queue_init(&user->waiting);

    user->wakes = wakes;

    ngx_queue_insert_tail(&wakes->users, &user->queue);
    ngx_rbtree_insert(&hub->users, &user->node.node);

    return user;
}


static void
ngx_http_cardx_user_release(ngx_http_cardx_hub_t *hub,
    ngx_http_cardx_user_t *user)
{
    if (--user->count) {
        return;
    }

    ngx_queue_remove(&user->queue);
    ngx_rbtree_delete(&hub->users, &user->node.node);

    if (ngx_queue_empty(&user->wakes->users)) {
        ngx_http_cardx_unsubscribe(&user->wakes->channel);
    }

    ngx_free(user);
}


/* A user stands in line while one of theirs waits and they may take a turn. */

static void
ngx_http_cardx_user_line(ngx_http_cardx_hub_t *hub,
    ngx_http_cardx_user_t *user)
{
    ngx_uint_t  wants;

    wants = !ngx_queue_empty(&user->waiting)
            && user->turns < NGX_HTTP_CARDX_USER_TURNS;

    if (wants && !user->in_line) {
        ngx_queue_insert_tail(&hub->line, &user->next);

    } else if (!wants && user->in_line) {
        ngx_queue_remove(&user->next);
    }

    user->in_line = wants;
}


/* Takes the first listener of a walk away from it, back to its user. */

static ngx_http_cardx_listener_t *
ngx_http_cardx_user_next(ngx_http_cardx_user_t *user, ngx_queue_t *walk)
{
    ngx_queue_t  *q;

    q = ngx_queue_head(walk);

    ngx_queue_remove(q);
    ngx_queue_insert_tail(&user->listeners, q);

    return ngx_queue_data(q, ngx_http_cardx_listener_t, queue);
}


static void
ngx_http_cardx_walk_begin(ngx_queue_t *walk, ngx_queue_t *queue)
{
    ngx_queue_init(walk);

    if (!ngx_queue_empty(queue)) {
        ngx_queue_add(walk, queue);
        ngx_queue_init(queue);
    }
}


static void
ngx_http_cardx_wakes_message(void *data, ngx_str_t *message)
{
    ngx_http_cardx_wakes_t  *wakes = data;

    cx_wake_t                   wake;
    const char                 *p, *end, *epoch;
    ngx_queue_t                 walk;
    ngx_uint_t                  serial;
    ngx_http_cardx_hub_t       *hub;
    ngx_http_cardx_user_t      *user;
    ngx_http_cardx_listener_t  *l;
    static ngx_uint_t           last;

    hub = wakes->hub;

    p = (char *) message->data;
    end = p + message->len;

    epoch = cx_wake_epoch(&p, end);

    if (epoch == NULL) {
        return;
    }

    while (cx_wake_next(&p, end, &wake)) {

        user = ngx_http_cardx_user_find(hub, wake.user_id.text);

        if (user == NULL) {
            continue;
        }

        serial = ++last;
        user->count++;

        ngx_http_cardx_walk_begin(&walk, &user->listeners);

        while (!ngx_queue_empty(&walk)) {
            l = ngx_http_cardx_user_next(user, &walk);
            l->calls->wake(l, epoch, wake, serial);
        }

        ngx_http_cardx_user_release(hub, user);
    }
}


/* What was published while nobody heard it is lost: all ask anew. */

static void
ngx_http_cardx_wakes_state(void *data, ngx_uint_t up)
{
    ngx_http_cardx_wakes_t  *wakes = data;

    ngx_queue_t                *q, *p;
    ngx_http_cardx_user_t      *user;
    ngx_http_cardx_listener_t  *l;

    for (q = ngx_queue_head(&wakes->users);
         q != ngx_queue_sentinel(&wakes->users);
         q = ngx_queue_next(q))
    {
        user = ngx_queue_data(q, ngx_http_cardx_user_t, queue);

        for (p = ngx_queue_head(&user->listeners);
             p != ngx_queue_sentinel(&user->listeners);
             p = ngx_queue_next(p))
        {
            l = ngx_queue_data(p, ngx_http_cardx_listener_t, queue);

            if (up || l->impatient) {
                ngx_http_cardx_listen_again(l);
            }
        }
    }
}


static void
ngx_http_cardx_hub_tick(ngx_event_t *ev)
{
    ngx_uint_t                  n;
    ngx_queue_t                *q;
    ngx_http_cardx_hub_t       *hub;
    ngx_http_cardx_listener_t  *l;

    hub = ev->data;

    for (n = 0; n < NGX_HTTP_CARDX_DUE_MAX; n++) {

        if (ngx_queue_empty(&hub->due)) {
            return;
        }

        q = ngx_queue_head(&hub->due);
        l = ngx_queue_data(q, ngx_http_cardx_listener_t, again);

        ngx_queue_remove(q);
        l->due = 0;

        l->calls->ask(l);
    }

    if (!ngx_queue_empty(&hub->due) && !ev->timer_set) {
        ngx_add_timer(ev, NGX_HTTP_CARDX_DUE_INTERVAL);
    }
}


static void
ngx_http_cardx_hub_turn(ngx_event_t *ev)
{
    ngx_queue_t                *q;
    ngx_http_cardx_hub_t       *hub;
    ngx_http_cardx_user_t      *user;
    ngx_http_cardx_listener_t  *l;

    hub = ev->data;

    while (hub->turns < NGX_HTTP_CARDX_TURNS
           && !ngx_queue_empty(&hub->line))
    {
        q = ngx_queue_head(&hub->line);
        user = ngx_queue_data(q, ngx_http_cardx_user_t, next);

        ngx_queue_remove(q);
        user->in_line = 0;

        q = ngx_queue_head(&user->waiting);
        l = ngx_queue_data(q, ngx_http_cardx_listener_t, again);

        ngx_queue_remove(q);
        l->waiting = 0;

        /* it may be the user's last, and end in here */

        user->count++;

        l->calls->turn(l);

        ngx_http_cardx_user_line(hub, user);
        ngx_http_cardx_user_release(hub, user);
    }
}


/* A worker that is to exit keeps nobody, and its clients come back to the
 * next one. */

static void
ngx_http_cardx_hub_exit(ngx_event_t *ev)
{
    ngx_uint_t                  i;
    ngx_queue_t                *q;
    ngx_http_cardx_hub_t       *hub;
    ngx_http_cardx_user_t      *user;
    ngx_http_cardx_listener_t  *l;

    hub = ev->data;

    if (hub->count == 0) {
        return;
    }

    if (!ngx_exiting) {
        ngx_add_timer(ev, NGX_HTTP_CARDX_EXIT_INTERVAL);
        return;
    }

    for (i = 0; i < CX_WAKE_CHANNELS; i++) {

        while (!ngx_queue_empty(&hub->wakes[i].users)) {

            q = ngx_queue_head(&hub->wakes[i].users);
            user = ngx_queue_data(q, ngx_http_cardx_user_t, queue);

            q = ngx_queue_head(&user->listeners);
            l = ngx_queue_data(q, ngx_http_cardx_listener_t, queue);

            /* which ends its listening */

            l->calls->exit(l);
        }
    }
}
