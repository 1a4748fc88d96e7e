-- Deploy cardx:match_changes to pg
--
-- What an account changes that decides with whom it is matched, and what they
-- see: what narrows is in force at once, the rest follows by and by.

BEGIN;

SET LOCAL lock_timeout = '2s';

-- What a user's card shows less, to those who know each other, is in force
-- when the change is; the rest follows by and by.
CREATE FUNCTION cardx.match_narrow(old cardx.users, new cardx.users)
    RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF (old.match_on, old.match_fields, old.own_card_id)
        IS NOT DISTINCT FROM
       (new.match_on, new.match_fields, new.own_card_id)
    THEN
        RETURN;
    END IF;

    -- as who compares the user's book with another has it
    PERFORM pg_advisory_xact_lock(hashtextextended('match ' || new.user_id,
                                                   0));

    DELETE FROM cardx.grants g
    WHERE g.owner_id = new.user_id AND g.via = 'match'
        AND (NOT new.match_on
             OR (new.own_card_id IS DISTINCT FROM old.own_card_id
                 AND g.card_id IS DISTINCT FROM new.own_card_id));

    UPDATE cardx.grants g SET fields = new.match_fields
    WHERE g.owner_id = new.user_id AND g.via = 'match'
        AND g.fields IS DISTINCT FROM new.match_fields;
END
$$;

-- Whatever decides who is matched with what has everything looked at again.
CREATE FUNCTION cardx.match_user() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF new.phone IS DISTINCT FROM old.phone THEN
        new.match_epoch := old.match_epoch + 1;
    END IF;

    IF (new.match_on, new.match_fields)
        IS DISTINCT FROM (old.match_on, old.match_fields)
    THEN
        PERFORM cardx.log_add(new.user_id, 'account', new.user_id, 'put');
    END IF;

    PERFORM cardx.match_narrow(old, new);
    new.match_all := true;
    PERFORM cardx.outbox_add('match', new.user_id);
    RETURN new;
END
$$;

CREATE TRIGGER match_user
    BEFORE UPDATE OF phone, own_card_id, match_on, match_fields ON cardx.users
    FOR EACH ROW WHEN (
        (old.phone, old.own_card_id, old.match_on, old.match_fields)
            IS DISTINCT FROM
        (new.phone, new.own_card_id, new.match_on, new.match_fields))
    EXECUTE FUNCTION cardx.match_user();

-- Has a user's whole book looked at: after a block was lifted, or all of them
-- after another master key was put in place.
CREATE FUNCTION cardx.match_again(its_user text) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        UPDATE cardx.users u SET match_all = true WHERE u.user_id = its_user;
        SELECT cardx.outbox_add('match', its_user);
    END;

-- Who knows each other may have the card again.
CREATE FUNCTION cardx.match_unblocked() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM cardx.cards c
               WHERE c.card_id = old.card_id AND c.deleted_at IS NULL)
    THEN
        PERFORM cardx.match_again(old.owner_id);
    END IF;

    RETURN NULL;
END
$$;

CREATE TRIGGER match_unblocked AFTER DELETE ON cardx.blocks
    FOR EACH ROW EXECUTE FUNCTION cardx.match_unblocked();

CALL cardx.let_call(NULL, 'match_narrow', 'match_user', 'match_again',
    'match_unblocked');

COMMIT;
