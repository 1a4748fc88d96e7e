
/*
 * Counting scans: first in this process, and ten times a second in Redis.
 *
 * Keys whose hashes begin with the same digit are counted in one hash there,
 * and what was counted meanwhile goes there in one command, a batch.  A batch
 * whose answer is lost is said again, word by word, until there is one: it
 * carries a number, and Redis remembers this process's last for each digit.
 * So what Redis has is right, whatever happens to the link; what is not there
 * yet is lost with this process, if that is killed.
 *
 * A quitting worker waits for the last answers.
 */


#include "ngx_http_cardx.h"

#include <openssl/rand.h>


#define NGX_HTTP_CARDX_SCAN_DIGITS  16
#define NGX_HTTP_CARDX_SCAN_HASH    (CX_HASH_NAME / 2)

/* keys of one digit that are counted at a time, and slots to find them by */
#define NGX_HTTP_CARDX_SCAN_KEYS    256
#define NGX_HTTP_CARDX_SCAN_SLOTS   512

#define NGX_HTTP_CARDX_SCAN_DELAY   100

/* how long a quitting worker waits for Redis */
#define NGX_HTTP_CARDX_SCAN_PATIENCE  3000

/* a batch: the longest list of counts, and all the rest of the command */
#define NGX_HTTP_CARDX_SCAN_TEXT                                              \
    (NGX_HTTP_CARDX_SCAN_KEYS * (CX_HASH_NAME + NGX_INT_T_LEN + 2))
#define NGX_HTTP_CARDX_SCAN_HEAD    1024


typedef struct {
    u_char                           hash[NGX_HTTP_CARDX_SCAN_HASH];
    ngx_uint_t                       n;
} ngx_http_cardx_scan_t;


typedef struct {
    ngx_http_cardx_scan_t            keys[NGX_HTTP_CARDX_SCAN_KEYS];
    uint16_t                         slots[NGX_HTTP_CARDX_SCAN_SLOTS];
                                               /* place in keys, from 1 */
    ngx_uint_t                       n;

    u_char                          *batch;    /* NULL: none, on the heap */
    size_t                           len;
    ngx_uint_t                       serial;   /* of the last batch */
    unsigned                         sent:1;   /* and not answered */
} ngx_http_cardx_scan_digit_t;


struct ngx_http_cardx_scans_s {
    ngx_http_cardx_redis_t          *redis;
    ngx_event_t                      flush;
    ngx_msec_t                       quit;     /* when that was noticed */
    u_char                           id[CX_NONCE_LEN];

    u_char                           text[NGX_HTTP_CARDX_SCAN_TEXT];
                                               /* while a batch is made */
    ngx_http_cardx_scan_digit_t      digits[NGX_HTTP_CARDX_SCAN_DIGITS];
};


/* That this process was here is forgotten an hour later: a link that is lost
 * for so long may have a batch counted twice. */

static const char  ngx_http_cardx_scans_script[] =
    "if redis.call('GET', KEYS[2]) == ARGV[1] then return 0 end\n"
    "for k, n in string.gmatch(ARGV[2], '(%x+) (%d+)') do\n"
    "    redis.call('HINCRBY', KEYS[1], k, n)\n"
    "end\n"
    "redis.call('SET', KEYS[2], ARGV[1], 'EX', 3600)\n"
    "return 1\n";


static ngx_http_cardx_scans_t *ngx_http_cardx_scans_create(
    ngx_http_cardx_redis_t *redis);
static ngx_http_cardx_scan_t *ngx_http_cardx_scans_find(
    ngx_http_cardx_scan_digit_t *digit, u_char *hash);
static void ngx_http_cardx_scans_flush_handler(ngx_event_t *ev);
static ngx_uint_t ngx_http_cardx_scans_flush(ngx_http_cardx_scans_t *scans);
static ngx_int_t ngx_http_cardx_scans_batch(ngx_http_cardx_scans_t *scans,
    ngx_http_cardx_scan_digit_t *digit);
static void ngx_http_cardx_scans_told(void *data, redisReply *reply);


/* One scan of the key that has this hash. */

