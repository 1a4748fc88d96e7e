-- Deploy cardx:fan_out to pg
--
-- Telling those who are concerned (docs/changes.md).  Two effects: 'wake', one
-- row per user and transaction that wrote into the user's log; 'holders', a
-- card whose holders' logs have yet to be written.  Their rows are locked, not
-- leased: who is killed lets go of them at once.

BEGIN;

-- How far the fan-out of a card is.  It goes through holders in the order of
-- their ids, from `after` to the end, or to `until` on its last lap.  A card
-- that changes meanwhile needs one whole lap from there: `again`.  What a
-- chunk wrote is told when its transaction is decided for every reader.
CREATE TABLE cardx.fanouts (
    card_id text COLLATE "C" PRIMARY KEY,
    generation bigint NOT NULL,         -- of the outbox row
    after text COLLATE "C" NOT NULL DEFAULT '',
    until text COLLATE "C",             -- null: the end
    again text COLLATE "C",             -- then from the start to here
    written boolean NOT NULL DEFAULT false, -- nothing is left to write
    told_holders text[],                -- written, not told: their ...
    told_entries text[],                -- ... entries, ...
    xid xid8                            -- ... by this transaction; null: none
);
-- ids do not get shorter
ALTER TABLE cardx.fanouts ALTER COLUMN told_holders SET STORAGE EXTERNAL,
    ALTER COLUMN told_entries SET STORAGE EXTERNAL;
ALTER TABLE cardx.fanouts OWNER TO cardx_definer;

-- Takes users who are to be told out of the outbox, and asks for pushes to
-- them; they are back in it if the caller does not commit.  A line says which
-- change came before the ones that follow, "<xid>", and those, " <xid> <kind>
-- <op> <object>" each; nothing but the user's id if there are too many to
-- tell.  A row without a user: there are more that can not be told yet, since
-- a transaction that began before theirs has not ended.  What is at or above
-- xmax came with a dump of another database, and was decided there.
CREATE FUNCTION cardx.wakes_take(page integer, most integer)
    RETURNS TABLE (user_id text, line text)
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        WITH decided AS MATERIALIZED (
            SELECT pg_snapshot_xmin(pg_current_snapshot()) AS bound,
                pg_snapshot_xmax(pg_current_snapshot()) AS foreign_from),
        waiting AS MATERIALIZED (
            SELECT o.effect, o.object,
                split_part(o.object, '/', 2)::xid8 AS xid
            FROM cardx.outbox o
            WHERE o.effect = 'wake' AND o.due_at <= clock_timestamp()
            ORDER BY o.due_at
            LIMIT page),
        due AS MATERIALIZED (
            SELECT o.effect, o.object, w.xid
            FROM waiting w
            JOIN cardx.outbox o USING (effect, object)
            WHERE w.xid < (SELECT d.bound FROM decided d)
                OR w.xid >= (SELECT d.foreign_from FROM decided d)
            FOR UPDATE OF o SKIP LOCKED),
        gone AS (
            DELETE FROM cardx.outbox o
            USING due
            WHERE o.effect = due.effect AND o.object = due.object),
        woken AS (
            SELECT split_part(due.object, '/', 1) AS user_id,
                min(due.xid::text::bigint)::text::xid8 AS xid
            FROM due
            GROUP BY 1),
        changed AS (
            SELECT w.user_id, w.xid AS first, l.*
            FROM woken w
            CROSS JOIN LATERAL (
                SELECT l.xid, l.kind, l.op, l.object_id
                FROM cardx.user_log l
                WHERE l.user_id = w.user_id AND l.xid >= w.xid
                    AND l.xid < (SELECT d.bound FROM decided d)
                ORDER BY l.xid, l.kind, l.object_id
                LIMIT most + 1) l),
        told AS (
            SELECT c.user_id, c.first, count(*) AS n,
                string_agg(concat_ws(' ', c.xid, c.kind, c.op, c.object_id),
                           ' ' ORDER BY c.xid, c.kind, c.object_id) AS changes
            FROM changed c
            GROUP BY c.user_id, c.first),
        pushed AS (
            SELECT cardx.push_ask(array_agg(w.user_id)) FROM woken w)
        SELECT w.user_id,
            CASE WHEN t.n <= most THEN concat_ws(' ', coalesce((
                SELECT l.xid
                FROM cardx.user_log l
                WHERE l.user_id = w.user_id AND l.xid < t.first
                ORDER BY l.xid DESC
                LIMIT 1), '0'), t.changes) ELSE '' END
        FROM woken w
        CROSS JOIN pushed
        LEFT JOIN told t USING (user_id)
        UNION ALL
        SELECT NULL, NULL
        WHERE EXISTS (SELECT FROM waiting w
                      WHERE w.xid >= (SELECT d.bound FROM decided d)
                          AND w.xid < (SELECT d.foreign_from FROM decided d));
    END;

