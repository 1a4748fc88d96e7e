-- Deploy cardx:account_erase to pg
--
-- Deletion of an account (F8).  What is left for a day is a husk: ids without
-- content, that stand until every edge has been told.

BEGIN;

ALTER TABLE cardx.users ADD COLUMN erased_at timestamptz;
COMMENT ON COLUMN cardx.users.erased_at IS
    'Deleted then: a row without content, until its cards are swept';
CREATE INDEX users_erased ON cardx.users (erased_at)
    WHERE erased_at IS NOT NULL;
GRANT SELECT (erased_at) ON cardx.users TO cardx_api;
CREATE INDEX sms_recipient ON cardx.sms (recipient);

-- Locks the current user's account, if the password that was compared still
-- is its_password.  No row: it is not.  What must be denied at the edge:
CREATE FUNCTION cardx.account_erase_begin(its_password text)
    RETURNS TABLE (cards text[], terminals text[])
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    its_user text := cardx.current_user_id();
BEGIN
    PERFORM FROM cardx.users u
    WHERE u.user_id = its_user AND u.password = its_password
        AND u.erased_at IS NULL
    FOR UPDATE;

    IF NOT FOUND THEN
        RETURN;
    END IF;

    RETURN QUERY SELECT
        ARRAY(SELECT c.card_id FROM cardx.cards c
              WHERE c.user_id = its_user AND c.deleted_at IS NULL
              ORDER BY c.card_id),
        ARRAY(SELECT t.terminal_id::text FROM cardx.terminals t
              WHERE t.user_id = its_user AND t.signed_out_at IS NULL
              ORDER BY t.terminal_id);
END
$$;

-- Erases the rest, once the cards are.  Registrations stay for a day, as
-- counts of their address without the number, and of numbers of others that
-- it was tried to change to.  What the cards granted goes with their rows:
-- there may be very many of them, and they show nothing any more.
CREATE FUNCTION cardx.account_erase_end() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    its_user text := cardx.current_user_id();
    its_phone text;
BEGIN
    SELECT u.phone INTO its_phone FROM cardx.users u
    WHERE u.user_id = its_user;

    PERFORM cardx.terminal_sign_out(its_user, t.terminal_id)
    FROM cardx.terminals t
    WHERE t.user_id = its_user AND t.signed_out_at IS NULL
    ORDER BY t.terminal_id;

    UPDATE cardx.terminals t SET name = '' WHERE t.user_id = its_user;

    DELETE FROM cardx.grants g WHERE g.holder_id = its_user;
    DELETE FROM cardx.blocks b
    WHERE b.holder_id = its_user OR b.owner_id = its_user;
    DELETE FROM cardx.matches m WHERE its_user IN (m.lower_id, m.higher_id);
    DELETE FROM cardx.match_todo m WHERE its_user IN (m.user_id, m.peer_id);
    DELETE FROM cardx.match_entries m WHERE m.user_id = its_user;
    DELETE FROM cardx.match_waiting m WHERE m.user_id = its_user;
    DELETE FROM cardx.match_seen m WHERE m.user_id = its_user;
    DELETE FROM cardx.match_quota m WHERE m.user_id = its_user;
    DELETE FROM cardx.contacts c WHERE c.user_id = its_user;
    DELETE FROM cardx.approvals a WHERE a.user_id = its_user;
    DELETE FROM cardx.push_subscriptions s WHERE s.user_id = its_user;
    DELETE FROM cardx.idempotency i WHERE i.scope = its_user;
    -- who is trying just now may have locked the tries and wait for the user
    DELETE FROM cardx.password_tries p
    WHERE p.subject IN (
        SELECT q.subject FROM cardx.password_tries q
        WHERE q.subject IN (its_user, its_phone)
            OR q.subject IN (SELECT its_user || '/' || t.terminal_id
                             FROM cardx.terminals t
                             WHERE t.user_id = its_user)
        FOR UPDATE OF q SKIP LOCKED);
    DELETE FROM cardx.sms m WHERE m.recipient = its_phone;
    UPDATE cardx.registrations r
    SET phone = CASE WHEN r.phone = its_phone THEN '' ELSE r.phone END,
        user_id = NULL, finished_at = coalesce(finished_at, now())
    WHERE r.phone = its_phone OR r.user_id = its_user;

    UPDATE cardx.users u
    SET phone = NULL, password = '', nickname = NULL, own_card_id = NULL,
        locale = NULL, phone_lost_at = NULL, data_key = '',
        erased_at = now()
    WHERE u.user_id = its_user;

    -- last: what is above has written into them
    DELETE FROM cardx.user_log l WHERE l.user_id = its_user;
    DELETE FROM cardx.outbox o
    WHERE o.effect = 'match' AND o.object = its_user;
END
$$;

-- Husks whose cards have been swept.
CREATE FUNCTION cardx.sweep_erased(page integer) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    n bigint;
BEGIN
    DELETE FROM cardx.users WHERE user_id IN (
        SELECT u.user_id FROM cardx.users u
        WHERE u.erased_at < now() - interval '1 day'
            AND NOT EXISTS (SELECT FROM cardx.cards c
                            WHERE c.user_id = u.user_id)
            AND NOT EXISTS (SELECT FROM cardx.terminals t
                            JOIN cardx.outbox o ON o.effect = 'terminal'
                                AND o.object = u.user_id || '/'
                                    || t.terminal_id
                            WHERE t.user_id = u.user_id)
        LIMIT page FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS n = ROW_COUNT;

    RETURN n;
END
$$;

CALL cardx.let_call('cardx_api', 'account_erase_begin', 'account_erase_end');
CALL cardx.let_call('cardx_fanout', 'sweep_erased');

COMMIT;
