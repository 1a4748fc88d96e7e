-- Revert cardx:cards from pg

BEGIN;

DROP VIEW cardx.card_objects;
ALTER TABLE cardx.users DROP CONSTRAINT users_own_card;
DROP TABLE cardx.own_thumbnails, cardx.gone_thumbnails, cardx.thumbnails,
    cardx.grants, cardx.card_keys, cardx.media_chunks, cardx.media,
    cardx.cards;

COMMIT;
