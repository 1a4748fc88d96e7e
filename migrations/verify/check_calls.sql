-- Verify cardx:check_calls on pg

BEGIN;

-- fanout may run each of them, the api worker none
SELECT 1 / (count(*) = 5)::integer
FROM pg_proc p
WHERE p.pronamespace = 'cardx'::regnamespace
    AND p.proname IN ('check_cards', 'check_thumbnails', 'check_key',
                      'check_token', 'check_thumbnail')
    AND p.prosecdef
    AND pg_get_userbyid(p.proowner) = 'cardx_definer'
    AND has_function_privilege('cardx_fanout', p.oid, 'execute')
    AND NOT has_function_privilege('cardx_api', p.oid, 'execute');

ROLLBACK;
