-- Verify cardx:outbox on pg

BEGIN;

SELECT effect, object, generation, attempts, due_at, created_at
FROM cardx.outbox WHERE false;
SELECT 1 / count(*) FROM cardx.fanout_state;
SELECT has_function_privilege('cardx_api', 'cardx.outbox_add(text, text)',
                              'execute');
SELECT effect, waiting, oldest FROM cardx.outbox_depth();

ROLLBACK;
