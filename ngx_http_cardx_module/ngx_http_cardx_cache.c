
/*
 * The shared-memory cache: where entries stand.
 *
 * Entries are appended to a ring and found by a table of slots, four to a
 * hash.  What is oldest is overwritten; what is still asked for when half of
 * the ring is newer is appended once more.  So the zone is always full, is
 * never fragmented, keeps what is used, and a hit writes nothing.
 *
 * An entry carries the zone's era, and the generation of the object that it
 * came from, as they were before Redis was asked.  It counts while both are
 * still the same: to forget an object is to count its generation up, and
 * nothing has to be found for that.
 *
 * The lock is tried, never waited for: who holds it may have been stopped.
 * Who was killed while changing something has left the zone dirty, and the
 * next one empties it.
 */


#include "ngx_http_cardx_cache.h"

#include <openssl/rand.h>


/* tries to get a lock; it is held for a microsecond */
#define NGX_HTTP_CARDX_SPIN         2000

/* bytes of the ring for each slot */
#define NGX_HTTP_CARDX_CACHE_SHARE  512

#define ngx_http_cardx_cache_align(n)  (((n) + 15) & ~(size_t) 15)


static ngx_int_t ngx_http_cardx_cache_init_zone(ngx_shm_zone_t *shm_zone,
    void *data);
static ngx_int_t ngx_http_cardx_cache_create(ngx_http_cardx_cache_t *cache);
static void ngx_http_cardx_cache_places(ngx_http_cardx_cache_t *cache);
static uint32_t ngx_http_cardx_cache_generation(uint32_t object);
static ngx_uint_t ngx_http_cardx_cache_leased(ngx_http_cardx_cache_t *cache);
static ngx_int_t ngx_http_cardx_cache_lock(ngx_http_cardx_cache_t *cache);
static ngx_http_cardx_slot_t *ngx_http_cardx_cache_slot(
    ngx_http_cardx_cache_t *cache, u_char *key, size_t len, uint32_t hash,
    ngx_uint_t *found);
static ngx_http_cardx_entry_t *ngx_http_cardx_cache_append(
    ngx_http_cardx_cache_t *cache, size_t size, uint64_t *pos);


char *
ngx_http_cardx_conf_cache(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_cardx_loc_conf_t  *clcf = conf;

    u_char                       *p;
    ssize_t                       size;
    ngx_str_t                    *value, name, s;
    ngx_shm_zone_t               *shm_zone;
    ngx_http_cardx_cache_t       *cache, **cp;
    ngx_http_cardx_main_conf_t   *mcf;

    if (clcf->cache != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "off") == 0) {
        clcf->cache = NULL;
        return NGX_CONF_OK;
    }

    if (value[1].len < 6 || ngx_strncmp(value[1].data, "zone=", 5) != 0) {
        goto invalid;
    }

    name.data = value[1].data + 5;
    name.len = value[1].len - 5;

    size = 0;
    p = (u_char *) ngx_strlchr(name.data, name.data + name.len, ':');

    if (p) {
        s.data = p + 1;
        s.len = name.data + name.len - s.data;
        name.len = p - name.data;

        size = ngx_parse_size(&s);

        if (size == NGX_ERROR) {
            goto invalid;
        }

        if (size < 1024 * 1024) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "zone \"%V\" is too small: it takes 1m",
                               &name);
            return NGX_CONF_ERROR;
        }
    }

    if (name.len == 0) {
        goto invalid;
    }

    shm_zone = ngx_shared_memory_add(cf, &name, size, &ngx_http_cardx_module);
    if (shm_zone == NULL) {
        return NGX_CONF_ERROR;
    }

    if (shm_zone->data) {
        clcf->cache = shm_zone->data;
        return NGX_CONF_OK;
    }

    cache = ngx_pcalloc(cf->pool, sizeof(ngx_http_cardx_cache_t));
    if (cache == NULL) {
        return NGX_CONF_ERROR;
    }

    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_cardx_module);

    cp = ngx_array_push(&mcf->caches);
    if (cp == NULL) {
        return NGX_CONF_ERROR;
    }

    *cp = cache;

    cache->main = mcf;
    cache->shm_zone = shm_zone;

    shm_zone->init = ngx_http_cardx_cache_init_zone;
    shm_zone->data = cache;

    clcf->cache = cache;

    return NGX_CONF_OK;

invalid:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid parameter \"%V\"",
                       &value[1]);

    return NGX_CONF_ERROR;
}


/* A location uses the zone with a Redis: all of them with the same. */

char *
ngx_http_cardx_cache_merge(ngx_conf_t *cf, ngx_http_cardx_cache_t *cache,
    ngx_http_cardx_redis_t *redis)
{
    if (cache->redis && cache->redis != redis) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "cardx_cache zone \"%V\" is used with two"
                           " \"cardx_redis\"", &cache->shm_zone->shm.name);
        return NGX_CONF_ERROR;
    }

    cache->redis = redis;

    return NGX_CONF_OK;
}


