#include "bulk.h"

#include <string.h>

#include "cx_buf.h"
#include "log.h"

struct cx_bulk_s {
    redisContext *link;
    int pending; /* answers to come */
    int n;       /* words of the next command */
    int room;
    const char **words;
    size_t *lengths;
};

static int
bulk_free(cx_bulk_t *bulk)
{
    if (bulk->link != NULL) {
        redisFree(bulk->link);
    }

    return 0;
}


cx_bulk_t *
cx_bulk_open(TALLOC_CTX *ctx, const cx_settings_t *settings,
             const char *address, int ms)
{
    char why[128];
    cx_bulk_t *bulk;

    bulk = cx_must(talloc_zero(ctx, cx_bulk_t));
    talloc_set_destructor(bulk, bulk_free);

    bulk->link = cx_redis_dial(settings, address, ms, why, sizeof(why));

    if (bulk->link == NULL) {
        cx_warn("Redis: %s", why);
        talloc_free(bulk);
        return NULL;
    }

    return bulk;
}


void
cx_bulk_bytes(cx_bulk_t *bulk, const void *bytes, size_t len)
{
    if (bulk->n == bulk->room) {
        bulk->room = bulk->room == 0 ? 64 : 2 * bulk->room;
        bulk->words = cx_must(
            talloc_realloc(bulk, bulk->words, const char *, bulk->room));
        bulk->lengths =
            cx_must(talloc_realloc(bulk, bulk->lengths, size_t, bulk->room));
    }

    bulk->words[bulk->n] = bytes;
    bulk->lengths[bulk->n++] = len;
}


void
cx_bulk_word(cx_bulk_t *bulk, const char *word)
{
    cx_bulk_bytes(bulk, word, strlen(word));
}


void
cx_bulk_send(cx_bulk_t *bulk)
{
    if (redisAppendCommandArgv(bulk->link, bulk->n, bulk->words, bulk->lengths)
        == REDIS_OK) {
        bulk->pending++;
    }

    bulk->n = 0;
}


bool
cx_bulk_flush(cx_bulk_t *bulk)
{
    int done;

    done = 0;

    while (!done) {
        if (redisBufferWrite(bulk->link, &done) != REDIS_OK) {
            return false;
        }
    }

    return true;
}


static redisReply *
next_reply(cx_bulk_t *bulk)
{
    void *reply;

    if (redisGetReply(bulk->link, &reply) != REDIS_OK) {
        cx_warn("Redis: %s", bulk->link->errstr);
        bulk->pending = 0;
        return NULL;
    }

    bulk->pending--;

    return reply;
}


bool
cx_bulk_collect(cx_bulk_t *bulk)
{
    bool ok;
    redisReply *reply;

    /* after an error nothing that was appended counts */
    ok = bulk->link->err == 0;

    while (bulk->pending > 0) {
        reply = next_reply(bulk);
        if (reply == NULL) {
            return false;
        }

        if (reply->type == REDIS_REPLY_ERROR) {
            cx_error("Redis: %.100s", reply->str);
            ok = false;
        }

        if (reply->type == REDIS_REPLY_INTEGER && reply->integer < 0) {
            ok = false;
        }

        freeReplyObject(reply);
    }

    return ok;
}


redisReply *
cx_bulk_answer(cx_bulk_t *bulk, TALLOC_CTX *ctx)
{
    redisReply *reply;

    reply = next_reply(bulk);

    return reply != NULL ? cx_redis_keep(ctx, reply) : NULL;
}


bool
cx_bulk_script(cx_bulk_t *bulk, const char *script, char name[CX_SCRIPT_NAME])
{
    bool ok;
    TALLOC_CTX *ctx;
    redisReply *reply;

    cx_bulk_word(bulk, "SCRIPT");
    cx_bulk_word(bulk, "LOAD");
    cx_bulk_word(bulk, script);
    cx_bulk_send(bulk);

    ctx = cx_must(talloc_new(NULL));
    reply = cx_bulk_answer(bulk, ctx);
    ok = reply != NULL && reply->type == REDIS_REPLY_STRING
         && reply->len == CX_SCRIPT_NAME - 1;

    if (ok) {
        memcpy(name, reply->str, CX_SCRIPT_NAME);
    }

    talloc_free(ctx);

    return ok;
}
