-- Deploy cardx:fanout_calls to pg
--
-- What the workers fanout and deliver run.  Their role reads no table but the
-- outbox: it sees no password and no address book, and of phone numbers what a
-- message in hand goes to and what books are matched by.

BEGIN;

CREATE INDEX media_replaced ON cardx.media (replaced_at)
    WHERE replaced_at IS NOT NULL;
CREATE INDEX cards_deleted ON cardx.cards (deleted_at)
    WHERE deleted_at IS NOT NULL;

-- What stands outside the projected card and may have changed since the
-- effect was asked for: keys ("expires" is 0 when they open nothing more).
CREATE FUNCTION cardx.fanout_card(wanted text)
    RETURNS TABLE (key_hash bytea, expires bigint, view text)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        SELECT k.key_hash,
            CASE WHEN k.revoked_at IS NULL AND c.deleted_at IS NULL
                THEN ceil(extract(epoch FROM k.expires_at))::bigint
                ELSE 0 END,
            k.view
        FROM cardx.cards c
        JOIN cardx.card_keys k USING (card_id)
        LEFT JOIN cardx.outbox o
            ON o.effect = 'card' AND o.object = c.card_id
        WHERE c.card_id = wanted AND k.expires_at > now()
            AND (c.deleted_at IS NOT NULL
                OR greatest(k.drawn_at, k.revoked_at)
                    > coalesce(o.created_at, now()) - interval '1 minute');
    END;

-- True: the terminal gives no access (any more).
CREATE FUNCTION cardx.fanout_terminal_gone(its_user text, wanted integer)
    RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    RETURN NOT EXISTS (
        SELECT FROM cardx.terminals t
        WHERE t.terminal_id = wanted AND t.user_id = its_user
            AND t.signed_out_at IS NULL);

-- Adds a batch of counted scans, once; `names` are the first 16 bytes of a
-- key's hash.  The caller holds the row of fanout_state.
CREATE FUNCTION cardx.fanout_scans(names bytea[], counts bigint[])
    RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        -- in one order for all who lock several
        WITH counted AS MATERIALIZED (
            SELECT k.key_id, b.count
            FROM unnest(names, counts) AS b (name, count)
            JOIN cardx.card_keys k ON k.key_hash >= b.name
                AND k.key_hash
                    < b.name || '\xffffffffffffffffffffffffffffffffff'
                AND substr(k.key_hash, 1, 16) = b.name
            ORDER BY k.key_id
            FOR NO KEY UPDATE OF k)
        UPDATE cardx.card_keys k
        SET scans = k.scans + c.count
        FROM counted c
        WHERE k.key_id = c.key_id;
    END;

-- A rebuild reads these in pages, each after the last one's name; `card` is
-- null for one that was deleted.
CREATE FUNCTION cardx.rebuild_cards(after text, page integer)
    RETURNS TABLE (card_id text, revision bigint, card text, media text,
                   keys text)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        SELECT p.card_id, c.revision, CASE WHEN NOT c.deleted THEN c.card END,
            c.media, c.keys
        FROM (SELECT DISTINCT k.card_id
              FROM cardx.card_keys k
              WHERE k.card_id > after AND k.expires_at > now()
                  AND k.revoked_at IS NULL
              ORDER BY k.card_id
              LIMIT page) p,
            cardx.card_projection(p.card_id) c
        ORDER BY p.card_id;
    END;

CREATE FUNCTION cardx.rebuild_cards_total() RETURNS bigint
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    RETURN (SELECT count(DISTINCT k.card_id) FROM cardx.card_keys k
            WHERE k.expires_at > now() AND k.revoked_at IS NULL);

CREATE FUNCTION cardx.rebuild_tokens(after bytea, page integer)
    RETURNS TABLE (token_hash bytea, user_id text, terminal_id integer,
                   expires bigint)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        SELECT a.token_hash, a.user_id, a.terminal_id,
            floor(extract(epoch FROM a.expires_at))::bigint
        FROM cardx.access_tokens a
        JOIN cardx.terminals t USING (terminal_id)
        WHERE a.token_hash > after AND a.expires_at > now()
            AND t.signed_out_at IS NULL
        ORDER BY a.token_hash
        LIMIT page;
    END;

CREATE FUNCTION cardx.rebuild_thumbnails(after text, page integer)
    RETURNS TABLE (thumbnail_id text, image bytea)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        SELECT t.thumbnail_id, t.image
        FROM cardx.thumbnails t
        JOIN cardx.cards c USING (card_id)
        WHERE t.thumbnail_id > after AND t.image IS NOT NULL
            AND c.deleted_at IS NULL
        ORDER BY t.thumbnail_id
        LIMIT page;
    END;

-- Takes a message in hand.  A gateway has no idempotency: what is found in
-- 'sending' may have gone out, and is never sent again.  verdict: 'send',
-- 'doubtful', 'expired', or no row: nothing to do.
CREATE FUNCTION cardx.sms_take(wanted text)
    RETURNS TABLE (verdict text, recipient text, sealed_text bytea)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s cardx.sms;
