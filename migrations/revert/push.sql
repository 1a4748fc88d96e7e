-- Revert cardx:push from pg

BEGIN;

DROP FUNCTION cardx.push_end(text);
DROP FUNCTION cardx.push_settle(text, text);
DROP FUNCTION cardx.push_take(text);
DROP FUNCTION cardx.push_ask(text[]);
DROP FUNCTION cardx.push_subscribe(text, integer, text, bytea, bytea,
                                   timestamptz);
DROP TABLE cardx.push_subscriptions;

COMMIT;
