
/*
 * The lease of a cache's zone, and how it is told to forget.
 *
 * One process of those that share the zone is its holder: it renews the lease
 * in Redis, hears what is to be forgotten, forgets it for all of them, and
 * only then acknowledges it.  A denial waits for that, or for the lease to
 * end; so until the lease ends, as the zone counts it from before it asked,
 * nothing in the zone can be what somebody was told is gone.
 *
 *     nobody ---tick---> HOLDING, not heard ---both up---> renewing
 *       ^                                                      |
 *       +----- a channel down, no echo, or another holds ------+
 *
 * A renewal is published to the zone's own channel by the script that notes
 * it, and counts when that is heard: where this arrives, what is to be
 * forgotten does.
 *
 * Two holders, one of which was stopped meanwhile, do no harm: each forgets
 * before it acknowledges, neither extends the lease by more than it was
 * given, and neither gives back the other's: each time that a process becomes
 * the holder has a number, which stands in Redis beside the lease's end.
 */


#include "ngx_http_cardx_cache.h"

#include <signal.h>


#define NGX_HTTP_CARDX_RENEW    200
#define NGX_HTTP_CARDX_HELD     1000

/* the longest script with its arguments */
#define NGX_HTTP_CARDX_SCRIPT   2048


/* KEYS: zones.  ARGV: zone, number, length of a lease, channel, message. */
static const char  ngx_http_cardx_lease_script[] =
    CX_SCRIPT_LEASES
    "redis.call('HSET', KEYS[1], ARGV[1], now + ARGV[3] .. ' ' .. ARGV[2])\n"
    "redis.call('PUBLISH', ARGV[4], ARGV[5])\n";


/* KEYS: zones.  ARGV: zone, number. */
static const char  ngx_http_cardx_lease_back_script[] =
    "local lease = redis.call('HGET', KEYS[1], ARGV[1])\n"
    "if lease and string.match(lease, ' (%d+)$') == ARGV[2] then\n"
    "    redis.call('HDEL', KEYS[1], ARGV[1])\n"
    "end\n";


static void ngx_http_cardx_lease_init(ngx_cycle_t *cycle,
    ngx_http_cardx_cache_t *cache);
static void ngx_http_cardx_lease_exit(ngx_http_cardx_cache_t *cache);
static void ngx_http_cardx_lease_tick_handler(ngx_event_t *ev);
static void ngx_http_cardx_lease_take(ngx_http_cardx_cache_t *cache);
static void ngx_http_cardx_lease_give_up(ngx_http_cardx_cache_t *cache);
static ngx_int_t ngx_http_cardx_lease_renew(ngx_http_cardx_cache_t *cache);
static u_char *ngx_http_cardx_lease_number(ngx_http_cardx_cache_t *cache,
    u_char *p);
static u_char *ngx_http_cardx_lease_echo(ngx_http_cardx_cache_t *cache,
    u_char *p);
static void ngx_http_cardx_lease_state(void *data, ngx_uint_t up);
static void ngx_http_cardx_lease_renewed(void *data, ngx_str_t *message);
static void ngx_http_cardx_lease_forget(void *data, ngx_str_t *message);
static void ngx_http_cardx_lease_acknowledge(ngx_http_cardx_cache_t *cache,
    u_char *nonce);


void
ngx_http_cardx_caches_init(ngx_cycle_t *cycle,
    ngx_http_cardx_main_conf_t *mcf)
{
    ngx_uint_t                i;
    ngx_http_cardx_cache_t  **cache;

    cache = mcf->caches.elts;

    for (i = 0; i < mcf->caches.nelts; i++) {

        if (cache[i]->redis) {
            ngx_http_cardx_lease_init(cycle, cache[i]);
        }
    }
}


