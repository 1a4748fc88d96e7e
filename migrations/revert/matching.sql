-- Revert cardx:matching from pg

BEGIN;

DELETE FROM cardx.outbox WHERE effect = 'match';

DROP FUNCTION cardx.match_sweep, cardx.match_more, cardx.match_next,
    cardx.match_compare, cardx.match_give, cardx.match_withdraw,
    cardx.match_look, cardx.match_rehash, cardx.match_stale,
    cardx.match_retry, cardx.match_write, cardx.match_count, cardx.match_room,
    cardx.match_me, cardx.match_account, cardx.own_card;
DROP TABLE cardx.match_entries, cardx.match_waiting, cardx.matches,
    cardx.match_todo, cardx.match_seen, cardx.match_quota;
ALTER TABLE cardx.users DROP COLUMN match_on, DROP COLUMN match_fields,
    DROP COLUMN match_epoch, DROP COLUMN match_all;

COMMIT;
