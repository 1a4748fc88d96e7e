-- Verify cardx:accounts on pg

BEGIN;

SELECT user_id, phone, password, nickname, own_card_id, locale, data_key
FROM cardx.users WHERE false;
SELECT subject, tries, tried_at FROM cardx.password_tries WHERE false;
SELECT terminal_id, user_id, name, signed_out_at FROM cardx.terminals
WHERE false;
SELECT token_hash, user_id, terminal_id, expires_at FROM cardx.access_tokens
WHERE false;
SELECT token_hash, used_at FROM cardx.refresh_tokens WHERE false;
SELECT registration_id, phone, code_hmac, tries, user_id
FROM cardx.registrations WHERE false;
SELECT approval_id, expires_at, approved FROM cardx.approvals WHERE false;
SELECT sms_id, state FROM cardx.sms WHERE false;
SELECT scope, key_hash, sealed_answer FROM cardx.idempotency WHERE false;

-- every table with personal rows defends itself
SELECT 1 / (count(*) = 9)::integer FROM pg_class
WHERE relnamespace = 'cardx'::regnamespace AND relforcerowsecurity
    AND relname IN ('users', 'password_tries', 'terminals', 'access_tokens',
                    'refresh_tokens', 'registrations', 'approvals', 'sms',
                    'idempotency');

ROLLBACK;
