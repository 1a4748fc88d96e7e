-- Address books that know each other (D4, D5), as the workers' roles see
-- them.  The pairs here are made by hand: t/unit/match_keys.c is about what
-- they are in truth.

BEGIN;
\ir begin.psql

SELECT no_plan();

-- --- people -----------------------------------------------------------------

CREATE FUNCTION pg_temp.person(name text, phone text) RETURNS void
    LANGUAGE sql AS $$
    INSERT INTO cardx.users (user_id, phone, password, data_key)
    VALUES (name, phone, 'x', 'x');
    INSERT INTO cardx.cards (card_id, user_id, card)
    VALUES ('card-' || name, name, '{}');
    UPDATE cardx.users SET own_card_id = 'card-' || name WHERE user_id = name;
$$;

-- An entry of a book: another's number, as the pair with the own one.
CREATE FUNCTION pg_temp.pair(own text, other text) RETURNS bytea
    LANGUAGE sql AS $$
    SELECT convert_to(least(own, other) || '/' || greatest(own, other),
                      'UTF8')
$$;

CREATE FUNCTION pg_temp.entry(holder text, contact text, number text,
                          VARIADIC others text[] DEFAULT '{}') RETURNS void
    LANGUAGE plpgsql AS $$
DECLARE
    own text := (SELECT u.phone FROM cardx.users u WHERE u.user_id = holder);
    epoch integer := (SELECT u.match_epoch FROM cardx.users u
                      WHERE u.user_id = holder);
    numbers text[] := number || others;
BEGIN
    INSERT INTO cardx.contacts (contact_id, user_id, layer)
    VALUES (contact, holder, '\x00')
    ON CONFLICT DO NOTHING;
    PERFORM set_config('cardx.user_id', holder, true);
    PERFORM cardx.match_write(ARRAY[contact],
        array_agg(contact), array_agg(convert_to(n, 'UTF8')),
        array_agg('\x00'::bytea), array_agg(pg_temp.pair(own, n)),
        array_agg(own < n), epoch, 1)
    FROM unnest(numbers) n;
END
$$;

CREATE FUNCTION pg_temp.no_entry(holder text, contact text) RETURNS void
    LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('cardx.user_id', holder, true);
    PERFORM cardx.match_write(ARRAY[contact], '{}', '{}', '{}', '{}', '{}',
                              1, 1);
END
$$;

-- What fanout does, for all who ask for it.
CREATE FUNCTION pg_temp.fanout() RETURNS text
    LANGUAGE plpgsql AS $$
DECLARE
    asked text;
    state text;
    states text := '';
BEGIN
    FOR asked IN DELETE FROM cardx.outbox WHERE effect = 'match'
        RETURNING object
    LOOP
        PERFORM cardx.match_look(asked);
        LOOP
            state := cardx.match_next(asked);
            EXIT WHEN state <> 'done';
        END LOOP;
        states := states || state || ' ';
    END LOOP;
    RETURN states;
END
$$;

-- Who follows whom, by grant and by entry.
CREATE FUNCTION pg_temp.known() RETURNS text
    LANGUAGE sql AS $$
    SELECT coalesce(string_agg(g.holder_id || '<' || g.owner_id
            || CASE WHEN c.contact_id IS NULL THEN '' ELSE ':' || c.contact_id
               END || CASE WHEN g.via = 'match' THEN '' ELSE ' ' || g.via END
            || CASE WHEN g.fields IS NULL THEN '' ELSE g.fields::text END,
        ' ' ORDER BY g.holder_id, g.owner_id, g.card_id, g.via), 'nobody')
    FROM cardx.grants g
    LEFT JOIN cardx.contacts c ON c.user_id = g.holder_id
        AND c.card_id = g.card_id
$$;

SELECT pg_temp.person('a', '+1'), pg_temp.person('b', '+2'), pg_temp.person('c', '+3');

-- --- knowing each other ------------------------------------------------------

