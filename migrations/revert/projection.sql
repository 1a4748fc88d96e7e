-- Revert cardx:projection from pg

BEGIN;

DROP FUNCTION cardx.card_projection(text);

COMMIT;
