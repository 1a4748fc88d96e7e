-- Contacts, grants and blocks: another user's can't be read or written by the
-- workers' role, and no grant can be made but by a way that makes one
-- (migration `contacts`).

BEGIN;
\ir begin.psql

SELECT no_plan();

INSERT INTO cardx.users (user_id, phone, password, data_key)
VALUES ('anna', '+4930111111', 'x', 'ka'), ('bela', '+4930222222', 'x', 'kb'),
       ('carl', '+4930333333', 'x', 'kc');
INSERT INTO cardx.cards (card_id, user_id, card)
VALUES ('card-a', 'anna', '{"name": {"full": "Anna"}}'),
       ('card-b', 'bela', '{}');
INSERT INTO cardx.card_keys (key_id, card_id, user_id, key_hash, fields, view,
                             expires_at)
VALUES ('key-a', 'card-a', 'anna', '\x01', NULL, '',
        now() + interval '1 hour'),
       ('key-f', 'card-a', 'anna', '\x02', '{phones/w}', 'f',
        now() + interval '1 hour'),
       ('key-x', 'card-a', 'anna', '\x03', NULL, '', now());
INSERT INTO cardx.contacts (contact_id, user_id, card_id, owner_id, layer)
VALUES ('contact-b', 'bela', NULL, NULL, 'sealed'),
       ('contact-c', 'carl', 'card-a', 'anna', 'sealed');
INSERT INTO cardx.contact_history (contact_id, user_id, what)
VALUES ('contact-b', 'bela', 'added');
INSERT INTO cardx.contact_media (media_id, contact_id, user_id, kind, type,
                                 bytes, sealed)
VALUES ('medium-b', 'contact-b', 'bela', 'photo', 'image/png', 1, 'x');

-- the book is the holder's: not the owner's of a card in it either
SELECT is(pg_temp.as_user(who, format('SELECT FROM cardx.%I', name)),
          CASE WHEN who = 'bela' THEN '1'
               WHEN who = 'carl' AND name = 'contacts' THEN '1' ELSE '0' END,
          format('%s reads %s', coalesce(nullif(who, ''), 'nobody'), name))
FROM unnest(ARRAY['anna', 'bela', 'carl', '']) who,
    unnest(ARRAY['contacts', 'contact_history', 'contact_media']) name;

SELECT is(pg_temp.as_user('anna', statement), '0', pg_temp.one_line(statement))
FROM unnest(ARRAY[
    'SELECT FROM cardx.contacts WHERE contact_id = ''contact-b'' FOR UPDATE',
    'UPDATE cardx.contacts SET layer = ''x''',
    'UPDATE cardx.contacts SET deleted_at = now()',
    'DELETE FROM cardx.contact_media',
    'SELECT FROM cardx.contact_read(''contact-b'', NULL, false, 1)',
    'SELECT FROM cardx.contact_read(NULL, NULL, false, 10)',
    'SELECT FROM cardx.contact_read(NULL, ''contact-b'', false, 10)',
    'SELECT FROM cardx.contact_medium(''contact-b'', ''photo'')'
]) statement;

SELECT is(pg_temp.as_user('anna', statement), '42501',
          pg_temp.one_line(statement))
FROM unnest(ARRAY[
    'INSERT INTO cardx.contacts (contact_id, user_id, layer)
     VALUES (''x'', ''bela'', ''x'')',
    'UPDATE cardx.contacts SET user_id = ''bela''',
    'UPDATE cardx.contacts SET card_id = ''card-b'', owner_id = ''bela''',
    'INSERT INTO cardx.contacts (contact_id, user_id, card_id, owner_id, layer)
     VALUES (''x'', ''anna'', ''card-b'', ''bela'', ''x'')',
    'INSERT INTO cardx.contact_history (contact_id, user_id, what)
     VALUES (''contact-b'', ''bela'', ''added'')',
    'INSERT INTO cardx.contact_media (media_id, contact_id, user_id, kind,
                                      type, bytes, sealed)
     VALUES (''x'', ''contact-b'', ''bela'', ''logo'', ''x'', 1, ''x'')',
    'DELETE FROM cardx.contacts',
    'UPDATE cardx.contact_history SET changes = ''x''',
    'SELECT FROM cardx.blocks',
    'INSERT INTO cardx.blocks VALUES (''card-a'', ''bela'', ''anna'')',
    'SELECT cardx.grant_add(''card-b'', ''anna'', ''key'', ''k'', NULL)',
    'SELECT cardx.grant_end(''card-b'', NULL, NULL, NULL)',
    'SELECT cardx.grant_fields(''card-b'', ''carl'')',
    'SELECT cardx.contact_sweep(1)'
]) statement;

-- hanging a row of one's own on another's contact
SELECT is(pg_temp.as_user('anna', statement), '23503',
          pg_temp.one_line(statement))
FROM unnest(ARRAY[
    'INSERT INTO cardx.contact_history (contact_id, user_id, what)
     VALUES (''contact-b'', ''anna'', ''added'')',
    'INSERT INTO cardx.contact_media (media_id, contact_id, user_id, kind,
                                      type, bytes, sealed)
     VALUES (''x'', ''contact-b'', ''anna'', ''logo'', ''x'', 1, ''x'')'
]) statement;

-- joining: one's own alone
SELECT set_config('cardx.user_id', 'anna', true);
SELECT is_empty($$SELECT cardx.contact_join('contact-b', 'contact-c')$$,
    'not of others');
SELECT ok(NOT cardx.contact_part('contact-b', 'contact-c', NULL),
          'nor apart');
SELECT is((SELECT data_key FROM cardx.match_me()), 'ka'::bytea, 'the key of who asks');

