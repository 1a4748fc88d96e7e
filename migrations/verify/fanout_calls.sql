-- Verify cardx:fanout_calls on pg

BEGIN;

-- fanout may run each of them, the api worker none
SELECT 1 / (count(*) = 10)::integer
FROM pg_proc p
WHERE p.pronamespace = 'cardx'::regnamespace
    AND p.proname IN ('fanout_card', 'fanout_terminal_gone', 'fanout_scans',
                      'rebuild_cards', 'rebuild_cards_total',
                      'rebuild_tokens', 'rebuild_thumbnails', 'sms_take',
                      'sms_settle', 'sweep')
    AND p.prosecdef
    AND pg_get_userbyid(p.proowner) = 'cardx_definer'
    AND has_function_privilege('cardx_fanout', p.oid, 'execute')
    AND NOT has_function_privilege('cardx_api', p.oid, 'execute');

SELECT 'cardx.media_replaced'::regclass, 'cardx.cards_deleted'::regclass;

ROLLBACK;
