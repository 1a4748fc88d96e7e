-- Verify cardx:changes on pg

BEGIN;

SELECT user_id, kind, object_id, op, xid, changed_at
FROM cardx.user_log WHERE false;
SELECT 'cardx.user_log_xid'::regclass;
SELECT 1 / (cardx.log_epoch() ~ '^[0-9a-f]{16}$')::integer;
SELECT 1 / has_function_privilege('cardx_api',
    'cardx.log_add(text, text, text, text)', 'execute')::integer;
SELECT 1 / (count(*) = 9)::integer
FROM pg_trigger t
WHERE t.tgname IN ('log_insert', 'log_update', 'log_drop')
    AND t.tgrelid IN ('cardx.cards'::regclass, 'cardx.terminals'::regclass,
                      'cardx.users'::regclass, 'cardx.approvals'::regclass);

ROLLBACK;
