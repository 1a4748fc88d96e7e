/*
 * cardx-deliver SETTINGS N: hands over what can not be taken back (docs/
 * delivery.md).  For an SMS `sending` is committed before the gateway is
 * called, and its outcome after; what is found in `sending` is in doubt, and
 * is not sent again.
 */

#include <string.h>
#include <curl/curl.h>
#include <openssl/crypto.h>

#include "crypto.h"
#include "deliver.sql.h"
#include "gateway.h"
#include "log.h"
#include "outbox.h"
#include "process.h"

/* A code lives for minutes: it is not left waiting for long. */
#define RETRY_MAX 30

typedef struct {
    const cx_settings_t *settings;
    cx_pg_t *pg;
    cx_gateway_t gateway;
} deliver_t;


/* The outcome is worth waiting for PostgreSQL: without it a message that was
 * sent is taken for doubtful. */
static void
settle(deliver_t *d, TALLOC_CTX *ctx, const char *sms_id, const char *outcome)
{
    int ms;
    PGresult *result;

    ms = 0;

    while (cx_pg_query(d->pg, ctx, &result, &SQL_SMS_SETTLE, sms_id, outcome)
           == CX_PG_AWAY) {
        if (!cx_outbox_pause(&ms)) {
            break;
        }
    }
}


static bool
send_sms(deliver_t *d, TALLOC_CTX *ctx, const char *sms_id, PGresult *row)
{
    size_t sealed_len, len;
    const char *to;
    unsigned char *sealed, *text;
    cx_gateway_rc_t rc;
    static const char *const outcomes[] = { "sent", "failed", "queued",
                                            "doubtful" };

    to = cx_pg_text(row, 0, 1);
    sealed = cx_pg_bytes(ctx, row, 0, 2, &sealed_len);
    text = cx_master_open(ctx, d->settings, "sms", sms_id, sealed, sealed_len,
                          &len);

    if (text == NULL) {
        cx_error("sms %s: its text can't be opened: another master key?",
                 sms_id);
        settle(d, ctx, sms_id, "failed");
        return true;
    }

    rc = d->gateway(d->settings, ctx, sms_id, to, (const char *) text);
    OPENSSL_cleanse(text, len);

    cx_info("sms %s: %s", sms_id, outcomes[rc]);
    settle(d, ctx, sms_id, outcomes[rc]);

    return rc != CX_GATEWAY_NOT_CALLED;
}


static bool
handle(void *data, TALLOC_CTX *ctx, const cx_outbox_item_t *item)
{
    deliver_t *d = data;
    PGresult *row;
    const char *verdict;

    /* committed when this returns: no transaction is open */
    if (cx_pg_query(d->pg, ctx, &row, &SQL_SMS_TAKE, item->object)
        != CX_PG_OK) {
        return false;
    }

    if (PQntuples(row) == 0) {
        return true;
    }

    verdict = cx_pg_text(row, 0, 0);

    if (strcmp(verdict, "send") == 0) {
        return send_sms(d, ctx, item->object, row);
    }

    cx_warn("sms %s: %s", item->object, verdict);

    return true;
}


int
main(int argc, char **argv)
{
    int code;
    deliver_t d;
    char name[32];
    cx_outbox_t outbox;
    cx_settings_t *settings;

    settings = cx_process_start(argc, argv, "cardx-deliver");
    snprintf(name, sizeof(name), "deliver-%.8s", argc > 2 ? argv[2] : "0");

    d.settings = settings;
    d.pg = cx_pg_open(settings, settings->postgresql_fanout);
    d.gateway = strcmp(settings->sms_gateway, "kannel") == 0 ? cx_gateway_kannel
                                                             : cx_gateway_log;

    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        cx_error("libcurl can't be used");
        return 1;
    }

    outbox = (cx_outbox_t){
        .settings = settings,
        .pg = d.pg,
        .name = name,
        .effects = "{sms}",
        .batch = 1, /* its call may take as long as a claim lasts */
        .retry_max = RETRY_MAX,
        .data = &d,
        .handle = handle,
    };

    code = cx_outbox_run(&outbox);

    curl_global_cleanup();
    talloc_free(settings);

    return code;
}
