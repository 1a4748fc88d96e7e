-- Verify cardx:match_changes on pg

BEGIN;

SELECT 1 / (count(*) = 2)::integer
FROM pg_trigger t
WHERE (t.tgrelid, t.tgname) IN (('cardx.users'::regclass, 'match_user'),
                                ('cardx.blocks'::regclass, 'match_unblocked'))
    AND t.tgenabled = 'O';

-- each has the definer's rights, and is no worker's to call
SELECT 1 / (count(*) = 4)::integer
FROM pg_proc p
WHERE p.pronamespace = 'cardx'::regnamespace AND p.prosecdef
    AND p.proowner = 'cardx_definer'::regrole
    AND p.proname IN ('match_narrow', 'match_user', 'match_again',
        'match_unblocked')
    AND NOT has_function_privilege('cardx_api', p.oid, 'EXECUTE')
    AND NOT has_function_privilege('cardx_fanout', p.oid, 'EXECUTE');

ROLLBACK;
