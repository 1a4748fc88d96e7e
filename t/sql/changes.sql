-- The log of changes, and telling of them (docs/changes.md), as the workers'
-- roles see them.

BEGIN;
\ir begin.psql

SELECT no_plan();

CREATE FUNCTION pg_temp.log(whose text) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(concat_ws(':', l.kind, l.op, l.object_id), ' '
                      ORDER BY l.kind, l.object_id)
    FROM cardx.user_log l WHERE l.user_id = whose;
$$;

-- A change as of an earlier transaction, with the row that asks to be woken.
CREATE FUNCTION pg_temp.noted(whose text, what text, number bigint)
    RETURNS void LANGUAGE sql AS $$
    INSERT INTO cardx.user_log VALUES (whose, 'news', what, 'put',
        number::text::xid8, now())
    ON CONFLICT (user_id, kind, object_id) DO UPDATE SET xid = excluded.xid;
    INSERT INTO cardx.outbox (effect, object)
    VALUES ('wake', whose || '/' || number) ON CONFLICT DO NOTHING;
$$;

CREATE FUNCTION pg_temp.nothing_is_asked() RETURNS void LANGUAGE sql AS $$
    DELETE FROM cardx.outbox;
$$;

-- --- who may do what --------------------------------------------------------

SELECT ok(relrowsecurity AND relforcerowsecurity, 'the log has its own rows')
FROM pg_class WHERE oid = 'cardx.user_log'::regclass;
SELECT table_privs_are('cardx', 'user_log', 'cardx_api', ARRAY['SELECT']);
SELECT table_privs_are('cardx', 'user_log', 'cardx_fanout', ARRAY[]::text[]);
SELECT table_privs_are('cardx', 'fanouts', 'cardx_fanout', ARRAY[]::text[]);
SELECT table_privs_are('cardx', 'log_state', 'cardx_api', ARRAY[]::text[]);
SELECT function_privs_are('cardx', f.name, f.arguments, 'cardx_api',
    CASE WHEN f.api THEN ARRAY['EXECUTE'] ELSE ARRAY[]::text[] END)
FROM (VALUES ('log_add', ARRAY['text', 'text', 'text', 'text'], true),
    ('wakes_take', ARRAY['integer', 'integer'], false),
    ('wakes_postpone', ARRAY['text[]'], false),
    ('fanout_take', ARRAY[]::text[], false),
    ('fanout_tell', ARRAY['text'], false),
    ('fanout_write', ARRAY['text', 'integer'], false))
    AS f (name, arguments, api);

-- --- what is logged ---------------------------------------------------------

INSERT INTO cardx.users (user_id, phone, password, data_key)
SELECT u, '+49' || ascii(u), 'x', 'x' FROM unnest('{a,b,c,d,e}'::text[]) u;
SELECT is(pg_temp.log('a'), 'account:put:a', 'an account');
INSERT INTO cardx.cards (card_id, user_id, card) VALUES ('k', 'a', '{}');
SELECT is(pg_temp.log('a'), 'account:put:a card:put:k', 'a card');
UPDATE cardx.user_log SET xid = '7' WHERE user_id = 'a';
UPDATE cardx.cards SET revision = revision + 1 WHERE card_id = 'k';
SELECT is((SELECT xid FROM cardx.user_log WHERE object_id = 'k'),
    pg_current_xact_id(), 'a change moves its row to its transaction');
SELECT is((SELECT xid FROM cardx.user_log WHERE object_id = 'a'), '7'::xid8,
    'and no other');
UPDATE cardx.cards SET deleted_at = now(), revision = revision + 1
WHERE card_id = 'k';
SELECT is(pg_temp.log('a'), 'account:put:a card:delete:k', 'a tombstone');
UPDATE cardx.cards SET deleted_at = NULL, revision = revision + 1
WHERE card_id = 'k';
UPDATE cardx.users SET nickname = 'A' WHERE user_id = 'a';
SELECT is((SELECT xid FROM cardx.user_log WHERE object_id = 'a'),
    pg_current_xact_id(), 'what an account shows is logged');
UPDATE cardx.user_log SET xid = '7' WHERE user_id = 'a';
UPDATE cardx.users SET password = 'y' WHERE user_id = 'a';
SELECT is((SELECT xid FROM cardx.user_log WHERE object_id = 'a'), '7'::xid8,
    'a password is not');