void
ngx_http_cardx_caches_exit(ngx_http_cardx_main_conf_t *mcf)
{
    ngx_uint_t                i;
    ngx_http_cardx_cache_t  **cache;

    cache = mcf->caches.elts;

    for (i = 0; i < mcf->caches.nelts; i++) {
        ngx_http_cardx_lease_exit(cache[i]);
    }
}


static void
ngx_http_cardx_lease_init(ngx_cycle_t *cycle, ngx_http_cardx_cache_t *cache)
{
    u_char  *p;

    ngx_str_set(&cache->forget.name, CX_FORGET_CHANNEL);

    cache->forget.message = ngx_http_cardx_lease_forget;
    cache->forget.state = ngx_http_cardx_lease_state;
    cache->forget.data = cache;

    p = ngx_cpymem(cache->echo_name, CX_ZONE_PREFIX,
                   sizeof(CX_ZONE_PREFIX) - 1);
    p = ngx_cpymem(p, cache->zone->id, CX_ZONE_LEN);

    cache->echo.name.data = cache->echo_name;
    cache->echo.name.len = p - cache->echo_name;

    cache->echo.message = ngx_http_cardx_lease_renewed;
    cache->echo.state = ngx_http_cardx_lease_state;
    cache->echo.data = cache;

    cache->tick.handler = ngx_http_cardx_lease_tick_handler;
    cache->tick.data = cache;
    cache->tick.log = cycle->log;
    cache->tick.cancelable = 1;

    ngx_add_timer(&cache->tick, 1 + ngx_random() % 20);
}


static void
ngx_http_cardx_lease_exit(ngx_http_cardx_cache_t *cache)
{
    if (cache->tick.timer_set) {
        ngx_del_timer(&cache->tick);
    }

    if (cache->holding) {
        ngx_http_cardx_lease_give_up(cache);
        ngx_http_cardx_redis_flush(cache->redis);
    }
}


static void
ngx_http_cardx_lease_tick_handler(ngx_event_t *ev)
{
    ngx_msec_t               now;
    ngx_http_cardx_zone_t   *zone;
    ngx_http_cardx_cache_t  *cache;

    cache = ev->data;
    zone = cache->zone;

    now = ngx_http_cardx_clock();

    if (!cache->holding) {

        if (!ngx_exiting) {
            ngx_http_cardx_lease_take(cache);
        }

    } else if (ngx_exiting || zone->holder != (ngx_atomic_uint_t) ngx_pid) {

        /* the next workers hold it; or this process was stopped, or busy */

        ngx_http_cardx_lease_give_up(cache);

    } else if (cache->asking
               && (ngx_msec_int_t) (now - cache->asked) > CX_LEASE_USED)
    {
        ngx_http_cardx_lease_give_up(cache);

    } else if (cache->forget.up && cache->echo.up) {

        if (cache->asking || ngx_http_cardx_lease_renew(cache) == NGX_OK) {
            zone->held = now + NGX_HTTP_CARDX_HELD;

        } else {

            /* it is heard, and can't speak: perhaps another process can */

            ngx_http_cardx_lease_give_up(cache);
        }

    } else if ((ngx_msec_int_t) (now - zone->held) >= 0) {

        /* in vain: perhaps another process is heard */

        ngx_http_cardx_lease_give_up(cache);
    }

    ngx_add_timer(ev, NGX_HTTP_CARDX_RENEW);
}


/* Becomes the holder, if there is none, or it is gone. */

