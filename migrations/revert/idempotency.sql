-- Revert cardx:idempotency from pg

BEGIN;

DROP FUNCTION cardx.idempotency_keep(text, bytea, bytea, integer, bytea);
DROP FUNCTION cardx.idempotency_find(text, bytea, bytea);

COMMIT;
