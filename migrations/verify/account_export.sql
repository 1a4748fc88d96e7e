-- Verify cardx:account_export on pg

BEGIN;

SELECT 1 / (count(*) = 10)::integer
FROM pg_proc p
WHERE p.pronamespace = 'cardx'::regnamespace AND p.proname ~ '^export_'
    AND p.prosecdef
    AND has_function_privilege('cardx_api', p.oid, 'execute')
    AND NOT has_function_privilege('cardx_fanout', p.oid, 'execute');

ROLLBACK;
