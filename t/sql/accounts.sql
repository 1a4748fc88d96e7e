-- Accounts: what the workers' role can see and do (A8, D1, D2).

BEGIN;
\ir begin.psql

SELECT no_plan();

CREATE FUNCTION pg_temp.become(its_user text) RETURNS void
    LANGUAGE sql
    AS $$ SELECT set_config('cardx.user_id', its_user, true) $$;
DO $$
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO cardx_api',
                   pg_my_temp_schema()::regnamespace);
END
$$;
GRANT EXECUTE ON FUNCTION pg_temp.become(text) TO cardx_api;

INSERT INTO cardx.users (user_id, phone, password, data_key) VALUES
    ('alice', '+8613800138000', 'hash-a', '\x00'),
    ('bob', '+8613800138001', 'hash-b', '\x00');
INSERT INTO cardx.terminals (terminal_id, user_id, name) VALUES
    (100000001, 'alice', 'phone'), (100000002, 'bob', 'phone');
INSERT INTO cardx.access_tokens VALUES
    ('\x01', 'alice', 100000001, now() + interval '5 minutes'),
    ('\x02', 'bob', 100000002, now() - interval '1 second');
INSERT INTO cardx.refresh_tokens (token_hash, user_id, terminal_id, expires_at)
VALUES ('\x11', 'alice', 100000001, now() + interval '90 days');
INSERT INTO cardx.registrations (registration_id, phone, method, code_hmac,
                                 expires_at)
VALUES ('reg-b', '+8613800138001', 'sms-down', '\xbb',
        now() + interval '10 minutes');
INSERT INTO cardx.approvals (approval_id, user_id, registration_id,
                             terminal_name, expires_at)
VALUES ('approval-b', 'bob', 'reg-b', 'browser',
        now() + interval '10 minutes');


-- Every call that crosses users: owner, search path, rights.

SELECT is(
    array(SELECT p.oid::regprocedure::text FROM pg_proc p
          WHERE pronamespace = 'cardx'::regnamespace AND prosecdef
              AND (proowner <> 'cardx_definer'::regrole
                   OR ('search_path=pg_catalog, pg_temp' = ANY (proconfig))
                      IS NOT TRUE)),
    '{}', 'definer functions belong to cardx_definer, with a fixed path');

SELECT is(
    array(SELECT p.oid::regprocedure::text
          FROM pg_proc p, aclexplode(coalesce(proacl,
              acldefault('f', proowner))) a
          WHERE pronamespace = 'cardx'::regnamespace AND a.grantee = 0),
    '{}', 'no function of the schema is for everybody');

SELECT ok(NOT has_function_privilege('cardx_api',
    'cardx.terminal_open(text, integer, text, bytea, bytea)', 'EXECUTE'),
    'a worker can not open a terminal without a proof');

SELECT is(
    array(SELECT c.relname::text FROM pg_class c
          WHERE relnamespace = 'cardx'::regnamespace AND relkind = 'r'
              AND NOT (relrowsecurity AND relforcerowsecurity)
              AND EXISTS (SELECT FROM pg_attribute a
                          WHERE a.attrelid = c.oid
                              AND a.attname IN ('user_id', 'phone', 'holder_id')
                              AND NOT a.attisdropped)),
    '{}', 'each table with personal rows has forced row-level security');


-- The workers' role: nobody signed in.

SET LOCAL ROLE cardx_api;

SELECT is_empty('SELECT user_id FROM cardx.users', 'nobody sees no users');
SELECT is_empty('SELECT terminal_id FROM cardx.terminals',
                'nobody sees no terminals');
SELECT is_empty('SELECT approval_id FROM cardx.approvals',
                'nobody sees no approvals');

SELECT throws_ok('SELECT password FROM cardx.users', '42501', NULL,
                 'passwords can not be read');
SELECT throws_ok('SELECT data_key FROM cardx.users', '42501', NULL,
                 'nor data keys');
SELECT throws_ok('SELECT * FROM cardx.' || t, '42501', NULL,
                 'nor any of ' || t)
FROM unnest(ARRAY['access_tokens', 'refresh_tokens', 'registrations', 'sms',
                  'password_tries', 'idempotency', 'outbox']) t;

-- ... and alice.

SELECT pg_temp.become('alice');

SELECT results_eq('SELECT user_id COLLATE "default" FROM cardx.users',
                  ARRAY['alice'],
                  'a user sees one account');
