-- Verify cardx:fan_out on pg

BEGIN;

SELECT card_id, generation, after, until, again, written,
    told_holders, told_entries, xid
FROM cardx.fanouts WHERE false;

SELECT 1 / (count(*) = 5)::integer
FROM pg_proc p
WHERE p.pronamespace = 'cardx'::regnamespace
    AND p.proname IN ('wakes_take', 'wakes_postpone', 'fanout_take',
                      'fanout_tell', 'fanout_write')
    AND p.prosecdef
    AND pg_get_userbyid(p.proowner) = 'cardx_definer'
    AND has_function_privilege('cardx_fanout', p.oid, 'execute')
    AND NOT has_function_privilege('cardx_api', p.oid, 'execute');

ROLLBACK;
