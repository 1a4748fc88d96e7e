-- Verify cardx:push on pg

BEGIN;

SELECT subscription_id, user_id, terminal_id, origin, endpoint_hash, sealed,
    position, created_at, expires_at
FROM cardx.push_subscriptions WHERE false;
SELECT 1 / has_function_privilege('cardx_api', 'cardx.push_subscribe(text, '
    'integer, text, bytea, bytea, timestamptz)', 'execute')::integer;
SELECT 1 / has_function_privilege('cardx_fanout', 'cardx.push_take(text)',
                                  'execute')::integer;

ROLLBACK;
