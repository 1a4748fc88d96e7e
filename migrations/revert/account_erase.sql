-- Revert cardx:account_erase from pg

BEGIN;

DROP FUNCTION cardx.sweep_erased(integer);
DROP FUNCTION cardx.account_erase_end();
DROP FUNCTION cardx.account_erase_begin(text);
DROP INDEX cardx.sms_recipient;
ALTER TABLE cardx.users DROP COLUMN erased_at;

COMMIT;