SELECT pg_temp.entry('a', 'a1', '+2');
SELECT pg_temp.fanout();
SELECT is(pg_temp.known(), 'nobody', 'one alone');

SELECT pg_temp.entry('b', 'b1', '+9', '+1');
SELECT is(pg_temp.known(), 'nobody', 'nothing happens when a book is brought');
SELECT pg_temp.fanout();
SELECT is(pg_temp.known(), 'a<b:a1 b<a:b1', 'both: each follows the other');
SELECT is((SELECT string_agg(l.user_id || l.object_id, ' ' ORDER BY 1)
           FROM cardx.user_log l WHERE l.kind = 'contact' AND EXISTS (
               SELECT FROM cardx.contacts c
               WHERE c.contact_id = l.object_id AND c.revision > 1)),
    'aa1 bb1', 'and each is told');

SELECT pg_temp.entry('c', 'c1', '+1', '+2');
SELECT pg_temp.fanout();
SELECT is(pg_temp.known(), 'a<b:a1 b<a:b1', 'a third one who is in no book');

CREATE TEMP TABLE before AS SELECT contact_id, revision FROM cardx.contacts;
SELECT cardx.match_again('a'), cardx.match_again('b');
SELECT pg_temp.fanout();
SELECT is(pg_temp.known(), 'a<b:a1 b<a:b1', 'looked at again: the same');
SELECT results_eq('SELECT contact_id, revision FROM cardx.contacts ORDER BY 1',
    'SELECT * FROM before ORDER BY 1', 'without a change');
DROP TABLE before;

-- --- fields, switch, own card --------------------------------------------------

UPDATE cardx.users SET match_fields = '{phones}' WHERE user_id = 'a';
SELECT pg_temp.fanout();
SELECT is(pg_temp.known(), 'a<b:a1 b<a:b1{phones}', 'some fields');

UPDATE cardx.users SET match_on = false WHERE user_id = 'b';
SELECT pg_temp.fanout();
SELECT is(pg_temp.known(), 'nobody', 'switched off: over for both');
SELECT is((SELECT count(*) FROM cardx.contacts WHERE card_id IS NULL), 3::bigint,
    'the entries stay');

UPDATE cardx.users SET match_on = true WHERE user_id = 'b';
UPDATE cardx.users SET match_fields = NULL WHERE user_id = 'a';
SELECT pg_temp.fanout();
SELECT is(pg_temp.known(), 'a<b:a1 b<a:b1', 'and on again');

INSERT INTO cardx.cards (card_id, user_id, card) VALUES ('new-b', 'b', '{}');
UPDATE cardx.users SET own_card_id = 'new-b' WHERE user_id = 'b';
SELECT pg_temp.fanout();
SELECT is(pg_temp.known(), 'a<b:a1 b<a:b1', 'another own card');
SELECT is((SELECT card_id FROM cardx.contacts WHERE contact_id = 'a1'), 'new-b',
    'is followed');

UPDATE cardx.cards SET deleted_at = now() WHERE user_id = 'b';
UPDATE cardx.users SET own_card_id = NULL WHERE user_id = 'b';
SELECT pg_temp.fanout();
SELECT is(pg_temp.known(), 'nobody', 'no card at all');
UPDATE cardx.cards SET deleted_at = NULL WHERE card_id = 'card-b';
UPDATE cardx.users SET own_card_id = 'card-b' WHERE user_id = 'b';
SELECT pg_temp.fanout();
SELECT is(pg_temp.known(), 'a<b:a1 b<a:b1', 'one again');

-- --- entries come and go -------------------------------------------------------

SELECT pg_temp.entry('a', 'a1', '+7');
SELECT pg_temp.fanout();
SELECT is(pg_temp.known(), 'nobody', 'the number was taken out of the entry');
SELECT pg_temp.entry('a', 'a1', '+7', '+2');
SELECT pg_temp.fanout();
SELECT is(pg_temp.known(), 'a<b:a1 b<a:b1', 'and put back');

