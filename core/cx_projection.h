/*
 * The projection: names and encodings of everything that cardx keeps in
 * Redis.  This is the contract between the workers, who write it, and the
 * module in nginx, which reads it; neither spells a name of its own.
 *
 * Numbers are decimal, times are unix time in seconds.  A <hash name> is
 * cx_hash_name() of a SHA-256, a <view> is empty when all fields show, else
 * cx_view_name() of the list of fields.  See docs/projection.md.
 *
 * In a cluster each node has a cardx:epoch and a cardx:ready of its own, with
 * :{<tag>} behind them, see cx_cluster.h.
 *
 * cardx:epoch                     drawn anew before each rebuild
 * cardx:ready                     run_id of the server it is complete for
 * cardx:card:{<card_id>}          hash:
 *     v                           revision, or CX_GONE when deleted
 *     d                           in doubt until this time
 *     b:<view>                    body, a JSContact Card (RFC 9553)
 *     k:<hash name>               verdict on a key, see cx_verdict_read()
 *     m:<view>:<kind>             "<media_id> <bytes> <media type>"
 * cardx:token:{<user_id>}:<hash name>        "<expires>"
 * cardx:terminal:{<user_id>}:<terminal_id>   CX_GONE signed out, CX_DOUBT
 * cardx:thumb:<thumbnail_id>      WebP, or empty: gone
 * cardx:q:<hash name>             "<expires> <card_id>", or CX_GONE
 * cardx:scans:{<digit>}           hash: <hash name> -> scans not yet counted;
 *                                 in 16 of them, by the name's first digit
 * cardx:scans:{<digit>}:last:<process>       the last batch of counts that an
 *                                 nginx worker added there, by its number
 * cardx:{zones}                   hash: caches at the edge, by their ids, and
 *                                 the end of each one's lease (ms); since: the
 *                                 run_id and from when on all are known
 * cardx:{zones}:ack:<nonce>:<id>  this cache has forgotten what was published
 *                                 with this nonce
 * cardx:head:{<user_id>}          where the user's log ends, see cx_changes.h;
 *                                 "+..." while a worker finds that out
 *
 * Channels: cardx:wake:<00 to ff>, by user; messages: see cx_changes.h.
 */

#ifndef CX_PROJECTION_H
#define CX_PROJECTION_H

#include <stddef.h>
#include <stdint.h>

#include "cx_cluster.h"
#include "cx_id.h"

#define CX_EPOCH "cardx:epoch"
#define CX_READY "cardx:ready"
#define CX_SCANS_PREFIX "cardx:scans:{"

#define CX_ZONES "cardx:{zones}"
#define CX_ACK_PREFIX "cardx:{zones}:ack:"
#define CX_FORGET_CHANNEL "cardx:forget" /* "<nonce> <object> ...", or * */
#define CX_ZONE_PREFIX "cardx:zone:"     /* a channel that a cache hears */

#define CX_CARD_PREFIX "cardx:card:{"
#define CX_TOKEN_PREFIX "cardx:token:{"
#define CX_TERMINAL_PREFIX "cardx:terminal:{"
#define CX_THUMB_PREFIX "cardx:thumb:"
#define CX_REDIRECT_PREFIX "cardx:q:"
#define CX_HEAD_PREFIX "cardx:head:{"
#define CX_WAKE_PREFIX "cardx:wake:"

#define CX_WAKE_CHANNELS 256

#define CX_FIELD_REVISION "v"
#define CX_FIELD_DOUBT "d"
#define CX_FIELD_BODY "b:"
#define CX_FIELD_KEY "k:"
#define CX_FIELD_MEDIA "m:"

#define CX_GONE "x"
#define CX_DOUBT "?"
#define CX_UNKNOWN "-"

#define CX_VIEW_LEN 16 /* characters of a view's name that is not empty */

#define CX_ZONE_LEN 32
#define CX_NONCE_LEN 16
#define CX_OBJECT_LEN 8

/* A lease in ms: as Redis notes it, and as its holder uses it, so that
 * Redis's clock may be set forward by the difference. */
#define CX_LEASE 1000
#define CX_LEASE_USED 700

