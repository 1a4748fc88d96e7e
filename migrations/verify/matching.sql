-- Verify cardx:matching on pg

BEGIN;

SELECT match_on, match_fields, match_epoch, match_all
FROM cardx.users WHERE false;
SELECT user_id, contact_id, tag, number, pair, side, epoch, key_id, fresh
FROM cardx.match_entries WHERE false;
SELECT user_id, contact_id, tag, number FROM cardx.match_waiting WHERE false;
SELECT lower_id, higher_id FROM cardx.matches WHERE false;

-- each is there, for one role, with the definer's rights
SELECT 1 / (count(*) = 10)::integer
FROM pg_proc
WHERE pronamespace = 'cardx'::regnamespace AND prosecdef
    AND proowner = 'cardx_definer'::regrole
    AND ((has_function_privilege('cardx_api', oid, 'EXECUTE')
            AND proname IN ('match_me', 'match_write'))
        OR (has_function_privilege('cardx_fanout', oid, 'EXECUTE')
            AND proname IN ('match_account', 'match_stale', 'match_rehash',
                'match_look', 'match_next', 'match_more', 'match_retry',
                'match_sweep')));

ROLLBACK;
