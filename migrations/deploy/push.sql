-- Deploy cardx:push to pg
--
-- Web Push (F9, RFC 8030): where a terminal wants to be told of changes.
-- What is pushed is a view of the user's log, from `position` on.

BEGIN;

CREATE TABLE cardx.push_subscriptions (
    subscription_id text COLLATE "C" PRIMARY KEY,
    user_id text COLLATE "C" NOT NULL REFERENCES cardx.users ON DELETE CASCADE,
    terminal_id integer NOT NULL UNIQUE
        REFERENCES cardx.terminals ON DELETE CASCADE,
    origin text NOT NULL,               -- of the push service
    endpoint_hash bytea NOT NULL UNIQUE,
    sealed bytea NOT NULL,              -- the endpoint and its two keys
    position xid8 NOT NULL DEFAULT pg_current_xact_id(),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz
);
CREATE INDEX push_subscriptions_user
    ON cardx.push_subscriptions (user_id, created_at, subscription_id);
COMMENT ON COLUMN cardx.push_subscriptions.position IS
    'Changes of the log from this transaction on have not been pushed';

CALL cardx.protect('push_subscriptions');
CALL cardx.show_own('push_subscriptions');
GRANT SELECT, DELETE ON cardx.push_subscriptions TO cardx_api;

-- One for each terminal.  Who has an endpoint is its browser's present user:
-- a subscription of somebody else with it ends.
CREATE FUNCTION cardx.push_subscribe(
    its_id text, its_terminal integer, its_origin text, its_hash bytea,
    its_sealed bytea, its_end timestamptz,
    OUT subscription_id text, OUT created boolean)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    PERFORM FROM cardx.terminals t
    WHERE t.terminal_id = its_terminal
        AND t.user_id = cardx.current_user_id() AND t.signed_out_at IS NULL
    FOR NO KEY UPDATE;

    IF NOT FOUND THEN
        RETURN;
    END IF;

    PERFORM pg_advisory_xact_lock(
        hashtextextended('push ' || encode(its_hash, 'hex'), 0));

    DELETE FROM cardx.push_subscriptions s
    WHERE s.endpoint_hash = its_hash AND s.terminal_id <> its_terminal;

    INSERT INTO cardx.push_subscriptions AS s
        (subscription_id, user_id, terminal_id, origin, endpoint_hash, sealed,
         expires_at)
    VALUES (its_id, cardx.current_user_id(), its_terminal, its_origin,
            its_hash, its_sealed, its_end)
    ON CONFLICT (terminal_id) DO UPDATE
        SET subscription_id = excluded.subscription_id,
            user_id = excluded.user_id, origin = excluded.origin,
            endpoint_hash = excluded.endpoint_hash,
            sealed = excluded.sealed, position = pg_current_xact_id(),
            created_at = now(), expires_at = excluded.expires_at
    RETURNING s.subscription_id, s.xmax = 0
    INTO push_subscribe.subscription_id, push_subscribe.created;
END
$$;

-- Asks for pushes to users in whose logs something has been written, and is
-- decided: their rows of the outbox are not for a change to wait for.
CREATE FUNCTION cardx.push_ask(users text[]) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        SELECT cardx.outbox_add('push', s.subscription_id)
        FROM (SELECT w.subscription_id
              FROM cardx.push_subscriptions w
              WHERE w.user_id = ANY (users)
              ORDER BY w.subscription_id) s;
    END;

-- What is to be pushed: at most 20 changes, and whether there are more.  For a
-- change that is still in the making it is asked again, so `up_to` is where
-- the next push begins; one may be told twice, none is skipped.  No row:
-- nobody is to be told (any more).  A position at or above xmax is of another
-- database: nothing of the log has been told in this one.
CREATE FUNCTION cardx.push_take(wanted text)
    RETURNS TABLE (sealed bytea, origin text, up_to text, changes text,
                   more boolean)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        WITH now AS MATERIALIZED (
            SELECT pg_snapshot_xmax(pg_current_snapshot()) AS foreign_from)
        SELECT s.sealed, s.origin,
            pg_snapshot_xmin(pg_current_snapshot())::text,
            (SELECT coalesce(jsonb_agg(jsonb_build_object(
                    'kind', c.kind, 'id', c.object_id, 'op', c.op)
                    ORDER BY c.xid, c.kind, c.object_id), '[]')::text
             FROM (SELECT l.kind, l.object_id, l.op, l.xid
                   FROM cardx.user_log l
                   WHERE l.user_id = s.user_id AND l.xid >= f.position
                       AND l.xid < f.foreign_from
                   ORDER BY l.xid, l.kind, l.object_id
                   LIMIT 20) c),
            (SELECT count(*) > 20
             FROM (SELECT FROM cardx.user_log l
                   WHERE l.user_id = s.user_id AND l.xid >= f.position
                       AND l.xid < f.foreign_from
                   LIMIT 21) c)
        FROM cardx.push_subscriptions s
        JOIN cardx.terminals t USING (terminal_id)
        CROSS JOIN LATERAL (
            SELECT now.foreign_from, CASE WHEN s.position < now.foreign_from
                THEN s.position ELSE '0' END AS position
            FROM now) f
        WHERE s.subscription_id = wanted AND t.signed_out_at IS NULL
            AND (s.expires_at IS NULL OR s.expires_at > now());
    END;

CREATE FUNCTION cardx.push_settle(wanted text, up_to text) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        UPDATE cardx.push_subscriptions s SET position = up_to::xid8
        WHERE s.subscription_id = wanted
            AND (s.position < up_to::xid8
                 OR s.position >= pg_snapshot_xmax(pg_current_snapshot()));
    END;

-- The push service knows it no longer.
CREATE FUNCTION cardx.push_end(wanted text) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        DELETE FROM cardx.push_subscriptions s
        WHERE s.subscription_id = wanted;
    END;

CALL cardx.let_call('cardx_api', 'push_subscribe');
CALL cardx.let_call('cardx_fanout', 'push_take', 'push_settle', 'push_end');
CALL cardx.let_call(NULL, 'push_ask');

COMMIT;
