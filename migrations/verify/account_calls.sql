-- Verify cardx:account_calls on pg

BEGIN;

-- each is there, for the workers' role, with the definer's rights
SELECT 1 / (count(*) = 6)::integer
FROM pg_proc
WHERE pronamespace = 'cardx'::regnamespace AND prosecdef
    AND proconfig = ARRAY['search_path=pg_catalog, pg_temp']
    AND proowner = 'cardx_definer'::regrole
    AND has_function_privilege('cardx_api', oid, 'EXECUTE')
    AND proname IN ('password_try', 'session_open', 'password_change',
        'session_refresh', 'terminal_sign_out', 'access_token_expires');

SELECT cardx.rfc3339(now());

ROLLBACK;