INSERT INTO cardx.terminals (terminal_id, user_id, name)
VALUES (100000001, 'a', 'phone');
SELECT is(pg_temp.log('a'),
    'account:put:a card:put:k terminal:put:100000001', 'a terminal');
UPDATE cardx.terminals SET signed_out_at = now();
SELECT is(pg_temp.log('a'),
    'account:put:a card:put:k terminal:delete:100000001', 'and its end');
SELECT throws_ok($$SELECT cardx.log_add('a', 'thing', 'x', 'put')$$, '23514',
    NULL, 'there are no other kinds');
SELECT throws_ok($$SELECT cardx.log_add('a', 'news', 'x', 'patch')$$, '23514',
    NULL, 'nor other ops');
SELECT is((SELECT count(*) FROM cardx.outbox WHERE effect = 'wake'
        AND object = 'a/' || pg_current_xact_id()), 1::bigint,
    'a user is woken once for a transaction');

SELECT set_config('cardx.user_id', 'a', true);
SET ROLE cardx_api;
SELECT is((SELECT count(*) FROM cardx.user_log WHERE user_id <> 'a'), 0::bigint,
    'a user reads no other log');
SELECT is((SELECT count(*) FROM cardx.user_log), 3::bigint, 'and their own');
SELECT lives_ok($$SELECT cardx.log_add('a', 'news', 'n', 'put')$$,
    'a call may log what has no row');
RESET ROLE;
DELETE FROM cardx.user_log WHERE kind = 'news';

INSERT INTO cardx.users (user_id, password, data_key) VALUES ('z', 'x', 'x');
DELETE FROM cardx.users WHERE user_id = 'z';
SELECT is(pg_temp.log('z'), NULL, 'a log goes with its user');

-- --- the epoch --------------------------------------------------------------

SELECT matches(cardx.log_epoch(), '^[0-9a-f]{16}$', 'an epoch');
CREATE TEMPORARY TABLE before AS SELECT cardx.log_epoch() AS epoch;
SELECT is(cardx.log_epoch(), epoch, 'which stays') FROM before;
UPDATE cardx.log_state SET epoch = gen_random_uuid();
SELECT isnt(cardx.log_epoch(), epoch, 'until it is drawn anew') FROM before;
SELECT throws_ok('INSERT INTO cardx.log_state DEFAULT VALUES', '23505', NULL,
    'there is one');

-- --- wakes ------------------------------------------------------------------

SELECT pg_temp.nothing_is_asked();
UPDATE cardx.user_log SET xid = '7';
SET ROLE cardx_fanout;
SELECT is_empty('SELECT * FROM cardx.wakes_take(10, 16)', 'nobody to wake');
RESET ROLE;

SELECT pg_temp.noted('a', 'n1', 20), pg_temp.noted('a', 'n2', 20),
    pg_temp.noted('a', 'n3', 30), pg_temp.noted('b', 'n1', 25);
SET ROLE cardx_fanout;
SELECT results_eq('SELECT * FROM cardx.wakes_take(10, 16) ORDER BY 1',
    $$VALUES ('a', '7 20 news put n1 20 news put n2 30 news put n3'),
        ('b', '7 25 news put n1')$$,
    'what changed, and what the change before that was');
SELECT is_empty('SELECT * FROM cardx.wakes_take(10, 16)', 'each once');
RESET ROLE;

DO $$ BEGIN PERFORM pg_temp.noted('c', 'n' || i, 40 + i)
    FROM generate_series(1, 16) i; END $$;
SELECT pg_temp.noted('d', 'n' || i, 40 + i) FROM generate_series(1, 17) i;
SET ROLE cardx_fanout;
SELECT is((SELECT array_agg(user_id || ' ' || cardinality(
        string_to_array(line, ' ')) ORDER BY user_id)
        FROM cardx.wakes_take(100, 16)), '{"c 65","d 0"}',
    'sixteen changes are told, of seventeen only that there are some');
RESET ROLE;
SELECT is((SELECT count(*) FROM cardx.outbox WHERE effect = 'wake'), 0::bigint,
    'both are done');

SELECT pg_temp.noted('a', 'm' || i, 60 + i) FROM generate_series(1, 5) i;
SET ROLE cardx_fanout;
SELECT is((SELECT count(*) FROM cardx.wakes_take(2, 16)), 1::bigint,
    'a page of rows');
RESET ROLE;
SELECT is((SELECT count(*) FROM cardx.outbox WHERE effect = 'wake'), 3::bigint,
    'leaves the rest');