SELECT results_eq('SELECT terminal_id FROM cardx.terminals',
                  ARRAY[100000001], 'and its terminals');
SELECT is_empty('SELECT approval_id FROM cardx.approvals',
                'and no approval that another is asked for');

SELECT is_empty($$UPDATE cardx.users SET nickname = 'x'
                  WHERE user_id = 'bob' RETURNING user_id$$,
                'another account is not changed');
SELECT is_empty($$UPDATE cardx.approvals SET approved = true
                  RETURNING approval_id$$,
                'another''s approval is not given');
SELECT throws_ok($$UPDATE cardx.users SET user_id = 'bob'$$, '42501', NULL,
                 'an id is not changed');
SELECT throws_ok($$UPDATE cardx.users SET phone = '+8613800138009'$$, '42501',
                 NULL, 'nor a number');
SELECT throws_ok($$DELETE FROM cardx.users$$, '42501', NULL,
                 'an account is not deleted');
SELECT throws_ok($$INSERT INTO cardx.terminals (terminal_id, user_id, name)
                   VALUES (100000003, 'alice', 'x')$$, '42501', NULL,
                 'a terminal is not made past the calls');
SELECT throws_ok($$UPDATE cardx.terminals SET signed_out_at = NULL$$, '42501',
                 NULL, 'nor signed in again');

SELECT ok(NOT cardx.terminal_sign_out('bob', 100000002),
          'another''s terminal is not signed out');
SELECT ok(NOT cardx.terminal_sign_out('alice', 100000002),
          'nor as one''s own');
SELECT ok(NOT cardx.password_change(100000001, 'hash-b', 'mine'),
          'another''s password is not changed');


-- Access tokens.

SELECT ok(cardx.access_token_expires('\x01') > extract(epoch FROM now()),
          'a token that is good');
SELECT is(cardx.access_token_expires('\x02'), NULL, 'one that has expired');
SELECT is(cardx.access_token_expires('\x03'), NULL, 'one nobody has');

SELECT ok(cardx.terminal_sign_out('alice', 100000001), 'signed out');
SELECT is(cardx.access_token_expires('\x01'), NULL,
          'its token is worth nothing');
SELECT is((SELECT state FROM cardx.session_refresh('alice', 100000001, '\x11',
                                                   '\x12', '\x13')),
          'refused', 'and can not be renewed');
SELECT ok(cardx.terminal_sign_out('alice', 100000001), 'out once more');

RESET ROLE;
SELECT results_eq(
    $$SELECT object COLLATE "default", generation FROM cardx.outbox
      WHERE effect = 'terminal'$$,
    $$VALUES ('alice/100000001', 2::bigint)$$, 'fanout is told');
SELECT is_empty($$SELECT FROM cardx.access_tokens WHERE user_id = 'alice'
                  UNION ALL
                  SELECT FROM cardx.refresh_tokens WHERE user_id = 'alice'$$,
                'its tokens are gone');
SET LOCAL ROLE cardx_api;
SELECT pg_temp.become('');


-- Registrations: limits.

CREATE FUNCTION pg_temp.start(id text, phone text, address inet)
    RETURNS integer LANGUAGE sql
    AS $$ SELECT retry_after FROM cardx.proof_start(id, phone, 'sms-down',
              '\xcc', address, 3, 'sms-' || id, '\xdd', NULL) $$;

SELECT is(pg_temp.start('r1', '+8613900000001', '192.0.2.1'), NULL,
          'a first code');
SELECT is(pg_temp.start('r2', '+8613900000001', '192.0.2.2'), 60,
          'another within a minute: wait');
SELECT is(pg_temp.start('r3', '+8613900000003', '192.0.2.1'), NULL,
          'an address: the second');
SELECT is(pg_temp.start('r4', '+8613900000004', '192.0.2.1'), NULL,
          'the third');
SELECT is(pg_temp.start('r5', '+8613900000005', '192.0.2.1'), 3600,
          'the fourth of three: wait');
SELECT is(pg_temp.start('r6', '+8613900000006', NULL), NULL,
          'no address is known: no such limit');

RESET ROLE;
SELECT results_eq(
    $$SELECT object FROM cardx.outbox WHERE effect = 'sms' ORDER BY 1$$,
    $$SELECT sms_id FROM cardx.sms ORDER BY 1$$, 'an SMS for each that passed');
SELECT is((SELECT count(*)::integer FROM cardx.sms), 4, 'which are four');

