-- Verify cardx:idempotency on pg

BEGIN;

SELECT has_function_privilege('cardx_api',
    'cardx.idempotency_find(text, bytea, bytea)', 'execute');
SELECT has_function_privilege('cardx_api',
    'cardx.idempotency_keep(text, bytea, bytea, integer, bytea)', 'execute');

ROLLBACK;