static void
ngx_http_cardx_lease_take(ngx_http_cardx_cache_t *cache)
{
    ngx_atomic_uint_t       holder;
    ngx_http_cardx_zone_t  *zone;

    zone = cache->zone;

    if (!ngx_http_cardx_redis_is_up(cache->redis, CX_ZONES)) {
        return;
    }

    holder = zone->holder;

    if (holder
        && (ngx_msec_int_t) (ngx_http_cardx_clock() - zone->held) < 0
        && (kill((ngx_pid_t) holder, 0) == 0 || ngx_errno != NGX_ESRCH))
    {
        return;
    }

    if (!ngx_atomic_cmp_set(&zone->holder, holder, ngx_pid)) {
        return;
    }

    zone->held = ngx_http_cardx_clock() + NGX_HTTP_CARDX_HELD;

    cache->number = ngx_atomic_fetch_add(&zone->number, 1);
    cache->holding = 1;
    cache->asking = 0;

    if (ngx_http_cardx_subscribe(cache->redis, &cache->forget) != NGX_OK
        || ngx_http_cardx_subscribe(cache->redis, &cache->echo) != NGX_OK)
    {
        ngx_http_cardx_lease_give_up(cache);
    }
}


/*
 * The lease is given back, so that nobody waits for a zone that does not
 * hear.  The zone stops first.
 */

static void
ngx_http_cardx_lease_give_up(ngx_http_cardx_cache_t *cache)
{
    u_char                 *p, command[NGX_HTTP_CARDX_SCRIPT];
    ngx_http_cardx_zone_t  *zone;

    zone = cache->zone;

    cache->holding = 0;
    cache->asking = 0;

    ngx_http_cardx_unsubscribe(&cache->forget);
    ngx_http_cardx_unsubscribe(&cache->echo);

    if (zone->holder != (ngx_atomic_uint_t) ngx_pid) {
        return;
    }

    zone->until = ngx_http_cardx_clock();
    ngx_memory_barrier();

    ngx_http_cardx_cache_flush(cache);

    p = ngx_http_cardx_command(command, 6);
    p = ngx_http_cardx_literal(p, "EVAL");
    p = ngx_http_cardx_argument(p, ngx_http_cardx_lease_back_script,
                                sizeof(ngx_http_cardx_lease_back_script) - 1);
    p = ngx_http_cardx_literal(p, "1");
    p = ngx_http_cardx_literal(p, CX_ZONES);
    p = ngx_http_cardx_lease_number(cache, p);

    (void) ngx_http_cardx_redis_tell(cache->redis, command, p - command);

    (void) ngx_atomic_cmp_set(&zone->holder, ngx_pid, 0);
}


static ngx_int_t
ngx_http_cardx_lease_renew(ngx_http_cardx_cache_t *cache)
{
    u_char  *p, *last, text[NGX_HTTP_CARDX_COMMAND],
             command[NGX_HTTP_CARDX_SCRIPT];

    cache->serial++;
    cache->asked = ngx_http_cardx_clock();

    p = ngx_http_cardx_command(command, 9);
    p = ngx_http_cardx_literal(p, "EVAL");
    p = ngx_http_cardx_argument(p, ngx_http_cardx_lease_script,
                                sizeof(ngx_http_cardx_lease_script) - 1);
    p = ngx_http_cardx_literal(p, "1");
    p = ngx_http_cardx_literal(p, CX_ZONES);
    p = ngx_http_cardx_lease_number(cache, p);

    last = ngx_sprintf(text, "%d", CX_LEASE);
    p = ngx_http_cardx_argument(p, text, last - text);

    p = ngx_http_cardx_argument(p, cache->echo.name.data,
                                cache->echo.name.len);

    last = ngx_http_cardx_lease_echo(cache, text);
    p = ngx_http_cardx_argument(p, text, last - text);

    if (ngx_http_cardx_redis_tell(cache->redis, command, p - command)
        != NGX_OK)
    {
        return NGX_DECLINED;
    }

    cache->asking = 1;

    return NGX_OK;
}


/* Arguments: the zone, and which of its holders this is. */

static u_char *
ngx_http_cardx_lease_number(ngx_http_cardx_cache_t *cache, u_char *p)
{
    u_char  *last, text[NGX_ATOMIC_T_LEN];

    p = ngx_http_cardx_argument(p, cache->zone->id, CX_ZONE_LEN);

    last = ngx_sprintf(text, "%uA", cache->number);

    return ngx_http_cardx_argument(p, text, last - text);
}


