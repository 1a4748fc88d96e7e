-- Revert cardx:fanout_calls from pg

BEGIN;

DROP FUNCTION cardx.sweep(integer), cardx.sms_settle(text, text),
    cardx.sms_take(text), cardx.rebuild_thumbnails(text, integer),
    cardx.rebuild_tokens(bytea, integer), cardx.rebuild_cards_total(),
    cardx.rebuild_cards(text, integer),
    cardx.fanout_scans(bytea[], bigint[]),
    cardx.fanout_terminal_gone(text, integer), cardx.fanout_card(text);
DROP INDEX cardx.cards_deleted, cardx.media_replaced;

COMMIT;