-- five an hour, evenly
UPDATE cardx.registrations SET created_at = now() - interval '10 minutes'
WHERE phone = '+8613900000001';
INSERT INTO cardx.registrations (registration_id, phone, method, code_hmac,
                                 created_at, expires_at)
SELECT 'old' || n, '+8613900000001', 'sms-down', '\x00',
    now() - n * interval '12 minutes', now()
FROM generate_series(1, 4) n;
SET LOCAL ROLE cardx_api;
SELECT is(pg_temp.start('r7', '+8613900000001', '192.0.2.3'), 12 * 60,
          'five in an hour: wait until the oldest is an hour old');


-- Registrations: the code.

CREATE FUNCTION pg_temp.prove(id text, code bytea) RETURNS text
    LANGUAGE sql
    AS $$ SELECT concat_ws(' ', state, tries_left, user_id)
          FROM cardx.registration_prove(id, code, 'ask-' || id, 'x') $$;

SELECT is(pg_temp.prove('none', '\xcc'), 'unknown', 'no registration');
SELECT is(pg_temp.prove('r3', '\x00'), 'wrong_code ' || left_, 'wrong')
FROM unnest(ARRAY[4, 3, 2, 1, 0]) left_;
SELECT is(pg_temp.prove('r3', '\xcc'), 'too_many_tries', 'right, too late');
SELECT is(pg_temp.prove('r4', '\xcc'), 'proved', 'right');
SELECT is(pg_temp.prove('r4', '\xcc'), 'proved', 'still right');
SELECT is(pg_temp.prove('old1', '\x00'), 'expired', 'too old');
SELECT is(pg_temp.prove('reg-b', '\xbb'), 'proved bob', 'of an account');

CREATE FUNCTION pg_temp.finish(id text, code bytea, way text, its_user text,
                               password text, terminal integer)
    RETURNS text LANGUAGE sql
    AS $$ SELECT state FROM cardx.registration_finish(id, code, way, its_user,
              password, '\x00', terminal, 'x',
              sha256(convert_to('a' || terminal, 'UTF8')),
              sha256(convert_to('r' || terminal, 'UTF8'))) $$;

SELECT is(pg_temp.finish('r6', '\xcc', 'new', 'eve', 'h', 100000010),
          'finished', 'nothing without a proof');
SELECT is(pg_temp.finish('r4', '\xc0', 'new', 'eve', 'h', 100000010),
          'finished', 'nor with another code');
SELECT is(pg_temp.finish('reg-b', '\xbb', 'new', 'eve', 'h', 100000010),
          'changed', 'no second account for a number');
SELECT is(pg_temp.finish('reg-b', '\xbb', 'password', 'bob', 'h', 100000010),
          'changed', 'not with another password');
SELECT is(pg_temp.finish('reg-b', '\xbb', 'approved', 'bob', NULL, 100000010),
          'changed', 'not before a terminal approves');
SELECT is(pg_temp.finish('r4', '\xcc', 'new', 'dora', 'h', 100000002),
          'taken', 'a terminal number is another''s');
SELECT is(pg_temp.finish('r4', '\xcc', 'new', 'dora', 'h', 100000010),
          'open', 'a new account');
SELECT is(pg_temp.finish('r4', '\xcc', 'new', 'dora2', 'h', 100000011),
          'finished', 'once');

SELECT pg_temp.become('bob');
SELECT lives_ok($$UPDATE cardx.approvals SET approved = true,
                  approved_by = 100000002$$, 'bob approves');
SELECT pg_temp.become('');
SELECT is(pg_temp.finish('reg-b', '\xbb', 'approved', 'bob', NULL, 100000011),
          'open', 'and the terminal is signed in');
SELECT is(pg_temp.prove('reg-b', '\xbb'), 'finished', 'which ends it');


-- Passwords.

CREATE FUNCTION pg_temp.try(phone text) RETURNS text LANGUAGE sql
    AS $$ SELECT concat_ws(' ', user_id, password, retry_after)
          FROM cardx.password_try(NULL, phone, NULL) $$;

SELECT is(pg_temp.try('+8613800138001'), 'bob hash-b', 'a try')
FROM generate_series(1, 5);
SELECT is(pg_temp.try('+8613800138001'), '900', 'the sixth: wait');
SELECT is(pg_temp.try('+8613800138099'), '', 'nobody''s number: a try')
FROM generate_series(1, 5);
SELECT is(pg_temp.try('+8613800138099'), '900', 'and the same wait');
SELECT is((SELECT retry_after
           FROM cardx.password_try('bob', NULL, terminal)),
          CASE n WHEN 6 THEN 900 END,
          'by user id, counted apart: ' || coalesce(terminal::text, 'proved'))
