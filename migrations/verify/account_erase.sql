-- Verify cardx:account_erase on pg

BEGIN;

SELECT erased_at FROM cardx.users WHERE false;
SELECT 1 / has_function_privilege('cardx_api',
    'cardx.account_erase_begin(text)', 'execute')::integer;
SELECT 1 / has_function_privilege('cardx_api',
    'cardx.account_erase_end()', 'execute')::integer;
SELECT 1 / has_function_privilege('cardx_fanout',
    'cardx.sweep_erased(integer)', 'execute')::integer;

ROLLBACK;
