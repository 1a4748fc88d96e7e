-- Revert cardx:fan_out from pg

BEGIN;

DROP FUNCTION cardx.fanout_write(text, integer),
    cardx.log_holders(text[], text[]), cardx.contacts_forget(text, text, text),
    cardx.fanout_tell(text), cardx.fanout_take(),
    cardx.wakes_postpone(text[]), cardx.wakes_take(integer, integer);
DROP TABLE cardx.fanouts;

COMMIT;
