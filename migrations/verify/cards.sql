-- Verify cardx:cards on pg

BEGIN;

SELECT card_id, user_id, card, revision, picture_version, deleted_at
FROM cardx.cards WHERE false;
SELECT media_id, card_id, kind, type, bytes, vcard_jpeg, replaced_at
FROM cardx.media WHERE false;
SELECT media_id, seq, data FROM cardx.media_chunks WHERE false;
SELECT key_id, key_hash, fields, view, expires_at, revoked_at
FROM cardx.card_keys WHERE false;
SELECT card_id, holder_id, via, source, fields FROM cardx.grants WHERE false;
SELECT thumbnail_id, view, picture_version, image FROM cardx.thumbnails
WHERE false;
SELECT thumbnail_id, card_id, user_id FROM cardx.gone_thumbnails WHERE false;
SELECT card_id, image FROM cardx.own_thumbnails WHERE false;
SELECT card_id, revision, object FROM cardx.card_objects WHERE false;

SELECT 1 / (count(*) = 8)::integer FROM pg_class
WHERE relnamespace = 'cardx'::regnamespace AND relforcerowsecurity
    AND relname IN ('cards', 'media', 'media_chunks', 'card_keys', 'grants',
                    'thumbnails', 'gone_thumbnails', 'own_thumbnails');

ROLLBACK;