SELECT pg_temp.entry('a', 'a0', '+2');
SELECT pg_temp.fanout();
SELECT is(pg_temp.known(), 'a<b:a1 b<a:b1', 'a second entry with the number');
SELECT pg_temp.no_entry('a', 'a1');
SELECT pg_temp.fanout();
SELECT is(pg_temp.known(), 'a<b:a0 b<a:b1', 'takes over when the first one goes');
SELECT pg_temp.no_entry('a', 'a0');
SELECT pg_temp.fanout();
SELECT is(pg_temp.known(), 'nobody', 'no entry left');
SELECT pg_temp.entry('a', 'a1', '+2');
SELECT pg_temp.fanout();
SELECT is(pg_temp.known(), 'a<b:a1 b<a:b1', 'restored');

-- --- beside other ways ----------------------------------------------------------

SELECT cardx.grant_add('card-a', 'b', 'key', 'k', '{emails}');
SELECT pg_temp.no_entry('a', 'a1');
SELECT pg_temp.fanout();
SELECT is(pg_temp.known(), 'b<a:b1 key{emails}', 'a key is a way of its own');
SELECT cardx.grant_end('card-a', 'b', 'key', 'k');
UPDATE cardx.contacts SET card_id = NULL, owner_id = NULL;
SELECT pg_temp.entry('a', 'a1', '+2');
SELECT pg_temp.fanout();

-- an entry that follows somebody else's card is somebody else's
INSERT INTO cardx.contacts (contact_id, user_id, card_id, owner_id, layer)
VALUES ('c2', 'c', 'card-b', 'b', '\x00');
SELECT pg_temp.entry('c', 'c2', '+1');
SELECT pg_temp.no_entry('c', 'c1');
SELECT pg_temp.entry('a', 'a3', '+3');
SELECT pg_temp.fanout();
SELECT is(pg_temp.known(), 'a<b:a1 b<a:b1', 'not matched by the number in it');

-- --- taken back, and deleted ------------------------------------------------------

SELECT set_config('cardx.user_id', 'a', true);
SELECT ok(cardx.card_take_back('card-a', 'b'), 'a takes the card back from b');
SELECT cardx.match_again('a');
SELECT pg_temp.fanout();
SELECT is(pg_temp.known(), 'a<b:a1', 'matching does not give it again');
SELECT set_config('cardx.user_id', 'a', true);
SELECT ok(cardx.block_lift('card-a', 'b'), 'until the block is lifted');
SELECT cardx.match_again('a');
SELECT pg_temp.fanout();
SELECT is(pg_temp.known(), 'a<b:a1 b<a:b1', 'then it does');

UPDATE cardx.contacts SET deleted_at = now() WHERE contact_id = 'a1';
SELECT pg_temp.entry('a', 'a7', '+2');
SELECT pg_temp.no_entry('a', 'a1');
SELECT pg_temp.fanout();
SELECT is(pg_temp.known(), 'a<b:a7 b<a:b1', 'an entry that is deleted lets go');
UPDATE cardx.contacts SET deleted_at = NULL WHERE contact_id = 'a1';
SELECT pg_temp.entry('a', 'a1', '+2');
SELECT pg_temp.no_entry('a', 'a7');
SELECT pg_temp.fanout();
SELECT is(pg_temp.known(), 'a<b:a1 b<a:b1', 'restored');

-- --- another number ------------------------------------------------------------

UPDATE cardx.users SET phone = '+11' WHERE user_id = 'a';
SELECT is((SELECT match_epoch FROM cardx.users WHERE user_id = 'a'), 2,
    'another epoch');
SELECT is((SELECT count(*) FROM cardx.match_stale('a', 1, 100)), 2::bigint,
    'all is to be hashed anew');
