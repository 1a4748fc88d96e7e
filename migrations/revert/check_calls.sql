-- Revert cardx:check_calls from pg

BEGIN;

DROP FUNCTION cardx.check_thumbnail(text);
DROP FUNCTION cardx.check_token(bytea);
DROP FUNCTION cardx.check_key(bytea);
DROP FUNCTION cardx.check_thumbnails(text, integer);
DROP FUNCTION cardx.check_cards(text, integer);

COMMIT;
