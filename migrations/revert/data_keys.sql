-- Revert cardx:data_keys from pg

BEGIN;

DROP FUNCTION cardx.data_key_put(text, bytea, bytea);
DROP FUNCTION cardx.data_keys(text, integer);

COMMIT;
