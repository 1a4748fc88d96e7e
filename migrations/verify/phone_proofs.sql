-- Verify cardx:phone_proofs on pg

BEGIN;

-- each is there, for the workers' role, with the definer's rights
SELECT 1 / (count(*) = 7)::integer
FROM pg_proc
WHERE pronamespace = 'cardx'::regnamespace AND prosecdef
    AND proconfig = ARRAY['search_path=pg_catalog, pg_temp']
    AND proowner = 'cardx_definer'::regrole
    AND has_function_privilege('cardx_api', oid, 'EXECUTE')
    AND proname IN ('proof_start', 'proof_message', 'proof_judge',
        'registration_prove', 'registration_finish', 'phone_bind',
        'sms_report');

ROLLBACK;
