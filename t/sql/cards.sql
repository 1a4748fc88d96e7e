-- Another user's cards, and all that hangs on them, can't be read, written or
-- taken over by the workers' role (row-level security, migration `cards`).

BEGIN;
\ir begin.psql

SELECT plan(54);

INSERT INTO cardx.users (user_id, phone, password, data_key)
VALUES ('anna', '+4930111111', 'x', 'x'), ('bela', '+4930222222', 'x', 'x'),
       ('carl', '+4930333333', 'x', 'x');
INSERT INTO cardx.cards (card_id, user_id, card)
VALUES ('card-a', 'anna', '{"name": {"full": "Anna"}}'),
       ('card-b', 'bela', '{"name": {"full": "Bela"}}');
UPDATE cardx.users SET own_card_id = 'card-a' WHERE user_id = 'anna';
INSERT INTO cardx.media (media_id, card_id, user_id, kind, type, bytes)
VALUES ('medium-a', 'card-a', 'anna', 'photo', 'image/png', 3);
INSERT INTO cardx.media_chunks (media_id, seq, data)
VALUES ('medium-a', 0, 'abc');
INSERT INTO cardx.card_keys (key_id, card_id, user_id, key_hash, view,
                             expires_at)
VALUES ('key-a', 'card-a', 'anna', '\x01', '', now() + interval '1 hour');
INSERT INTO cardx.grants (card_id, holder_id, via, source, owner_id)
VALUES ('card-a', 'carl', 'key', 'key-a', 'anna');
INSERT INTO cardx.thumbnails (thumbnail_id, card_id, user_id, view,
                              picture_version)
VALUES ('thumbnail-a', 'card-a', 'anna', '', 1);
INSERT INTO cardx.gone_thumbnails (thumbnail_id, card_id, user_id)
VALUES ('thumbnail-0', 'card-a', 'anna');
INSERT INTO cardx.own_thumbnails (card_id, user_id, image)
VALUES ('card-a', 'anna', 'abc');

-- reading: the owner sees the row, another user and nobody see none
SELECT is(pg_temp.as_user(who, format('SELECT FROM cardx.%I', name)),
          CASE WHEN who = 'anna' THEN '1'
               WHEN who = 'bela' AND name = 'cards' THEN '1' -- their own
               ELSE '0' END,
          format('%s reads %s', coalesce(nullif(who, ''), 'nobody'), name))
FROM unnest(ARRAY['anna', 'bela', '']) who,
    unnest(ARRAY['cards', 'media', 'media_chunks', 'card_keys', 'thumbnails',
                 'gone_thumbnails', 'own_thumbnails']) name;

SELECT is(pg_temp.as_user(who, 'SELECT FROM cardx.grants'), seen,
          who || ' reads grants')
FROM (VALUES ('anna', '1'), ('bela', '0'), ('carl', '1')) v (who, seen);

SELECT is(pg_temp.as_user('bela',
              'SELECT FROM cardx.cards WHERE card_id = ''card-a'''),
          '0', 'not by its id either');

-- locking, changing, deleting: the row is not there for another user
SELECT is(pg_temp.as_user('bela', statement), '0',
          pg_temp.one_line(statement))
FROM unnest(ARRAY[
    'SELECT FROM cardx.cards WHERE card_id = ''card-a'' FOR UPDATE',
    'UPDATE cardx.cards SET card = ''{}'' WHERE card_id = ''card-a''',
    'DELETE FROM cardx.cards WHERE card_id = ''card-a''',
    'UPDATE cardx.media SET replaced_at = now()',
    'DELETE FROM cardx.media',
    'DELETE FROM cardx.media_chunks',
    'UPDATE cardx.card_keys SET expires_at = now()',
    'DELETE FROM cardx.card_keys',
    'DELETE FROM cardx.grants',
    'UPDATE cardx.thumbnails SET image = ''x''',
    'DELETE FROM cardx.thumbnails',
    'DELETE FROM cardx.gone_thumbnails',
    'UPDATE cardx.own_thumbnails SET image = ''x''',
    'DELETE FROM cardx.own_thumbnails',
    'UPDATE cardx.users SET own_card_id = NULL WHERE user_id = ''anna'''
]) statement;

-- putting rows under another user, or giving one's own away: refused
SELECT is(pg_temp.as_user('bela', statement), '42501',
          pg_temp.one_line(statement))
FROM unnest(ARRAY[
    'INSERT INTO cardx.cards (card_id, user_id, card)
     VALUES (''card-x'', ''anna'', ''{}'')',
    'UPDATE cardx.cards SET user_id = ''anna'' WHERE card_id = ''card-b''',
    'INSERT INTO cardx.media_chunks (media_id, seq, data)
     VALUES (''medium-a'', 1, ''x'')',
    'UPDATE cardx.media_chunks SET data = ''x''',
    'INSERT INTO cardx.card_keys (key_id, card_id, user_id, key_hash, view,
                                  expires_at)
     VALUES (''key-x'', ''card-b'', ''anna'', ''x'', '''', now())',
    'INSERT INTO cardx.own_thumbnails (card_id, user_id, image)
     VALUES (''card-b'', ''anna'', ''x'')',
    'INSERT INTO cardx.thumbnails (thumbnail_id, card_id, user_id, view,
                                   picture_version)
     VALUES (''thumbnail-x'', ''card-b'', ''anna'', '''', 9)'
]) statement;

-- hanging one's own rows on another's card: no key, no medium of theirs
SELECT is(pg_temp.as_user('bela', statement), '23503',
          pg_temp.one_line(statement))
FROM unnest(ARRAY[
    'INSERT INTO cardx.card_keys (key_id, card_id, user_id, key_hash, view,
                                  expires_at)
     VALUES (''key-y'', ''card-a'', ''bela'', ''y'', '''',
             now() + interval ''1 day'')',
    'INSERT INTO cardx.media (media_id, card_id, user_id, kind, type, bytes)
     VALUES (''medium-y'', ''card-a'', ''bela'', ''logo'', ''image/png'', 1)',
    'INSERT INTO cardx.thumbnails (thumbnail_id, card_id, user_id, view,
                                   picture_version)
     VALUES (''thumbnail-y'', ''card-a'', ''bela'', '''', 9)',
    'UPDATE cardx.users SET own_card_id = ''card-a'' WHERE user_id = ''bela'''
]) statement;

-- the workers' role can't give itself a grant, nor see the outbox
SELECT is(pg_temp.as_user('bela', statement), '42501',
          pg_temp.one_line(statement))
FROM unnest(ARRAY[
    'INSERT INTO cardx.grants (card_id, holder_id, via, source, owner_id)
     VALUES (''card-a'', ''bela'', ''key'', ''key-a'', ''anna'')',
    'SELECT FROM cardx.outbox',
    'ALTER TABLE cardx.cards DISABLE ROW LEVEL SECURITY'
]) statement;

SELECT * FROM finish();
ROLLBACK;