-- Users who could not be told are woken again in a second; of what, their logs
-- say.
CREATE FUNCTION cardx.wakes_postpone(users text[]) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        INSERT INTO cardx.outbox (effect, object, due_at)
        SELECT 'wake', u || '/' || pg_current_xact_id(),
            clock_timestamp() + interval '1 second'
        FROM (SELECT DISTINCT unnest(users)) AS w (u)
        ON CONFLICT (effect, object) DO NOTHING;
    END;

-- The next fan-out, locked; those that have not begun, or have only to tell,
-- come first, so that a small one waits for no more than a chunk of a large
-- one: for the one that is under way.  state: 'write';
-- 'tell' (and then write); 'wait': what is to be told first is not decided
-- for every reader yet.
CREATE FUNCTION cardx.fanout_take(OUT card_id text, OUT state text)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    row cardx.outbox;
    known bigint;
    undecided xid8;
BEGIN
    SELECT * INTO row FROM cardx.outbox o
    WHERE o.effect = 'holders' AND o.due_at <= clock_timestamp()
    ORDER BY o.attempts > 0 AND NOT EXISTS (
            SELECT FROM cardx.fanouts g
            WHERE g.card_id = o.object AND g.written
                AND g.xid < pg_snapshot_xmin(pg_current_snapshot())),
        o.due_at
    LIMIT 1
    FOR UPDATE SKIP LOCKED;

    IF NOT FOUND THEN
        RETURN;
    END IF;

    SELECT g.generation, g.xid INTO known, undecided
    FROM cardx.fanouts g
    WHERE g.card_id = row.object;

    IF known IS DISTINCT FROM row.generation THEN
        INSERT INTO cardx.fanouts AS g (card_id, generation)
        VALUES (row.object, row.generation)
        ON CONFLICT ON CONSTRAINT fanouts_pkey DO UPDATE
            SET generation = excluded.generation, until = NULL,
                written = false,
                after = CASE WHEN g.written THEN '' ELSE g.after END,
                again = CASE WHEN g.written OR g.after = '' THEN NULL
                    ELSE g.after END;
    END IF;

    -- begun in another database: once more from the start
    IF undecided >= pg_snapshot_xmax(pg_current_snapshot()) THEN
        UPDATE cardx.fanouts g
        SET after = '', until = NULL, again = NULL, written = false,
            told_holders = NULL, told_entries = NULL, xid = NULL
        WHERE g.card_id = row.object;
        undecided := NULL;
    END IF;

    UPDATE cardx.outbox o
    SET attempts = o.attempts + 1, due_at = clock_timestamp()
    WHERE o.effect = 'holders' AND o.object = row.object;

    card_id := row.object;
    state := CASE WHEN undecided IS NULL THEN 'write'
        WHEN undecided < pg_snapshot_xmin(pg_current_snapshot()) THEN 'tell'
        ELSE 'wait' END;
END
$$;

-- What the last chunk wrote, as wakes_take() gives it, and asks for pushes.
-- What came before is read now that all of it is decided.
CREATE FUNCTION cardx.fanout_tell(wanted text)
    RETURNS TABLE (user_id text, line text)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    told text[];
    its text[];
    change xid8;
    what text;
BEGIN
    SELECT g.told_holders, g.told_entries, g.xid INTO told, its, change
    FROM cardx.fanouts g
    WHERE g.card_id = wanted;

    UPDATE cardx.fanouts g
    SET told_holders = NULL, told_entries = NULL, xid = NULL
    WHERE g.card_id = wanted;

    IF EXISTS (SELECT FROM cardx.push_subscriptions s
               WHERE s.user_id = ANY (told))
    THEN
        PERFORM cardx.push_ask(told);
    END IF;

    what := ' ' || change::text || ' contact put ';

    RETURN QUERY
    SELECT h.user_id, coalesce((
            SELECT l.xid
            FROM cardx.user_log l
            WHERE l.user_id = h.user_id AND l.xid < change
            ORDER BY l.xid DESC
            LIMIT 1)::text, '0') || what || h.contact_id
    FROM (SELECT unnest(told), unnest(its)) h (user_id, contact_id);
END
$$;

-- Nothing of a card that is gone is kept by its holders but what they wrote
-- themselves (F8): those after `after`, up to `last` or (null) all.
CREATE FUNCTION cardx.contacts_forget(its_card text, after text, last text)
    RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        UPDATE cardx.contacts c SET seen = NULL
        WHERE c.card_id = its_card AND c.user_id > after
            AND (last IS NULL OR c.user_id <= last) AND c.seen IS NOT NULL;
        DELETE FROM cardx.contact_history h
        USING cardx.contacts c
        WHERE c.card_id = its_card AND c.user_id > after
            AND (last IS NULL OR c.user_id <= last)
            AND h.contact_id = c.contact_id AND h.what = 'live';
    END;

