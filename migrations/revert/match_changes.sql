-- Revert cardx:match_changes from pg

BEGIN;

DROP TRIGGER match_unblocked ON cardx.blocks;
DROP TRIGGER match_user ON cardx.users;
DROP FUNCTION cardx.match_unblocked, cardx.match_again, cardx.match_user,
    cardx.match_narrow;

COMMIT;