SELECT pg_temp.nothing_is_asked();

SET ROLE cardx_fanout;
SELECT lives_ok($$SELECT cardx.wakes_postpone('{a,b,a}')$$, 'later');
SELECT is_empty('SELECT * FROM cardx.wakes_take(10, 16)', 'is not now');
RESET ROLE;
SELECT is((SELECT count(*) FROM cardx.outbox WHERE effect = 'wake'
        AND due_at > now()), 2::bigint, 'but in a moment, for each');
SELECT pg_temp.nothing_is_asked();

-- This transaction is decided for nobody; what was rolled back behind it makes
-- it one that others see running.
SELECT cardx.log_add('e', 'news', 'now', 'put');
SELECT throws_ok($$INSERT INTO cardx.log_state DEFAULT VALUES$$, '23505');
SET ROLE cardx_fanout;
SELECT results_eq('SELECT * FROM cardx.wakes_take(10, 16)',
    'SELECT NULL::text, NULL::text', 'what is not decided waits');
RESET ROLE;
SELECT is((SELECT count(*) FROM cardx.outbox WHERE effect = 'wake'), 1::bigint,
    'and stays asked for');
SELECT pg_temp.nothing_is_asked();

-- A dump of a server that had come further.
SELECT pg_temp.noted('b', 'restored', 9000000000000);
SET ROLE cardx_fanout;
SELECT results_eq('SELECT * FROM cardx.wakes_take(10, 16)',
    $$VALUES ('b', '')$$, 'what another server decided is told at once');
RESET ROLE;

-- --- fan-out ----------------------------------------------------------------

SELECT pg_temp.nothing_is_asked();
UPDATE cardx.cards SET revision = revision + 1 WHERE card_id = 'k';
SELECT is((SELECT count(*) FROM cardx.outbox WHERE effect = 'holders'),
    0::bigint, 'a card that nobody holds is fanned out to nobody');

-- b, c, d and e hold it; e has deleted the entry.
INSERT INTO cardx.contacts (contact_id, user_id, card_id, owner_id, layer,
                            deleted_at)
SELECT 'k-' || u, u, 'k', 'a', 'x', CASE WHEN u = 'e' THEN now() END
FROM unnest('{b,c,d,e}'::text[]) u;
INSERT INTO cardx.grants (card_id, holder_id, via, source, owner_id)
SELECT 'k', u, 'key', 'test', 'a' FROM unnest('{b,c,d}'::text[]) u;
INSERT INTO cardx.cards (card_id, user_id, card) VALUES ('k2', 'a', '{}');
INSERT INTO cardx.grants (card_id, holder_id, via, source, owner_id)
VALUES ('k2', 'b', 'key', 'test', 'a');
SELECT pg_temp.nothing_is_asked();
DELETE FROM cardx.user_log WHERE kind = 'contact';
SELECT cardx.log_add('e', 'contact', 'k-e', 'delete');
UPDATE cardx.user_log SET xid = '7';

UPDATE cardx.cards SET revision = revision + 1 WHERE card_id = 'k';
SELECT is((SELECT object FROM cardx.outbox WHERE effect = 'holders'), 'k',
    'one that is held asks for it');

SET ROLE cardx_fanout;
SELECT results_eq('SELECT * FROM cardx.fanout_take()',
    $$VALUES ('k', 'write')$$, 'taken');
SELECT results_eq($$SELECT unnest(cardx.fanout_write('k', 2))$$,
    $$VALUES ('b'), ('c')$$, 'the first holders, in order');
RESET ROLE;
SELECT is(pg_temp.log('b') || ' ' || coalesce(pg_temp.log('d'), ''),
    'account:put:b contact:put:k-b news:put:n1 news:put:restored '
    || pg_temp.log('d'), 'have it in their logs');
SELECT unalike(pg_temp.log('d'), '%contact%', 'and nobody else has yet');

-- still this transaction: as of another, it is decided or not
SELECT throws_ok($$INSERT INTO cardx.log_state DEFAULT VALUES$$, '23505');
SET ROLE cardx_fanout;
SELECT results_eq('SELECT * FROM cardx.fanout_take()',
    $$VALUES ('k', 'wait')$$, 'what was written is not decided: it waits');