static u_char *
ngx_http_cardx_lease_echo(ngx_http_cardx_cache_t *cache, u_char *p)
{
    return ngx_sprintf(p, "%P %ui", ngx_pid, cache->serial);
}


static void
ngx_http_cardx_lease_state(void *data, ngx_uint_t up)
{
    ngx_http_cardx_cache_t  *cache = data;

    if (!cache->holding) {
        return;
    }

    if (!up) {
        ngx_http_cardx_lease_give_up(cache);
        return;
    }

    if (cache->forget.up && cache->echo.up) {

        /* who held it before may have missed something */

        ngx_http_cardx_cache_flush(cache);
        (void) ngx_http_cardx_lease_renew(cache);
    }
}


static void
ngx_http_cardx_lease_renewed(void *data, ngx_str_t *message)
{
    u_char                  *last, text[NGX_HTTP_CARDX_COMMAND];
    ngx_msec_t               now, until;
    ngx_http_cardx_zone_t   *zone;
    ngx_http_cardx_cache_t  *cache = data;

    last = ngx_http_cardx_lease_echo(cache, text);

    if (!cache->asking
        || message->len != (size_t) (last - text)
        || ngx_memcmp(message->data, text, message->len) != 0)
    {
        /* another holder's, or an earlier one */

        return;
    }

    cache->asking = 0;

    zone = cache->zone;

    now = ngx_http_cardx_clock();
    until = cache->asked + CX_LEASE_USED;

    if ((ngx_msec_int_t) (zone->until - now) <= 0) {

        /* it had ended: who denied something did not wait for this zone */

        ngx_http_cardx_cache_flush(cache);
    }

    ngx_memory_barrier();

    if ((ngx_msec_int_t) (until - zone->until) > 0) {
        zone->until = until;
    }
}


/* "<nonce> <object> ...", where an object is 8 hex digits, or * for all. */

static void
ngx_http_cardx_lease_forget(void *data, ngx_str_t *message)
{
    u_char                  *p, *last;
    ngx_int_t                object;
    ngx_http_cardx_cache_t  *cache = data;

    if (message->len < CX_NONCE_LEN) {
        ngx_http_cardx_cache_flush(cache);
        return;
    }

    p = message->data + CX_NONCE_LEN;
    last = message->data + message->len;

    while (last - p > CX_OBJECT_LEN && *p == ' ') {

        object = ngx_hextoi(p + 1, CX_OBJECT_LEN);

        if (object == NGX_ERROR) {
            break;
        }

        ngx_http_cardx_cache_forget(cache, (uint32_t) object);

        p += 1 + CX_OBJECT_LEN;
    }

    if (p != last) {

        /* * or what is not understood */

        ngx_http_cardx_cache_flush(cache);
    }

    ngx_http_cardx_lease_acknowledge(cache, message->data);
}


static void
ngx_http_cardx_lease_acknowledge(ngx_http_cardx_cache_t *cache, u_char *nonce)
{
    u_char  *p, *last, name[CX_NAME_MAX], command[NGX_HTTP_CARDX_COMMAND];

    last = ngx_cpymem(name, CX_ACK_PREFIX, sizeof(CX_ACK_PREFIX) - 1);
    last = ngx_cpymem(last, nonce, CX_NONCE_LEN);
    *last++ = ':';
    last = ngx_cpymem(last, cache->zone->id, CX_ZONE_LEN);

    p = ngx_http_cardx_command(command, 5);
    p = ngx_http_cardx_literal(p, "SET");
    p = ngx_http_cardx_argument(p, name, last - name);
    p = ngx_http_cardx_literal(p, "1");
    p = ngx_http_cardx_literal(p, "PX");
    p = ngx_http_cardx_literal(p, "2000");

    (void) ngx_http_cardx_redis_tell(cache->redis, command, p - command);
}
