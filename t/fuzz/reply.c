/*
 * Redis' replies as the module reads them: hiredis' reader with the module's
 * own reply objects, and what the hot paths make of the values.  The adapter
 * is compiled in here, with as much of nginx as its objects touch.
 *
 * The first byte of the input says who asked (a request, one that has left,
 * or the link itself) and how large the pieces are in which the rest arrives.
 */

#include "../../ngx_http_cardx_module/ngx_http_cardx_adapter.c"

#include "fuzz.h"

#define NOW 1700000000

/* nginx's, of which reading replies uses the pool alone */
volatile ngx_cycle_t *ngx_cycle;
ngx_event_actions_t ngx_event_actions;
ngx_queue_t ngx_posted_events;
ngx_atomic_t *ngx_connection_counter;
volatile ngx_msec_t ngx_current_msec;

static void *pool[256];
static size_t n_pool;


void *
ngx_pnalloc(ngx_pool_t *unused, size_t size)
{
    (void) unused;

    /* now and then there is no memory */
    if (n_pool == sizeof(pool) / sizeof(pool[0])) {
        return NULL;
    }

    pool[n_pool] = malloc(size > 0 ? size : 1);

    return pool[n_pool++];
}


static ngx_cycle_t cycle;
volatile ngx_cycle_t *ngx_cycle = &cycle;


void *
ngx_alloc(size_t size, ngx_log_t *log)
{
    (void) log;
    return malloc(size);
}


ngx_connection_t *
ngx_get_connection(ngx_socket_t fd, ngx_log_t *log)
{
    (void) fd;
    (void) log;
    return NULL;
}


void
ngx_free_connection(ngx_connection_t *c)
{
    (void) c;
}


void
ngx_http_cardx_link_down(void *data)
{
    (void) data;
}


static void
look_at(redisReply *reply, const redisReply *parent)
{
    size_t i, len;
    uint64_t bytes;
    const char *text, *type;
    cx_verdict_t verdict;

    if (reply->type == REDIS_REPLY_ARRAY) {
        HOLDS(parent == NULL);
        HOLDS(reply->elements <= NGX_HTTP_CARDX_ELEMENTS);

        for (i = 0; i < reply->elements; i++) {
            look_at(reply->element[i], reply);
        }

        return;
    }

    HOLDS(reply->str != NULL || reply->len == 0);

    verdict = cx_verdict_read(reply->str, reply->len, NOW, &text, &len);
    HOLDS(verdict != CX_VERDICT_GRANTED
          || fuzz_within(text, len, reply->str, reply->len));

    verdict = cx_redirect_read(reply->str, reply->len, NOW, &text);
    HOLDS(verdict != CX_VERDICT_GRANTED
          || fuzz_within(text, CX_ID_LEN, reply->str, reply->len));

    if (cx_media_read(reply->str, reply->len, &text, &bytes, &type, &len)
        == 0) {
        HOLDS(fuzz_within(type, len, reply->str, reply->len));
    }

    (void) cx_token_verdict_read(reply->str, reply->len, NULL, 0, NOW);
}


static void
feed(redisReader *reader, const uint8_t *data, size_t size, size_t piece)
{
    void *reply;
    size_t n;

    while (size > 0) {
        n = size < piece ? size : piece;

        if (redisReaderFeed(reader, (const char *) data, n) != REDIS_OK) {
            return;
        }

        data += n;
        size -= n;

        do {
            reply = NULL;

            if (redisReaderGetReply(reader, &reply) != REDIS_OK) {
                return;
            }

            if (reply != NULL) {
                look_at(reply, NULL);
            }

        } while (reply != NULL);
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    redisReader *reader;
    redisCallback callback;
    redisAsyncContext *ac;
    ngx_http_request_t *request;
    ngx_http_cardx_ctx_t ctx;
    ngx_http_cardx_link_t *link;
    ngx_http_cardx_ticket_t ticket;

    if (size < 1) {
        return 0;
    }

    link = calloc(1, sizeof(*link));
    request = calloc(1, sizeof(*request));
    ac = calloc(1, sizeof(*ac));
    HOLDS(link != NULL && request != NULL && ac != NULL);

    memset(&ctx, 0, sizeof(ctx));
    memset(&ticket, 0, sizeof(ticket));
    memset(&callback, 0, sizeof(callback));
    ctx.request = request;
    ticket.ctx = data[0] & 1 ? &ctx : NULL;
    callback.privdata = !(data[0] & 2) ? &ticket
                        : data[0] & 1  ? &link->map
                                       : &link->own;
    ac->replies.head = data[0] & 4 ? NULL : &callback;
    link->ac = ac;

    reader = redisReaderCreateWithFunctions(&ngx_http_cardx_reply_functions);
    HOLDS(reader != NULL);
    reader->privdata = link;

    feed(reader, data + 1, size - 1, 1 + (data[0] >> 3));
    redisReaderFree(reader);

    while (n_pool > 0) {
        free(pool[--n_pool]);
    }

    free(link->map_text);
    free(ac);
    free(request);
    free(link);

    return 0;
}
