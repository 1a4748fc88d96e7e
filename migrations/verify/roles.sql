-- Verify cardx:roles on pg

BEGIN;

SELECT 1 / count(*) FROM pg_roles WHERE rolname = 'cardx_definer';
SELECT 1 / count(*) FROM pg_roles WHERE rolname = 'cardx_api';
SELECT 1 / count(*) FROM pg_roles WHERE rolname = 'cardx_fanout';
SELECT cardx.current_user_id();
SELECT 'cardx.protect'::regproc, 'cardx.show_own'::regproc,
    'cardx.let_call'::regproc;

ROLLBACK;