/* Whether it is the same server: not its name, which may lead to another one
 * by now.  Of a cluster, the first node that is named. */

static ngx_uint_t
ngx_http_cardx_cache_same(ngx_http_cardx_redis_t *a, ngx_http_cardx_redis_t *b)
{
    ngx_http_cardx_address_t  *x, *y;

    x = a->addresses.elts;
    y = b->addresses.elts;

    if (a->db != b->db || a->cluster != b->cluster) {
        return 0;
    }

    if (x->path || y->path) {
        return x->path && y->path && ngx_strcmp(x->path, y->path) == 0;
    }

    return x->port == y->port && ngx_strcmp(x->host, y->host) == 0;
}


static ngx_int_t
ngx_http_cardx_cache_init_zone(ngx_shm_zone_t *shm_zone, void *data)
{
    ngx_http_cardx_cache_t  *ocache = data;

    ngx_http_cardx_cache_t  *cache;

    cache = shm_zone->data;

    cache->shpool = (ngx_slab_pool_t *) shm_zone->shm.addr;

    if (ocache) {

        /* its entries come from there */

        if (cache->redis && ocache->redis
            && !ngx_http_cardx_cache_same(cache->redis, ocache->redis))
        {
            ngx_log_error(NGX_LOG_EMERG, shm_zone->shm.log, 0,
                          "cardx_cache zone \"%V\" was used with another"
                          " \"cardx_redis\": give it a new name",
                          &shm_zone->shm.name);
            return NGX_ERROR;
        }

        cache->zone = ocache->zone;
        ngx_http_cardx_cache_places(cache);

        return NGX_OK;
    }

    if (shm_zone->shm.exists) {
        cache->zone = cache->shpool->data;
        ngx_http_cardx_cache_places(cache);

        return NGX_OK;
    }

    return ngx_http_cardx_cache_create(cache);
}


