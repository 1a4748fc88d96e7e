-- Revert cardx:changes from pg

BEGIN;

-- what only this change knew has nobody to handle it any more
DELETE FROM cardx.outbox
WHERE effect NOT IN ('card', 'terminal', 'thumbnail', 'sms');

DROP TRIGGER log_drop ON cardx.users;
DROP TRIGGER log_update ON cardx.approvals;
DROP TRIGGER log_insert ON cardx.approvals;
DROP TRIGGER log_update ON cardx.users;
DROP TRIGGER log_insert ON cardx.users;
DROP TRIGGER log_update ON cardx.terminals;
DROP TRIGGER log_insert ON cardx.terminals;
DROP TRIGGER log_update ON cardx.cards;
DROP TRIGGER log_insert ON cardx.cards;
DROP FUNCTION cardx.log_drop(), cardx.log_account(), cardx.log_terminal(),
    cardx.log_card(), cardx.log_add(text, text, text, text),
    cardx.log_add_all(text[], text, text[], text), cardx.log_epoch();
DROP TABLE cardx.log_state, cardx.user_log;

COMMIT;