-- grants: by a key that is good, with its fields; by no other
SELECT set_config('cardx.user_id', 'bela', true);
SELECT is((SELECT count(*) FROM cardx.contact_save('new', card, key, 'l', '',
                                                   9)),
          0::bigint, format('%s is not opened by %s', card, key))
FROM (VALUES ('card-a', '\x04'::bytea), ('card-b', '\x01'),
             ('card-a', '\x03')) v (card, key);
SELECT is((SELECT count(*) FROM cardx.grants), 0::bigint, 'no grant of that');
SELECT is((SELECT state FROM cardx.contact_save('new', 'card-a', '\x02', 'l',
                                                '', 9)), 'new', 'saved');
SELECT is((SELECT state FROM cardx.contact_save('again', 'card-a', '\x02',
                                                'l', '', 9)),
          'there', 'once');
SELECT is(cardx.grant_fields('card-a', 'bela'), '{phones/w}'::text[],
          'what the key shows');
SELECT is((SELECT state FROM cardx.contact_save('again', 'card-a', '\x01',
                                                'l', '', 9)),
          'there', 'another key');
SELECT is((SELECT count(*) FROM cardx.grant_fields('card-a', 'bela')),
          1::bigint, 'there is a union');
SELECT is(cardx.grant_fields('card-a', 'bela'), NULL, 'of all');

SELECT cardx.grant_end('card-a', 'bela', 'key', 'key-a');
SELECT cardx.grant_add('card-a', 'bela', 'circle', 'o', '{emails,phones}');
SELECT is(cardx.grant_fields('card-a', 'bela'), '{emails,phones}'::text[],
          'canonical: what is within another is left out');
SELECT is((SELECT count(*) FROM cardx.grant_fields('card-a', 'carl')),
          0::bigint, 'nobody sees without a grant');
SELECT is((SELECT card FROM cardx.contact_read('contact-c', NULL, false, 1)),
          NULL, 'not one who has an entry for it either');

-- the log
SELECT ok(EXISTS (SELECT FROM cardx.user_log l
                  WHERE l.user_id = 'bela' AND l.kind = 'contact'
                      AND l.object_id = 'new' AND l.op = 'put'),
          'what is saved is logged');

-- taking back
SELECT ok(NOT cardx.card_take_back('card-a', 'bela'), 'not by the holder');
SELECT set_config('cardx.user_id', 'anna', true);
SELECT is((SELECT ways FROM cardx.card_holders('card-a', NULL, 10)),
          '["circle", "key"]', 'who holds it, by which ways');
SELECT ok(NOT cardx.card_take_back('card-a', 'carl'),
          'nobody that never held it');
DELETE FROM cardx.user_log;
SELECT ok(cardx.card_take_back('card-a', 'bela'), 'taken back');
SELECT is((SELECT count(*) FROM cardx.grants), 0::bigint, 'no grant is left');
SELECT ok(EXISTS (SELECT FROM cardx.user_log l
                  WHERE l.user_id = 'bela' AND l.object_id = 'new'),
          'the holder''s log says so');
SELECT ok(NOT cardx.grant_add('card-a', 'bela', via, 's', NULL),
          via || ' makes no grant any more')
FROM unnest(ARRAY['key', 'exchange', 'delivery', 'circle', 'match', 'share'])
    via;
SELECT ok(cardx.card_take_back('card-a', 'bela'), 'again is no harm');
SELECT is((SELECT count(*) FROM cardx.card_blocks('card-a', NULL, 9)), 1::bigint,
          'one block');
SELECT ok(cardx.block_lift('card-a', 'bela'), 'lifted');
SELECT is((SELECT count(*) FROM cardx.grants), 0::bigint,
          'which gives nothing back');
SELECT ok(cardx.grant_add('card-a', 'bela', 'share', 's', NULL),
          'but grants can be made again');
SELECT ok(NOT cardx.grant_add('card-a', 'anna', 'share', 's', NULL),
          'not for the owner');

-- many grants end by one statement: each holder is told, those of a deleted
-- card are not
SELECT ok(cardx.grant_add('card-a', 'carl', 'share', 's', NULL),
          'another holder');
DELETE FROM cardx.user_log;
DELETE FROM cardx.outbox;
DELETE FROM cardx.grants WHERE card_id = 'card-a';
SELECT is((SELECT string_agg(l.user_id || ' ' || l.op, ', '
                             ORDER BY l.user_id)
           FROM cardx.user_log l), 'bela put, carl put', 'all are told');
SELECT is((SELECT count(*) FROM cardx.outbox o WHERE o.effect = 'wake'),
          2::bigint, 'and woken');
SELECT ok(cardx.grant_add('card-a', 'bela', 'share', 's', NULL), 'once more');
UPDATE cardx.cards SET deleted_at = now() WHERE card_id = 'card-a';
SELECT is((SELECT count(*) FROM cardx.grant_fields('card-a', 'bela')),
          0::bigint, 'a deleted card is seen by nobody');
DELETE FROM cardx.user_log;
DELETE FROM cardx.grants WHERE card_id = 'card-a';
SELECT is((SELECT count(*) FROM cardx.user_log), 0::bigint,
          'its grants go in silence');
SELECT ok(NOT cardx.grant_add('card-a', 'carl', 'share', 's', NULL),
          'nor given');

-- the card's row goes: the entry stays
DELETE FROM cardx.cards WHERE card_id = 'card-a';
SELECT is((SELECT card_id FROM cardx.contacts WHERE contact_id = 'new'), NULL,
          'the entry follows nothing');
SELECT is((SELECT owner_id FROM cardx.contacts WHERE contact_id = 'new'),
          NULL, 'and knows no owner');

SELECT * FROM finish();

ROLLBACK;