BEGIN
    SELECT * INTO s FROM cardx.sms m
    WHERE m.sms_id = wanted AND m.state IN ('queued', 'sending')
    FOR UPDATE;

    IF NOT FOUND THEN
        RETURN;
    END IF;

    IF s.state = 'sending' THEN
        UPDATE cardx.sms m
        SET state = 'doubtful', sealed_text = NULL, changed_at = now()
        WHERE m.sms_id = wanted;
        RETURN QUERY SELECT 'doubtful', NULL::text, NULL::bytea;

    ELSIF s.expires_at <= now() OR s.sealed_text IS NULL THEN
        UPDATE cardx.sms m
        SET state = 'failed', sealed_text = NULL, changed_at = now()
        WHERE m.sms_id = wanted;
        RETURN QUERY SELECT 'expired', NULL::text, NULL::bytea;

    ELSE
        UPDATE cardx.sms m SET state = 'sending', changed_at = now()
        WHERE m.sms_id = wanted;
        RETURN QUERY SELECT 'send', s.recipient, s.sealed_text;
    END IF;
END
$$;

-- What became of it; 'queued': the gateway was certainly not called.
CREATE FUNCTION cardx.sms_settle(wanted text, outcome text)
    RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        UPDATE cardx.sms m
        SET state = outcome, changed_at = now(),
            sealed_text = CASE WHEN outcome = 'queued' THEN m.sealed_text END
        WHERE m.sms_id = wanted
            AND (m.state = 'sending'
                OR (m.state = 'doubtful' AND outcome <> 'queued'));
    END;

-- Deletes what has had its time, at most `page` rows of each kind; returns
-- how many went.
CREATE FUNCTION cardx.sweep(page integer) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    n bigint;
    total bigint := 0;
BEGIN
    DELETE FROM cardx.access_tokens WHERE token_hash IN (
        SELECT a.token_hash FROM cardx.access_tokens a
        WHERE a.expires_at < now()
        LIMIT page FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS n = ROW_COUNT;
    total := total + n;

    DELETE FROM cardx.refresh_tokens WHERE token_hash IN (
        SELECT r.token_hash FROM cardx.refresh_tokens r
        WHERE r.expires_at < now()
        LIMIT page FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS n = ROW_COUNT;
    total := total + n;

    DELETE FROM cardx.registrations WHERE registration_id IN (
        SELECT r.registration_id FROM cardx.registrations r
        WHERE r.expires_at < now() - interval '1 day'
        LIMIT page FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS n = ROW_COUNT;
    total := total + n;

    DELETE FROM cardx.sms WHERE sms_id IN (
        SELECT s.sms_id FROM cardx.sms s
        WHERE s.created_at < now() - interval '7 days'
        LIMIT page FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS n = ROW_COUNT;
    total := total + n;

    DELETE FROM cardx.idempotency WHERE (scope, key_hash) IN (
        SELECT i.scope, i.key_hash FROM cardx.idempotency i
        WHERE i.created_at < now() - interval '24 hours'
        LIMIT page FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS n = ROW_COUNT;
    total := total + n;

    DELETE FROM cardx.card_keys WHERE key_id IN (
        SELECT k.key_id FROM cardx.card_keys k
        WHERE k.expires_at < now() - interval '30 days'
        LIMIT page FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS n = ROW_COUNT;
    total := total + n;

    -- a medium may be 20 MiB, and takes its chunks along
    DELETE FROM cardx.media WHERE media_id IN (
        SELECT m.media_id FROM cardx.media m
        WHERE m.replaced_at < now() - interval '1 hour'
        LIMIT least(page, 20) FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS n = ROW_COUNT;
    total := total + n;

    -- a card may have more holders than one statement can take along
    DELETE FROM cardx.grants g USING (
        SELECT h.card_id, h.holder_id, h.via, h.source
        FROM cardx.cards c
        JOIN cardx.grants h USING (card_id)
        WHERE c.deleted_at < now() - interval '1 day'
            AND NOT EXISTS (SELECT FROM cardx.outbox o
                            WHERE o.effect = 'holders'
                                AND o.object = c.card_id)
        LIMIT 10 * page FOR UPDATE OF h SKIP LOCKED) gone
    WHERE (g.card_id, g.holder_id, g.via, g.source)
        = (gone.card_id, gone.holder_id, gone.via, gone.source);
    GET DIAGNOSTICS n = ROW_COUNT;
    total := total + n;

    -- with everything that belongs to it; not before it is told
    DELETE FROM cardx.cards WHERE card_id IN (
        SELECT c.card_id FROM cardx.cards c
        WHERE c.deleted_at < now() - interval '1 day'
            AND NOT EXISTS (SELECT FROM cardx.grants g
                            WHERE g.card_id = c.card_id)
            AND NOT EXISTS (SELECT FROM cardx.outbox o
                            WHERE o.effect IN ('card', 'holders')
                                AND o.object = c.card_id)
        LIMIT least(page, 20) FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS n = ROW_COUNT;

    RETURN total + n;
END
$$;

CALL cardx.let_call('cardx_fanout', 'fanout_card', 'fanout_terminal_gone',
    'fanout_scans', 'rebuild_cards', 'rebuild_cards_total', 'rebuild_tokens',
    'rebuild_thumbnails', 'sms_take', 'sms_settle', 'sweep');

COMMIT;
