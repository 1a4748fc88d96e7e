-- Verify cardx:card_calls on pg

BEGIN;

SELECT granted, revision, view, fields, card, media, thumbnail_id
FROM cardx.card_fetch('', '');
SELECT granted, card_id, expires, view FROM cardx.redirect_fetch('', false);
SELECT image FROM cardx.thumbnail_fetch('');
SELECT card, fields, image FROM cardx.thumbnail_source('');
SELECT cardx.thumbnail_picture('', 'photo');
SELECT cardx.thumbnail_store('', '');
SELECT type, bytes FROM cardx.medium_fetch('');
SELECT cardx.medium_vcard('');
SELECT seq, data FROM cardx.media_chunk_range('', 0, 0);

-- all of them cross users, and none is for everybody
SELECT 1 / (count(*) = 9)::integer
FROM pg_proc p
WHERE p.pronamespace = 'cardx'::regnamespace AND p.prosecdef
    AND p.proowner = 'cardx_definer'::regrole
    AND p.proconfig = ARRAY['search_path=pg_catalog, pg_temp']
    AND has_function_privilege('cardx_api', p.oid, 'execute')
    AND p.proname IN ('card_fetch', 'redirect_fetch', 'thumbnail_fetch',
        'thumbnail_source', 'thumbnail_picture', 'thumbnail_store',
        'medium_fetch', 'medium_vcard', 'media_chunk_range');

ROLLBACK;