static ngx_int_t
ngx_http_cardx_cache_create(ngx_http_cardx_cache_t *cache)
{
    u_char                  random[CX_ZONE_LEN / 2];
    size_t                  size, slots;
    ngx_http_cardx_zone_t  *zone;

    /* everything there is, in one piece */

    size = cache->shpool->pfree * ngx_pagesize;

    zone = ngx_slab_alloc(cache->shpool, size);
    if (zone == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(zone, sizeof(ngx_http_cardx_zone_t));

    if (RAND_bytes(random, sizeof(random)) != 1) {
        ngx_log_error(NGX_LOG_EMERG, ngx_cycle->log, 0,
                      "RAND_bytes() failed");
        return NGX_ERROR;
    }

    (void) ngx_hex_dump(zone->id, random, sizeof(random));

    size -= ngx_http_cardx_cache_align(sizeof(ngx_http_cardx_zone_t));

    zone->sets = size / (NGX_HTTP_CARDX_CACHE_SHARE
                         * NGX_HTTP_CARDX_CACHE_WAYS);

    slots = zone->sets * NGX_HTTP_CARDX_CACHE_WAYS
            * sizeof(ngx_http_cardx_slot_t);

    zone->size = (size - slots) & ~(size_t) 15;

    /* whoever comes first empties it */

    zone->dirty = 1;

    cache->zone = zone;
    cache->shpool->data = zone;

    ngx_http_cardx_cache_places(cache);

    return NGX_OK;
}


static void
ngx_http_cardx_cache_places(ngx_http_cardx_cache_t *cache)
{
    u_char                 *p;
    ngx_http_cardx_zone_t  *zone;

    zone = cache->zone;

    p = (u_char *) zone
        + ngx_http_cardx_cache_align(sizeof(ngx_http_cardx_zone_t));

    cache->slots = (ngx_http_cardx_slot_t *) p;
    cache->ring = p + zone->sets * NGX_HTTP_CARDX_CACHE_WAYS
                      * sizeof(ngx_http_cardx_slot_t);
}


/*
 * Milliseconds, the same in all processes of this machine; not nginx's own
 * time, which stands still while a process does.
 */

ngx_msec_t
ngx_http_cardx_clock(void)
{
    struct timespec  ts;

#if defined(CLOCK_BOOTTIME)

    /* goes on while the machine sleeps */

    (void) clock_gettime(CLOCK_BOOTTIME, &ts);

#else
    (void) clock_gettime(CLOCK_MONOTONIC, &ts);
#endif

    return (ngx_msec_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}


void
ngx_http_cardx_cache_flush(ngx_http_cardx_cache_t *cache)
{
    (void) ngx_atomic_fetch_add(&cache->zone->era, 1);
    (void) ngx_atomic_fetch_add(&cache->main->counters->flushes, 1);
}


/* Which generation is an object's. */

static uint32_t
ngx_http_cardx_cache_generation(uint32_t object)
{
    return (object & CX_OBJECT_HEAD)
           ? NGX_HTTP_CARDX_CACHE_GENERATIONS
             + object % NGX_HTTP_CARDX_CACHE_HEADS
           : object % NGX_HTTP_CARDX_CACHE_GENERATIONS;
}


void
ngx_http_cardx_cache_forget(ngx_http_cardx_cache_t *cache, uint32_t object)
{
    object = ngx_http_cardx_cache_generation(object);

    (void) ngx_atomic_fetch_add(&cache->zone->generations[object], 1);
    (void) ngx_atomic_fetch_add(&cache->main->counters->forgets, 1);
}


/* NGX_OK: the zone has its lease, and is locked until close() is called. */

ngx_int_t
ngx_http_cardx_cache_open(ngx_http_cardx_cache_t *cache)
{
    if (cache == NULL || !ngx_http_cardx_cache_leased(cache)) {
        return NGX_DECLINED;
    }

    return ngx_http_cardx_cache_lock(cache);
}


/* So that nothing is found as what it is not: the kind of an entry. */

size_t
ngx_http_cardx_cache_key(u_char *key, u_char kind, const void *data,
    size_t len)
{
    key[0] = kind;
    ngx_memcpy(key + 1, data, len);

    return 1 + len;
}


static ngx_uint_t
ngx_http_cardx_cache_leased(ngx_http_cardx_cache_t *cache)
{
    ngx_msec_int_t  left;

    /* read now, after the request was, and before anything in the zone is */

    left = (ngx_msec_int_t) (cache->zone->until - ngx_http_cardx_clock());

    ngx_memory_barrier();

    return left > 0;
}


/*
 * Before Redis is asked: notes what must be unchanged when something that came
 * from this object, which is the name it has in Redis, is stored.
 */

void
ngx_http_cardx_cache_begin(ngx_http_cardx_cache_t *cache,
    ngx_http_cardx_fill_t *fill, char *name, size_t len)
{
    ngx_http_cardx_zone_t  *zone;

    fill->open = 0;

    if (cache == NULL || !ngx_http_cardx_cache_leased(cache)) {
        return;
    }

    zone = cache->zone;

    fill->object = ngx_http_cardx_cache_generation(cx_object(name, len));
    fill->era = zone->era;
    fill->generation = zone->generations[fill->object];
    fill->open = 1;
}


void
ngx_http_cardx_cache_close(ngx_http_cardx_cache_t *cache)
{
    ngx_shmtx_unlock(&cache->shpool->mutex);
}


/* A zone's lock, which is not waited for: who has it may be stopped. */

ngx_int_t
ngx_http_cardx_trylock(ngx_shmtx_t *mutex)
{
    ngx_uint_t  i;

    for (i = 0; !ngx_shmtx_trylock(mutex); i++) {

        if (i == NGX_HTTP_CARDX_SPIN || ngx_ncpu == 1) {
            return NGX_BUSY;
        }

        ngx_cpu_pause();
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_cardx_cache_lock(ngx_http_cardx_cache_t *cache)
{
    ngx_http_cardx_zone_t  *zone;

    if (ngx_http_cardx_trylock(&cache->shpool->mutex) != NGX_OK) {
        (void) ngx_atomic_fetch_add(&cache->main->counters->locked, 1);
        return NGX_BUSY;
    }

    zone = cache->zone;

    if (zone->dirty) {
        ngx_memzero(cache->slots, zone->sets * NGX_HTTP_CARDX_CACHE_WAYS
                                  * sizeof(ngx_http_cardx_slot_t));

        /* so that no entry is at 0 */

        zone->head = zone->size;

        ngx_memory_barrier();

        zone->dirty = 0;
    }

    return NGX_OK;
}


/* The value stands in the zone, and may be read until close(). */

ngx_int_t
ngx_http_cardx_cache_find(ngx_http_cardx_cache_t *cache, u_char *key,
    size_t len, ngx_str_t *value, time_t *expires)
{
    size_t                   size;
    uint32_t                 hash;
    uint64_t                 pos;
    ngx_uint_t               found;
    ngx_http_cardx_slot_t   *slot;
    ngx_http_cardx_zone_t   *zone;
    ngx_http_cardx_entry_t  *entry, *copy;

    zone = cache->zone;

    hash = ngx_murmur_hash2(key, len);

    slot = ngx_http_cardx_cache_slot(cache, key, len, hash, &found);

    if (!found) {
        return NGX_DECLINED;
    }

    entry = (ngx_http_cardx_entry_t *) (cache->ring + slot->pos % zone->size);

    if (entry->era != zone->era
        || entry->generation != zone->generations[entry->object])
    {
        slot->pos = 0;
        return NGX_DECLINED;
    }

    if (zone->head - slot->pos > zone->size / 2) {

        /* used, and soon to be overwritten, perhaps by itself */

        size = sizeof(ngx_http_cardx_entry_t) + entry->key_len + entry->size;

        zone->dirty = 1;
        ngx_memory_barrier();

        copy = ngx_http_cardx_cache_append(cache, size, &pos);
        ngx_memmove(copy, entry, size);
        slot->pos = pos;
        entry = copy;

        ngx_memory_barrier();
        zone->dirty = 0;
    }

    value->len = entry->size;
    value->data = (u_char *) (entry + 1) + entry->key_len;
    *expires = entry->expires;

    return NGX_OK;
}


/* The slot of a key, or the one that may be used for it. */

static ngx_http_cardx_slot_t *
ngx_http_cardx_cache_slot(ngx_http_cardx_cache_t *cache, u_char *key,
    size_t len, uint32_t hash, ngx_uint_t *found)
{
    u_char                  *stored;
    ngx_uint_t               i;
    ngx_http_cardx_slot_t   *slot, *oldest;
    ngx_http_cardx_zone_t   *zone;
    ngx_http_cardx_entry_t  *entry;

    zone = cache->zone;

    slot = cache->slots + hash % zone->sets * NGX_HTTP_CARDX_CACHE_WAYS;
    oldest = slot;

    for (i = 0; i < NGX_HTTP_CARDX_CACHE_WAYS; i++, slot++) {

        if (slot->pos < oldest->pos) {
            oldest = slot;
        }

        if (slot->hash != hash
            || slot->pos == 0
            || zone->head - slot->pos > zone->size)
        {
            continue;
        }

        entry = (ngx_http_cardx_entry_t *)
                    (cache->ring + slot->pos % zone->size);

        stored = (u_char *) (entry + 1);

        if (entry->key_len == len && ngx_memcmp(stored, key, len) == 0) {
            *found = 1;
            return slot;
        }
    }

    *found = 0;

    return oldest;
}


/* Room at the head of the ring; an entry is never cut at its end. */

static ngx_http_cardx_entry_t *
ngx_http_cardx_cache_append(ngx_http_cardx_cache_t *cache, size_t size,
    uint64_t *pos)
{
    size_t                  offset;
    ngx_http_cardx_zone_t  *zone;

    zone = cache->zone;

    size = ngx_http_cardx_cache_align(size);
    offset = zone->head % zone->size;

    if (offset + size > zone->size) {
        zone->head += zone->size - offset;
        offset = 0;
    }

    *pos = zone->head;
    zone->head += size;

    return (ngx_http_cardx_entry_t *) (cache->ring + offset);
}


/* Stores the parts of a value, if nothing was forgotten since begin(). */

void
ngx_http_cardx_cache_store(ngx_http_cardx_cache_t *cache,
    ngx_http_cardx_fill_t *fill, u_char *key, size_t len, time_t expires,
    ngx_str_t *parts, ngx_uint_t n)
{
    u_char                  *p;
    size_t                   size;
    uint32_t                 hash;
    uint64_t                 pos;
    ngx_uint_t               i, found;
    ngx_http_cardx_slot_t   *slot;
    ngx_http_cardx_zone_t   *zone;
    ngx_http_cardx_entry_t  *entry;

    if (cache == NULL || !fill->open) {
        return;
    }

    zone = cache->zone;

    size = 0;

    for (i = 0; i < n; i++) {
        size += parts[i].len;
    }

    if (size > zone->size / 16
        || zone->era != fill->era
        || zone->generations[fill->object] != fill->generation
        || ngx_http_cardx_cache_lock(cache) != NGX_OK)
    {
        return;
    }

    hash = ngx_murmur_hash2(key, len);

    slot = ngx_http_cardx_cache_slot(cache, key, len, hash, &found);

    zone->dirty = 1;
    ngx_memory_barrier();

    entry = ngx_http_cardx_cache_append(cache, sizeof(ngx_http_cardx_entry_t)
                                               + len + size, &pos);

    entry->era = fill->era;
    entry->generation = fill->generation;
    entry->expires = expires;
    entry->object = fill->object;
    entry->key_len = len;
    entry->size = size;

    p = ngx_cpymem(entry + 1, key, len);

    for (i = 0; i < n; i++) {
        p = ngx_cpymem(p, parts[i].data, parts[i].len);
    }

    slot->hash = hash;
    slot->pos = pos;

    ngx_memory_barrier();
    zone->dirty = 0;

    ngx_shmtx_unlock(&cache->shpool->mutex);

    (void) ngx_atomic_fetch_add(&cache->main->counters->stores, 1);
}