RESET ROLE;
UPDATE cardx.fanouts SET xid = '50';
UPDATE cardx.user_log SET xid = '50' WHERE kind = 'contact' AND op = 'put';
SET ROLE cardx_fanout;
SELECT results_eq('SELECT * FROM cardx.fanout_take()',
    $$VALUES ('k', 'tell')$$, 'then it is told');
SELECT results_eq($$SELECT * FROM cardx.fanout_tell('k') ORDER BY 1$$,
    $$VALUES ('b', '7 50 contact put k-b'), ('c', '7 50 contact put k-c')$$,
    'as a wake is');
RESET ROLE;

-- one that has not begun comes first
UPDATE cardx.cards SET revision = revision + 1 WHERE card_id = 'k2';
SET ROLE cardx_fanout;
SELECT is((SELECT card_id FROM cardx.fanout_take()), 'k2',
    'one that has not begun comes before one that has');
SELECT is_empty($$SELECT unnest(cardx.fanout_write('k2', 10))$$,
    'with a grant and no entry, nobody is told');
RESET ROLE;
SELECT is((SELECT array_agg(object) FROM cardx.outbox
        WHERE effect = 'holders'), '{k}', 'and that is all of it');

-- so does one that has only to tell, when it can be told
INSERT INTO cardx.outbox (effect, object, generation, attempts, due_at)
VALUES ('holders', 'k2', 1, 1, clock_timestamp());
INSERT INTO cardx.fanouts (card_id, generation, written, told_holders,
                           told_entries, xid)
VALUES ('k2', 1, true, '{b}', '{k2-b}', pg_current_xact_id());
SET ROLE cardx_fanout;
SELECT is((SELECT card_id FROM cardx.fanout_take()), 'k',
    'one that is not decided has its turn, and no more');
RESET ROLE;
UPDATE cardx.outbox SET due_at = clock_timestamp() WHERE object = 'k2';
UPDATE cardx.fanouts SET xid = '50' WHERE card_id = 'k2';
SET ROLE cardx_fanout;
SELECT results_eq('SELECT * FROM cardx.fanout_take()',
    $$VALUES ('k2', 'tell')$$, 'one that has only to tell comes first, too');
SELECT cardx.fanout_tell('k2');
SELECT is_empty($$SELECT unnest(cardx.fanout_write('k2', 10))$$, 'and ends');
RESET ROLE;

-- the card changes in the midst: one more lap, from there around to there
UPDATE cardx.cards SET revision = revision + 1 WHERE card_id = 'k';
CREATE FUNCTION pg_temp.run() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    steps text := '';
    t record;
BEGIN
    LOOP
        SELECT * INTO t FROM cardx.fanout_take();
        EXIT WHEN t.card_id IS NULL OR length(steps) > 200;
        IF t.state = 'tell' THEN
            PERFORM cardx.fanout_tell('k');
        END IF;
        steps := steps || coalesce(
            array_to_string(cardx.fanout_write('k', 1), ''), '.');
        UPDATE cardx.fanouts SET xid = '60' WHERE xid IS NOT NULL;
    END LOOP;
    RETURN steps;
END
$$;
SELECT is(pg_temp.run(), 'd.bc.', 'it goes on, and around to where it was');
SELECT is((SELECT count(*) FROM cardx.fanouts), 0::bigint, 'and ends');
SELECT is((SELECT count(*) FROM cardx.outbox WHERE effect = 'holders'),
    0::bigint, 'with what asked for it');
SELECT is((SELECT op FROM cardx.user_log WHERE object_id = 'k-e'), 'delete',
    'who has deleted the entry is left alone');

-- begun on a server that had come further
UPDATE cardx.cards SET revision = revision + 1 WHERE card_id = 'k';
SELECT cardx.fanout_take();
SELECT cardx.fanout_write('k', 3);
UPDATE cardx.fanouts SET xid = '9000000000000';
SELECT results_eq('SELECT * FROM cardx.fanout_take()',
    $$VALUES ('k', 'write')$$, 'a restored one');
SELECT is((SELECT after FROM cardx.fanouts), '', 'begins anew');

-- those that have begun
INSERT INTO cardx.outbox (effect, object, attempts, due_at)
VALUES ('holders', 'k2', 1, clock_timestamp());
SET ROLE cardx_fanout;
SELECT is((SELECT card_id FROM cardx.fanout_take()), 'k', 'two have begun');
SELECT is((SELECT card_id FROM cardx.fanout_take()), 'k2', 'they take turns');
SELECT is((SELECT card_id FROM cardx.fanout_take()), 'k', 'one after another');
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;