void
ngx_http_cardx_scans_count(ngx_http_cardx_redis_t *redis, u_char *hash)
{
    ngx_http_cardx_scan_t        *key;
    ngx_http_cardx_scans_t       *scans;
    ngx_http_cardx_scan_digit_t  *digit;

    if (redis->scans == NULL) {
        redis->scans = ngx_http_cardx_scans_create(redis);
    }

    scans = redis->scans;
    key = NULL;

    if (scans) {
        digit = &scans->digits[hash[0] >> 4];

        key = ngx_http_cardx_scans_find(digit, hash);

        if (key == NULL && digit->batch == NULL) {

            /* it is full before its time */

            (void) ngx_http_cardx_scans_flush(scans);

            key = ngx_http_cardx_scans_find(digit, hash);
        }
    }

    if (key == NULL) {
        (void) ngx_atomic_fetch_add(&redis->main->counters->lost_scans, 1);
        return;
    }

    key->n++;

    if (!scans->flush.timer_set) {
        ngx_add_timer(&scans->flush, NGX_HTTP_CARDX_SCAN_DELAY);
    }
}


static ngx_http_cardx_scans_t *
ngx_http_cardx_scans_create(ngx_http_cardx_redis_t *redis)
{
    u_char                   random[CX_NONCE_LEN / 2];
    ngx_http_cardx_scans_t  *scans;

    if (RAND_bytes(random, sizeof(random)) != 1) {
        return NULL;
    }

    scans = ngx_calloc(sizeof(ngx_http_cardx_scans_t), ngx_cycle->log);
    if (scans == NULL) {
        return NULL;
    }

    /*
     * set by ngx_calloc():
     *
     *     scans->quit = 0;
     *     digit->n, digit->serial = 0;
     *     digit->batch = NULL;
     */

    scans->redis = redis;

    (void) ngx_hex_dump(scans->id, random, sizeof(random));

    /* not cancelable: a worker does not exit while it is set */

    scans->flush.handler = ngx_http_cardx_scans_flush_handler;
    scans->flush.data = scans;
    scans->flush.log = ngx_cycle->log;

    return scans;
}


/* The place of a key, a new one if need be; NULL: there is none left. */

static ngx_http_cardx_scan_t *
ngx_http_cardx_scans_find(ngx_http_cardx_scan_digit_t *digit, u_char *hash)
{
    ngx_uint_t              slot;
    ngx_http_cardx_scan_t  *key;

    slot = (hash[1] << 8 | hash[2]) % NGX_HTTP_CARDX_SCAN_SLOTS;

    while (digit->slots[slot]) {
        key = &digit->keys[digit->slots[slot] - 1];

        if (ngx_memcmp(key->hash, hash, NGX_HTTP_CARDX_SCAN_HASH) == 0) {
            return key;
        }

        slot = (slot + 1) % NGX_HTTP_CARDX_SCAN_SLOTS;
    }

    if (digit->n == NGX_HTTP_CARDX_SCAN_KEYS) {
        return NULL;
    }

    key = &digit->keys[digit->n++];

    ngx_memcpy(key->hash, hash, NGX_HTTP_CARDX_SCAN_HASH);
    key->n = 0;

    digit->slots[slot] = (uint16_t) digit->n;

    return key;
}


static void
ngx_http_cardx_scans_flush_handler(ngx_event_t *ev)
{
    ngx_http_cardx_scans_t  *scans;

    scans = ev->data;

    if (ngx_http_cardx_scans_flush(scans) == 0) {
        return;
    }

    if (ngx_exiting) {

        if (scans->quit == 0) {
            scans->quit = ngx_current_msec;

        } else if (ngx_current_msec - scans->quit
                   > NGX_HTTP_CARDX_SCAN_PATIENCE)
        {
            ev->cancelable = 1;
        }
    }

    ngx_add_timer(ev, NGX_HTTP_CARDX_SCAN_DELAY);
}


/* How many digits have counts of which Redis has not said that they arrived. */

