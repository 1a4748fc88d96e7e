#include "heads.h"

#include <string.h>
#include <openssl/rand.h>

#include "cx_projection.h"

#define MARK_SECONDS "30"    /* longer than any statement may take */
#define HEAD_SECONDS "86400" /* who does not come back costs no memory */

/* KEYS: head.  ARGV: mark, head, seconds. */
static const char script_settle[] =
    "local h = redis.call('GET', KEYS[1])\n"
    "if not h then return 0 end\n"
    "if h ~= ARGV[1] and string.match(h, '^[^ ]+ ')\n"
    "    ~= string.match(ARGV[2], '^[^ ]+ ') then return 0 end\n"
    "redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])\n"
    "return 1\n";


bool
cx_head_drop(cx_projector_t *p, const char *user_id)
{
    bool ok;
    TALLOC_CTX *ctx;
    redisReply *reply;
    char name[CX_NAME_MAX];

    ctx = talloc_new(NULL);
    cx_head_name(name, user_id);
    reply = cx_redis_words(p->redis, ctx, "DEL", name, NULL);
    ok = reply != NULL && reply->type == REDIS_REPLY_INTEGER;
    talloc_free(ctx);

    return ok && cx_forget_patiently(&p->forget, p->redis, name);
}


void
cx_head_begin(cx_projector_t *p, const char *user_id, char mark[CX_HEAD_MARK])
{
    TALLOC_CTX *ctx;
    redisReply *reply;
    char name[CX_NAME_MAX];
    unsigned char random[(CX_HEAD_MARK - 2) / 2];

    if (RAND_bytes(random, sizeof(random)) != 1) {
        mark[0] = '\0';
        return;
    }

    mark[0] = '+';
    cx_hex(random, sizeof(random), mark + 1);

    ctx = talloc_new(NULL);
    cx_head_name(name, user_id);
    reply = cx_redis_words(p->redis, ctx, "SET", name, mark, "NX", "EX",
                           MARK_SECONDS, NULL);

    if (reply == NULL || reply->type != REDIS_REPLY_STATUS) {
        mark[0] = '\0';
    }

    talloc_free(ctx);
}


void
cx_head_settle(cx_projector_t *p, const char *user_id,
               const char mark[CX_HEAD_MARK], const char *head)
{
    TALLOC_CTX *ctx;
    char name[CX_NAME_MAX];
    const char *argv[] = { "1", name, mark, head, HEAD_SECONDS };

    ctx = talloc_new(NULL);
    cx_head_name(name, user_id);
    (void) cx_redis_script(p->redis, ctx, script_settle, 5, argv, NULL);
    talloc_free(ctx);
}