-- Writes into logs, in the order that is given.  Who has an entry has a row for
-- it: an update finds that sooner than an insert that would find it there.
CREATE FUNCTION cardx.log_holders(holders text[], entries text[])
    RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
    updated bigint;
BEGIN
    UPDATE cardx.user_log l
    SET xid = pg_current_xact_id(), changed_at = now()
    FROM (SELECT unnest(holders), unnest(entries)) h (user_id, contact_id)
    WHERE l.user_id = h.user_id AND l.kind = 'contact'
        AND l.object_id = h.contact_id;
    GET DIAGNOSTICS updated = ROW_COUNT;

    IF updated < cardinality(holders) THEN
        INSERT INTO cardx.user_log AS l
            (user_id, kind, object_id, op, xid, changed_at)
        SELECT h.user_id, 'contact', h.contact_id, 'put',
            pg_current_xact_id(), now()
        FROM unnest(holders, entries) h (user_id, contact_id)
        WHERE NOT EXISTS (
            SELECT FROM cardx.user_log l
            WHERE l.user_id = h.user_id AND l.kind = 'contact'
                AND l.object_id = h.contact_id
                AND l.xid = pg_current_xact_id())
        ON CONFLICT (user_id, kind, object_id) DO UPDATE
            SET xid = excluded.xid, changed_at = excluded.changed_at;
    END IF;
END
$$;

-- Writes the logs of the next holders and gives their ids; ends the fan-out
-- when nothing is left to write or to tell.  A tombstone stays one: only who
-- restores a contact undoes it.  Who has no grant any more is told nothing:
-- that a card changes is the business of those who may see it.  (A merge with
-- their grants begins where the chunk does, and ends there; a hash or a sort
-- would have all holders for each chunk, and does in a session's first plans.)
CREATE FUNCTION cardx.fanout_write(wanted text, page integer)
    RETURNS text[]
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    SET enable_hashjoin = off SET enable_sort = off
AS $$
DECLARE
    f record;
    holders text[];
    entries text[];
    n integer;
BEGIN
    SELECT g.after, g.until, g.again, g.written, g.xid INTO f
    FROM cardx.fanouts g WHERE g.card_id = wanted;

    IF NOT f.written THEN
        SELECT array_agg(h.user_id), array_agg(h.contact_id)
        INTO holders, entries
        FROM (
            SELECT c.user_id, c.contact_id
            FROM cardx.contacts c
            WHERE c.card_id = wanted AND c.user_id > f.after
                AND (f.until IS NULL OR c.user_id <= f.until)
                AND c.deleted_at IS NULL
                AND EXISTS (SELECT FROM cardx.grants g
                            WHERE g.card_id = wanted
                                AND g.holder_id = c.user_id
                                AND g.holder_id > f.after)
            ORDER BY c.user_id
            LIMIT page) h;

        -- entries before logs, as who writes an entry has it
        IF EXISTS (SELECT FROM cardx.cards c
                   WHERE c.card_id = wanted AND c.deleted_at IS NOT NULL)
        THEN
            PERFORM cardx.contacts_forget(wanted, f.after,
                CASE WHEN cardinality(holders) = page
                    THEN holders[page] END);
        END IF;

        PERFORM cardx.log_holders(holders, entries);
    END IF;

    n := coalesce(cardinality(holders), 0);

    IF n > 0 THEN
        f.xid := pg_current_xact_id();
        f.after := holders[n];
    END IF;

    IF n < page THEN
        f.written := f.again IS NULL;
        f.until := f.again;
        f.again := NULL;

        IF NOT f.written THEN
            f.after := '';
        END IF;
    END IF;

    IF f.written AND f.xid IS NULL THEN
        DELETE FROM cardx.fanouts g WHERE g.card_id = wanted;
        DELETE FROM cardx.outbox o
        WHERE o.effect = 'holders' AND o.object = wanted;
    ELSE
        UPDATE cardx.fanouts g
        SET after = f.after, until = f.until, again = f.again,
            written = f.written, told_holders = holders,
            told_entries = entries, xid = f.xid
        WHERE g.card_id = wanted;
    END IF;

    RETURN holders;
END
$$;

CALL cardx.let_call('cardx_fanout', 'wakes_take', 'wakes_postpone',
    'fanout_take', 'fanout_tell', 'fanout_write');
CALL cardx.let_call(NULL, 'contacts_forget', 'log_holders');

COMMIT;
