-- Revert cardx:card_calls from pg

BEGIN;

DROP FUNCTION cardx.media_chunk_range(text, integer, integer);
DROP FUNCTION cardx.medium_vcard(text);
DROP FUNCTION cardx.medium_fetch(text);
DROP FUNCTION cardx.thumbnail_store(text, bytea);
DROP FUNCTION cardx.thumbnail_picture(text, text);
DROP FUNCTION cardx.thumbnail_source(text);
DROP FUNCTION cardx.thumbnail_fetch(text);
DROP FUNCTION cardx.redirect_fetch(bytea, boolean);
DROP FUNCTION cardx.card_fetch(text, bytea);

COMMIT;
