/*
 * cardx-media SETTINGS: draws thumbnails before anybody asks for them (A3);
 * the drawing itself is in the picture process.
 */

#include "outbox.h"
#include "process.h"
#include "thumbnail.h"

#define RETRY_MAX 300 /* s */


static bool
handle(void *data, TALLOC_CTX *ctx, const cx_outbox_item_t *item)
{
    size_t len;
    unsigned char *webp;
    cx_projector_t *p = data;

    /* what is kept from last time may be of an epoch that has passed; this
     * costs little beside drawing */
    cx_projector_drop_epoch(p);

    return cx_thumbnail_draw(p, ctx, item->object, &webp, &len);
}


int
main(int argc, char **argv)
{
    int code;
    cx_outbox_t outbox;
    cx_projector_t projector;
    cx_settings_t *settings;

    settings = cx_process_start(argc, argv, "cardx-media");

    cx_projector_init(&projector, settings, settings->postgresql_fanout);

    outbox = (cx_outbox_t){
        .settings = settings,
        .pg = projector.pg,
        .name = "media",
        .effects = "{thumbnail}",
        .batch = 1, /* a claim lasts longer than the drawing of one */
        .retry_max = RETRY_MAX,
        .data = &projector,
        .handle = handle,
    };

    code = cx_outbox_run(&outbox);
    talloc_free(settings);

    return code;
}
