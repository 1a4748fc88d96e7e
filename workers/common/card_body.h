/*
 * What a holder gets of a card: the properties that the view shows, and
 * media that cardx keeps as `media` entries (RFC 9553, 2.6.4).
 */

#ifndef CX_CARD_BODY_H
#define CX_CARD_BODY_H

#include "cx_jscontact.h"
#include "settings.h"

/* The media that a card may have. */
#define CX_MEDIA_KINDS 4
extern const char *const cx_media_kinds[CX_MEDIA_KINDS];

/* `media` is a JSON object {kind: {media_id, type, bytes}} of what is kept
 * for the card.  The result belongs to ctx: the Card as `fields` (NULL: all)
 * let it show, with an entry "cardx-<kind>" in its `media` for each medium
 * that shows, whose uri is <public_url>/c/<card_id>/<kind>, without key. */
cx_json_t *cx_card_body(TALLOC_CTX *ctx, const cx_settings_t *settings,
                        const char *card_id, const cx_json_t *card,
                        const cx_json_t *media, char *const *fields);

/* The ETag of a representation, with its quotes: "<revision>-<view><suffix>";
 * suffix: j JSON, 3 and 4 vCard, h<language> page.  Owned by ctx. */
char *cx_card_etag(TALLOC_CTX *ctx, const char *revision, const char *view,
                   const char *suffix);

#endif