static ngx_uint_t
ngx_http_cardx_scans_flush(ngx_http_cardx_scans_t *scans)
{
    ngx_uint_t                    i, left;
    ngx_http_cardx_scan_digit_t  *digit;

    left = 0;

    for (i = 0; i < NGX_HTTP_CARDX_SCAN_DIGITS; i++) {
        digit = &scans->digits[i];

        if (digit->n == 0 && digit->batch == NULL) {
            continue;
        }

        left++;

        if (digit->batch == NULL
            && ngx_http_cardx_scans_batch(scans, digit) != NGX_OK)
        {
            continue;
        }

        if (!digit->sent
            && ngx_http_cardx_redis_say(scans->redis, digit->batch,
                                        digit->len, ngx_http_cardx_scans_told,
                                        digit)
               == NGX_OK)
        {
            digit->sent = 1;
        }
    }

    return left;
}


/* Makes a command of what was counted. */

static ngx_int_t
ngx_http_cardx_scans_batch(ngx_http_cardx_scans_t *scans,
    ngx_http_cardx_scan_digit_t *digit)
{
    char                    name[CX_NAME_MAX], first;
    size_t                  len;
    u_char                 *p, *last, serial[NGX_INT_T_LEN];
    ngx_uint_t              i;
    ngx_http_cardx_scan_t  *key;

    last = scans->text;

    for (i = 0; i < digit->n; i++) {
        key = &digit->keys[i];

        last = ngx_hex_dump(last, key->hash, NGX_HTTP_CARDX_SCAN_HASH);
        last = ngx_sprintf(last, " %ui ", key->n);
    }

    digit->batch = ngx_alloc(NGX_HTTP_CARDX_SCAN_HEAD + (last - scans->text),
                             ngx_cycle->log);
    if (digit->batch == NULL) {
        return NGX_ERROR;
    }

    first = (char) scans->text[0];

    p = ngx_http_cardx_command(digit->batch, 7);
    p = ngx_http_cardx_literal(p, "EVAL");
    p = ngx_http_cardx_argument(p, ngx_http_cardx_scans_script,
                                sizeof(ngx_http_cardx_scans_script) - 1);
    p = ngx_http_cardx_literal(p, "2");

    len = cx_scans_name(name, first);
    p = ngx_http_cardx_argument(p, name, len);

    len = cx_scans_last_name(name, first, (char *) scans->id);
    p = ngx_http_cardx_argument(p, name, len);

    len = ngx_sprintf(serial, "%ui", ++digit->serial) - serial;
    p = ngx_http_cardx_argument(p, serial, len);

    p = ngx_http_cardx_argument(p, scans->text, last - scans->text);

    digit->len = p - digit->batch;

    digit->n = 0;
    ngx_memzero(digit->slots, sizeof(digit->slots));

    return NGX_OK;
}


/* An answer; NULL or an error: it is said again. */

static void
ngx_http_cardx_scans_told(void *data, redisReply *reply)
{
    ngx_http_cardx_scan_digit_t  *digit = data;

    digit->sent = 0;

    if (reply && reply->type == REDIS_REPLY_INTEGER) {
        ngx_free(digit->batch);
        digit->batch = NULL;
    }
}


/* What is left is said, and not waited for. */

void
ngx_http_cardx_scans_exit(ngx_http_cardx_redis_t *redis)
{
    ngx_uint_t               i;
    ngx_http_cardx_scans_t  *scans;

    scans = redis->scans;

    if (scans == NULL) {
        return;
    }

    if (scans->flush.timer_set) {
        ngx_del_timer(&scans->flush);
    }

    if (ngx_http_cardx_scans_flush(scans) == 0) {
        return;
    }

    ngx_http_cardx_redis_flush(redis);

    for (i = 0; i < NGX_HTTP_CARDX_SCAN_DIGITS; i++) {

        if (scans->digits[i].n
            || (scans->digits[i].batch && !scans->digits[i].sent))
        {
            ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                          "cardx: the last scans are not counted: redis"
                          " \"%V\" is away", &redis->name);
            break;
        }
    }
}


/* After the links are gone: their last words are for what is freed here. */

void
ngx_http_cardx_scans_free(ngx_http_cardx_redis_t *redis)
{
    ngx_uint_t  i;

    if (redis->scans == NULL) {
        return;
    }

    for (i = 0; i < NGX_HTTP_CARDX_SCAN_DIGITS; i++) {

        if (redis->scans->digits[i].batch) {
            ngx_free(redis->scans->digits[i].batch);
        }
    }

    ngx_free(redis->scans);
    redis->scans = NULL;
}
