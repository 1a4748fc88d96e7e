-- Deploy cardx:data_keys to pg
-- requires: match_changes fanout_calls
--
-- What `cardx-fanout SETTINGS rewrap` asks: another master key takes the place
-- of the one that wraps users' data keys.

BEGIN;

-- The data keys of some users, by id; an erased account has none.
CREATE FUNCTION cardx.data_keys(after text, page integer)
    RETURNS TABLE (user_id text, data_key bytea)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        SELECT u.user_id, u.data_key
        FROM cardx.users u
        WHERE u.user_id > after AND u.data_key <> ''
        ORDER BY u.user_id
        LIMIT page;
    END;

-- Wraps one anew, unless it is another one by now: whether it did.  Pairs are
-- hashed under the master key too, and so the book is looked at again.
CREATE FUNCTION cardx.data_key_put(its_user text, was bytea, becomes bytea)
    RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE cardx.users u SET data_key = becomes
    WHERE u.user_id = its_user AND u.data_key = was;

    IF NOT found THEN
        RETURN false;
    END IF;

    PERFORM cardx.match_again(its_user);
    RETURN true;
END
$$;

CALL cardx.let_call('cardx_fanout', 'data_keys', 'data_key_put');

COMMIT;
