
/*
 * The shared-memory cache: see docs/cache.md for why it is exact.
 */


#ifndef _NGX_HTTP_CARDX_CACHE_H_INCLUDED_
#define _NGX_HTTP_CARDX_CACHE_H_INCLUDED_


#include "ngx_http_cardx.h"


#define NGX_HTTP_CARDX_CACHE_WAYS         4
#define NGX_HTTP_CARDX_CACHE_GENERATIONS  32768
#define NGX_HTTP_CARDX_CACHE_HEADS        8192


typedef struct {
    uint64_t                         pos;      /* 0: empty */
    uint32_t                         hash;
    uint32_t                         unused;
} ngx_http_cardx_slot_t;


typedef struct {
    ngx_atomic_uint_t                era;
    ngx_atomic_uint_t                generation;
    time_t                           expires;
    uint32_t                         object;
    uint32_t                         key_len;
    uint32_t                         size;     /* of the value */
    uint32_t                         unused;
} ngx_http_cardx_entry_t;


/* what stands in the zone, before its slots and its ring */

typedef struct {
    u_char                           id[CX_ZONE_LEN];

    ngx_atomic_t                     era;
    ngx_atomic_t                     until;    /* end of the lease */
    ngx_atomic_t                     holder;   /* its process, or 0 */
    ngx_atomic_t                     held;     /* until when, at least */
    ngx_atomic_t                     number;   /* of the next holder */

    /* under the lock */

    ngx_atomic_t                     dirty;
    uint64_t                         head;
    size_t                           sets;
    size_t                           size;     /* of the ring */

    /* those of heads are behind the others, so that a fan-out, which may
     * count all of them up, leaves those alone */

    ngx_atomic_t                     generations
                                         [NGX_HTTP_CARDX_CACHE_GENERATIONS
                                          + NGX_HTTP_CARDX_CACHE_HEADS];
} ngx_http_cardx_zone_t;


struct ngx_http_cardx_cache_s {
    ngx_shm_zone_t                  *shm_zone;
    ngx_slab_pool_t                 *shpool;
    ngx_http_cardx_zone_t           *zone;
    ngx_http_cardx_slot_t           *slots;
    u_char                          *ring;

    ngx_http_cardx_redis_t          *redis;    /* NULL: nobody uses it */
    ngx_http_cardx_main_conf_t      *main;

    /* of this process */

    ngx_event_t                      tick;
    ngx_http_cardx_channel_t         forget;
    ngx_http_cardx_channel_t         echo;
    u_char                           echo_name[sizeof(CX_ZONE_PREFIX)
                                               + CX_ZONE_LEN];
    ngx_msec_t                       asked;    /* when a renewal was sent */
    ngx_uint_t                       serial;   /* of the renewal */
    ngx_atomic_uint_t                number;   /* of the holder */

    unsigned                         holding:1;
    unsigned                         asking:1;
};


ngx_msec_t ngx_http_cardx_clock(void);

void ngx_http_cardx_cache_flush(ngx_http_cardx_cache_t *cache);


#endif /* _NGX_HTTP_CARDX_CACHE_H_INCLUDED_ */