/* The start of each script on CX_ZONES (KEYS[1]).  What another server noted,
 * or this one before its clock was set back, says nothing of now; and leases
 * that were given before `at` are not all known. */
#define CX_SCRIPT_LEASES                                                       \
    "local t = redis.call('TIME')\n"                                           \
    "local now = t[1] * 1000 + math.floor(t[2] / 1000)\n"                      \
    "local run = string.match(redis.call('INFO', 'server'),\n"                 \
    "    'run_id:(%w+)')\n"                                                    \
    "local since = redis.call('HGET', KEYS[1], 'since')\n"                     \
    "local at = since and tonumber(string.match(since,\n"                      \
    "    '^' .. run .. ' (%d+)$'))\n"                                          \
    "if not at or at > now then\n"                                             \
    "    redis.call('DEL', KEYS[1])\n"                                         \
    "    redis.call('HSET', KEYS[1], 'since', run .. ' ' .. now)\n"            \
    "    at = now\n"                                                           \
    "end\n"

/* Longest name above, with its NUL. */
#define CX_NAME_MAX 96

/* The one answer of the hot paths to what may not be told apart: unknown,
 * wrong, expired, revoked. */
#define CX_KEY_REFUSED_BODY                                                    \
    "{\"type\":\"about:blank\",\"title\":\"Not Found\",\"status\":404,"        \
    "\"detail\":\"There is no such card, or the key does not open it.\","      \
    "\"code\":\"key_refused\"}"

/* What the projection says of a key, a token or a redirect. */
typedef enum {
    CX_VERDICT_MISS, /* nothing, or in doubt: a worker must be asked */
    CX_VERDICT_GRANTED,
    CX_VERDICT_REFUSED /* gone, expired, or known to be unknown */
} cx_verdict_t;

/* Reads the verdict on a key: "<expires> <view>", CX_GONE (with the time until
 * which it is kept behind it), CX_DOUBT "<until>" or CX_UNKNOWN "<until>".
 * `view` points into `value`.  `value` may be NULL (nothing known).  What
 * can't be read is a miss. */
cx_verdict_t cx_verdict_read(const char *value, size_t len, int64_t now,
                             const char **view, size_t *view_len);

/* The same for "<expires>" of a token with its terminal's mark beside it
 * (NULL: none). */
cx_verdict_t cx_token_verdict_read(const char *value, size_t len,
                                   const char *mark, size_t mark_len,
                                   int64_t now);

/* The same for a redirect: "<expires> <card_id>" or CX_GONE.  `card_id`
 * points into `value`, CX_ID_LEN characters. */
cx_verdict_t cx_redirect_read(const char *value, size_t len, int64_t now,
                              const char **card_id);

/* "<media_id> <bytes> <type>"; all point into `value`.  -1: malformed. */
int cx_media_read(const char *value, size_t len, const char **media_id,
                  uint64_t *bytes, const char **type, size_t *type_len);

/* Names.  Each writes a NUL-terminated name of at most CX_NAME_MAX bytes and
 * returns its length; ids are CX_ID_LEN characters, need no NUL. */
size_t cx_card_name(char *out, const char *card_id);
size_t cx_token_name(char *out, const cx_token_t *token);
size_t cx_terminal_name(char *out, const cx_token_t *token);
size_t cx_thumb_name(char *out, const char *thumbnail_id);
size_t cx_redirect_name(char *out, const unsigned char *key_hash);
size_t cx_head_name(char *out, const char *user_id);
size_t cx_wake_name(char *out, unsigned channel);

/* The channel on which a user is woken. */
unsigned cx_wake_channel(const char *user_id);

size_t cx_key_field(char *out, const unsigned char *key_hash);
size_t cx_scans_name(char *out, char digit);
size_t cx_scans_last_name(char *out, char digit, const char *process);

/* CX_EPOCH or CX_READY of the node with that mark; CX_SLOTS: of the one server
 * that there is. */
size_t cx_own_name(char *out, const char *name, unsigned mark);

/* What caches know a name in Redis by.  Different names may have the same:
 * then both are forgotten.  Heads are set apart, since one fan-out may forget
 * them all. */
#define CX_OBJECT_HEAD 0x80000000U

uint32_t cx_object(const char *name, size_t len);

#endif
