-- Verify cardx:data_keys on pg

BEGIN;

SELECT 1 / (count(*) = 2)::integer
FROM pg_proc p
WHERE p.pronamespace = 'cardx'::regnamespace
    AND p.proname IN ('data_keys', 'data_key_put') AND p.prosecdef
    AND has_function_privilege('cardx_fanout', p.oid, 'execute')
    AND NOT has_function_privilege('cardx_api', p.oid, 'execute');

ROLLBACK;