SELECT cardx.match_rehash('a', 2, 1, array_agg(e.contact_id), array_agg(e.tag),
    array_agg(pg_temp.pair('+11', convert_from(e.tag, 'UTF8'))),
    array_agg('+11' < convert_from(e.tag, 'UTF8')))
FROM cardx.match_entries e WHERE e.user_id = 'a';
SELECT pg_temp.fanout();
SELECT is(pg_temp.known(), 'a<b:a1 b<a:b1', 'who knew each other still do');

SELECT pg_temp.person('heir', '+1');
SELECT pg_temp.entry('heir', 'h1', '+2');
SELECT pg_temp.fanout();
SELECT is(pg_temp.known(), 'a<b:a1 b<a:b1', 'who has the old number now inherits nothing');

SELECT pg_temp.entry('b', 'b1', '+11');
SELECT pg_temp.fanout();
SELECT is(pg_temp.known(), 'a<b:a1 b<a:b1', 'the new number in the entry: the same');
SELECT pg_temp.entry('b', 'b5', '+1');
SELECT pg_temp.fanout();
SELECT is(pg_temp.known(), 'a<b:a1 b<a:b1 b<heir:b5 heir<b:h1',
    'an entry of its own: the heir is known');

UPDATE cardx.users SET phone = NULL WHERE user_id = 'heir';
SELECT pg_temp.fanout();
SELECT is(pg_temp.known(), 'a<b:a1 b<a:b1 b<heir:b5 heir<b:h1',
    'who lost the number is still known');

-- --- the quota ------------------------------------------------------------------

DELETE FROM cardx.match_entries WHERE user_id = 'c';
UPDATE cardx.match_quota SET numbers = 19999 WHERE user_id = 'c';
SELECT pg_temp.entry('c', 'c9', '+50', '+51');
SELECT is((SELECT count(*) FROM cardx.match_entries WHERE user_id = 'c'),
    1::bigint, 'what is over the quota is left out');
SELECT pg_temp.entry('c', 'c9', '+52');
SELECT is((SELECT count(*) FROM cardx.match_entries WHERE user_id = 'c'),
    0::bigint, 'also when another goes');
SELECT pg_temp.entry('c', 'c9', '+50');
SELECT is((SELECT count(*) FROM cardx.match_entries WHERE user_id = 'c'),
    1::bigint, 'what was counted is not new again');
UPDATE cardx.match_quota SET day = current_date - 10 WHERE user_id = 'c';
SELECT pg_temp.entry('c', 'c9', '+50', '+51');
SELECT is((SELECT count(*) FROM cardx.match_entries WHERE user_id = 'c'),
    2::bigint, 'ten days later');

-- --- who may what --------------------------------------------------------------

SET ROLE cardx_api;
SELECT throws_ok(format('SELECT * FROM cardx.%I', name), '42501',
    NULL, 'the api reads no ' || name)
FROM unnest(ARRAY['match_entries', 'matches', 'match_todo', 'match_seen',
                  'match_quota']) name;
SELECT throws_ok('SELECT cardx.match_next(''a'')', '42501', NULL,
    'nor does it compare');
SELECT throws_ok('SELECT cardx.match_account(''a'')', '42501', NULL,
    'or read another''s keys');
RESET ROLE;
SET ROLE cardx_fanout;
SELECT throws_ok('SELECT * FROM cardx.match_entries', '42501', NULL,
    'fanout reads no book');
SELECT lives_ok('SELECT cardx.match_next(''a'')', 'but compares');
RESET ROLE;

-- --- the end ---------------------------------------------------------------------

DELETE FROM cardx.users WHERE user_id = 'a';
SELECT is((SELECT count(*) FROM cardx.match_entries WHERE user_id = 'a')
    + (SELECT count(*) FROM cardx.matches WHERE 'a' IN (lower_id, higher_id)),
    0::bigint, 'nothing is left of who goes');

SELECT * FROM finish();

ROLLBACK;
