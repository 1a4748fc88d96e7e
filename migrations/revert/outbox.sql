-- Revert cardx:outbox from pg

BEGIN;

DROP TABLE cardx.fanout_state;
DROP FUNCTION cardx.outbox_depth();
DROP FUNCTION cardx.outbox_add(text, text);
DROP TABLE cardx.outbox;

COMMIT;