FROM unnest(ARRAY[NULL, 100000002, 100000003]) terminal,
    generate_series(1, 6) n;

RESET ROLE;
UPDATE cardx.password_tries SET tried_at = now() - interval '15 minutes';
SET LOCAL ROLE cardx_api;
SELECT is(pg_temp.try('+8613800138001'), 'bob hash-b', 'after 15 minutes');
SELECT is((SELECT state FROM cardx.session_open('bob', 'other', 100000012, 'x',
                                                '\x51', '\x52')),
          'changed', 'a hash that is no longer the account''s');
SELECT is((SELECT state FROM cardx.session_open('bob', 'hash-b', 100000012,
                                                'x', '\x51', '\x52')),
          'open', 'a sign-in');
RESET ROLE;
SELECT is_empty($$SELECT FROM cardx.password_tries
                  WHERE subject = '+8613800138001'$$, 'forgets the tries');

INSERT INTO cardx.terminals (terminal_id, user_id, name)
SELECT 100000100 + n, 'bob', 'x' FROM generate_series(1, 17) n;
SET LOCAL ROLE cardx_api;
SELECT is((SELECT state FROM cardx.session_open('bob', 'hash-b', 100000013,
                                                'x', '\x53', '\x54')),
          'too_many_terminals', 'twenty terminals are enough');


-- Refresh (times are moved, since now() stands still here).

CREATE FUNCTION pg_temp.refresh(old bytea, next bytea, access bytea)
    RETURNS text LANGUAGE sql
    AS $$ SELECT state FROM cardx.session_refresh('bob', 100000012, old, next,
                                                  access) $$;

SELECT is(pg_temp.refresh('\x52', '\x55', '\x56'), 'open', 'a successor');
SELECT is(pg_temp.refresh('\x52', '\x55', '\x57'), 'open',
          'the same again, within a minute');
SELECT is(pg_temp.refresh('\x99', '\x55', '\x58'), 'reused',
          'one that is not known any more');
RESET ROLE;
UPDATE cardx.refresh_tokens SET used_at = now() - interval '61 seconds'
WHERE token_hash = '\x52';
SET LOCAL ROLE cardx_api;
SELECT is(pg_temp.refresh('\x52', '\x55', '\x58'), 'reused', 'later: a thief');
SELECT is(pg_temp.refresh('\x55', '\x59', '\x58'), 'open', 'the next one');
RESET ROLE;
SELECT results_eq(
    $$SELECT token_hash FROM cardx.refresh_tokens
      WHERE terminal_id = 100000012 ORDER BY 1$$,
    $$VALUES ('\x55'::bytea), ('\x59')$$, 'what is long used is not kept');
UPDATE cardx.refresh_tokens SET expires_at = now() WHERE token_hash = '\x59';
SET LOCAL ROLE cardx_api;
SELECT is(pg_temp.refresh('\x59', '\x60', '\x61'), 'refused', 'one too old');


-- A fresh start.

RESET ROLE;
INSERT INTO cardx.registrations (registration_id, phone, method, code_hmac,
                                 expires_at)
VALUES ('reg-c', '+8613800138001', 'sms-down', '\xbb',
        now() + interval '10 minutes');
SET LOCAL ROLE cardx_api;
SELECT is(pg_temp.prove('reg-c', '\xbb'), 'proved bob', 'proved');
SELECT is(pg_temp.finish('reg-c', '\xbb', 'fresh', 'carol', 'h', 100000020),
          'open', 'fresh');
RESET ROLE;
SELECT results_eq(
    $$SELECT user_id COLLATE "default", phone, phone_lost_at IS NOT NULL
      FROM cardx.users
      WHERE user_id IN ('bob', 'carol') ORDER BY 1$$,
    $$VALUES ('bob', NULL, true), ('carol', '+8613800138001', false)$$,
    'the number has moved, the old account knows');
SELECT is((SELECT count(*)::integer FROM cardx.terminals
           WHERE user_id = 'bob' AND signed_out_at IS NULL), 20,
          'and keeps its terminals');

SELECT * FROM finish();
ROLLBACK;
