-- Revert cardx:contacts from pg

BEGIN;

DROP FUNCTION cardx.contact_sweep(integer);
DROP FUNCTION cardx.block_lift(text, text);
DROP FUNCTION cardx.card_take_back(text, text);
DROP FUNCTION cardx.card_blocks(text, text, integer);
DROP FUNCTION cardx.card_holders(text, text, integer);
DROP FUNCTION cardx.contact_medium(text, text);
DROP FUNCTION cardx.contact_part(text, text, text);
DROP FUNCTION cardx.contact_join(text, text);
DROP FUNCTION cardx.contact_save(text, text, bytea, bytea, bytea, integer);
DROP FUNCTION cardx.contact_thumbnail(text, text);
DROP FUNCTION cardx.contact_read(text, text, boolean, integer);
DROP TRIGGER log_delete ON cardx.grants;
DROP TRIGGER log_update ON cardx.grants;
DROP TRIGGER log_insert ON cardx.grants;
DROP FUNCTION cardx.log_grant();
DROP FUNCTION cardx.grant_fields(text, text);
DROP FUNCTION cardx.grant_end(text, text, text, text);
DROP FUNCTION cardx.grant_add(text, text, text, text, text[]);
DROP TABLE cardx.blocks;
DROP TABLE cardx.contact_media;
DROP TABLE cardx.contact_history;
DROP TABLE cardx.contacts;
DROP FUNCTION cardx.log_contact(), cardx.contact_unsee(),
    cardx.history_bound();

COMMIT;
