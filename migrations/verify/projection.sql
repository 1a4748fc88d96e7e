-- Verify cardx:projection on pg

BEGIN;

SELECT revision, deleted, card, media, keys FROM cardx.card_projection('');

ROLLBACK;
