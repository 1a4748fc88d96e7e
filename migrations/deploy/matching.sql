-- Deploy cardx:matching to pg
--
-- Address books that know each other (D4, D5, docs/matching.md).  A number in
-- somebody's book is kept as a hash of the pair "its number and mine", which
-- is the same from both sides: two rows that are equal are a match, and one
-- that has no equal says nothing, neither to the one who brought it nor to
-- who has stolen the database.

BEGIN;

SET LOCAL lock_timeout = '2s';

ALTER TABLE cardx.users
    ADD COLUMN match_on boolean NOT NULL DEFAULT true,
    ADD COLUMN match_fields text[],         -- canonical; null: all
    ADD COLUMN match_epoch integer NOT NULL DEFAULT 1,
    ADD COLUMN match_all boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN cardx.users.match_epoch IS
    'Grows with each number: pairs of another epoch are of a former one';
COMMENT ON COLUMN cardx.users.match_all IS
    'The whole book is to be looked at, not only what is fresh';

GRANT SELECT (match_on, match_fields), UPDATE (match_on, match_fields)
    ON cardx.users TO cardx_api;

-- pair: HMAC of both numbers, the lower one first; null: the book's owner has
-- no number.  side: the owner's is the lower one; a match has both sides.
-- tag and number are under keys of the owner's data key.
CREATE TABLE cardx.match_entries (
    user_id text COLLATE "C" NOT NULL REFERENCES cardx.users ON DELETE CASCADE,
    contact_id text COLLATE "C" NOT NULL,
    tag bytea NOT NULL,                 -- HMAC of the number: which it is
    number bytea NOT NULL,              -- sealed
    pair bytea,
    side boolean NOT NULL,
    epoch integer NOT NULL,             -- of the owner's number
    key_id integer NOT NULL,            -- that the pair is under
    fresh boolean NOT NULL DEFAULT true,
    PRIMARY KEY (user_id, contact_id, tag)
);
CREATE INDEX match_entries_pair ON cardx.match_entries (pair)
    WHERE pair IS NOT NULL;
CREATE INDEX match_entries_tag ON cardx.match_entries (user_id, tag);
CREATE INDEX match_entries_fresh ON cardx.match_entries (user_id)
    WHERE fresh;

-- Numbers over the quota, until there is room; tag and number as above.
CREATE TABLE cardx.match_waiting (
    user_id text COLLATE "C" NOT NULL REFERENCES cardx.users ON DELETE CASCADE,
    contact_id text COLLATE "C" NOT NULL,
    tag bytea NOT NULL,
    number bytea NOT NULL,
    PRIMARY KEY (user_id, contact_id, tag)
);

-- Two who know each other; lower_id < higher_id.  ..._tag and ..._contact_id:
-- the other one's number in this one's book, and the entry that follows it
-- (null: another entry has that card).  ..._card_id and ..._fields: what this
-- one has granted.
CREATE TABLE cardx.matches (
    lower_id text COLLATE "C" NOT NULL
        REFERENCES cardx.users ON DELETE CASCADE,
    higher_id text COLLATE "C" NOT NULL
        REFERENCES cardx.users ON DELETE CASCADE,
    lower_tag bytea NOT NULL,
    higher_tag bytea NOT NULL,
    lower_contact_id text COLLATE "C",
    higher_contact_id text COLLATE "C",
    lower_card_id text COLLATE "C" NOT NULL,
    higher_card_id text COLLATE "C" NOT NULL,
    lower_fields text[],
    higher_fields text[],
    since timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (lower_id, higher_id),
    CHECK (lower_id < higher_id)
);
CREATE INDEX matches_higher ON cardx.matches (higher_id);

-- Whom a user's book is to be compared with, and by which pair (null: by what
-- they were matched by).
CREATE TABLE cardx.match_todo (
    user_id text COLLATE "C" NOT NULL REFERENCES cardx.users ON DELETE CASCADE,
    peer_id text COLLATE "C" NOT NULL REFERENCES cardx.users ON DELETE CASCADE,
    pair bytea,
    PRIMARY KEY (user_id, peer_id)
);
CREATE INDEX match_todo_peer ON cardx.match_todo (peer_id);

-- New numbers of the last ten days: who brings too many is guessing.
CREATE TABLE cardx.match_seen (
    user_id text COLLATE "C" NOT NULL REFERENCES cardx.users ON DELETE CASCADE,
    tag bytea NOT NULL,
    day date NOT NULL DEFAULT current_date,
    PRIMARY KEY (user_id, tag)
);
CREATE INDEX match_seen_day ON cardx.match_seen (day);
CREATE TABLE cardx.match_quota (
    user_id text COLLATE "C" NOT NULL REFERENCES cardx.users ON DELETE CASCADE,
    day date NOT NULL DEFAULT current_date,
    numbers integer NOT NULL,
    PRIMARY KEY (user_id, day)
);
CREATE INDEX match_quota_day ON cardx.match_quota (day);

CALL cardx.protect('match_entries', 'match_waiting', 'matches', 'match_todo',
    'match_seen', 'match_quota');

-- The card that matching gives: the one that is named, else the oldest.
CREATE FUNCTION cardx.own_card(its_user text) RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    RETURN coalesce(
        (SELECT c.card_id
         FROM cardx.users u
         JOIN cardx.cards c ON c.card_id = u.own_card_id
         WHERE u.user_id = its_user AND c.deleted_at IS NULL),
        (SELECT c.card_id FROM cardx.cards c
         WHERE c.user_id = its_user AND c.deleted_at IS NULL
         ORDER BY c.created_at, c.card_id LIMIT 1));

-- What a user's numbers are hashed with.
CREATE FUNCTION cardx.match_account(its_user text)
    RETURNS TABLE (phone text, locale text, epoch integer, data_key bytea)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        SELECT u.phone, u.locale, u.match_epoch, u.data_key
        FROM cardx.users u
        WHERE u.user_id = its_user;
    END;

-- The same for who asks.
CREATE FUNCTION cardx.match_me()
    RETURNS TABLE (phone text, locale text, epoch integer, data_key bytea)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        SELECT a.phone, a.locale, a.epoch, a.data_key
        FROM cardx.match_account(cardx.current_user_id()) a;
    END;

-- How many numbers may be new in a user's book.
CREATE FUNCTION cardx.match_room(its_user text) RETURNS bigint
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    RETURN greatest(0, 20000 - coalesce((
        SELECT sum(q.numbers) FROM cardx.match_quota q
        WHERE q.user_id = its_user AND q.day > current_date - 10), 0));

-- Counts numbers that are new in a user's book.
CREATE FUNCTION cardx.match_count(its_user text, tags bytea[]) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        INSERT INTO cardx.match_seen (user_id, tag)
        SELECT its_user, t.tag FROM unnest(tags) t (tag)
        ON CONFLICT (user_id, tag) DO UPDATE SET day = current_date;

        INSERT INTO cardx.match_quota AS q (user_id, numbers)
        VALUES (its_user, cardinality(tags))
        ON CONFLICT (user_id, day) DO UPDATE
            SET numbers = q.numbers + excluded.numbers;
    END;

-- The numbers that these entries of the current user's book have now; the
-- arrays from its_contacts on go together, an empty pair is none.  At most
-- 20 000 numbers that are new within ten days: what is over that waits.  The
-- last statement of its transaction that waits for anything: nothing here
-- depends on who else is registered, nor takes time that would tell.
CREATE FUNCTION cardx.match_write(
    written text[], its_contacts text[], tags bytea[], numbers bytea[],
    pairs bytea[], sides boolean[], its_epoch integer, its_key integer)
    RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    me text := cardx.current_user_id();
    fresh_tags bytea[];
    ended_peers text[];
    ended_tags bytea[];
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('match book ' || me, 0));

    -- what is not in the book any more
    WITH gone AS (
        DELETE FROM cardx.match_entries e
        WHERE e.user_id = me AND e.contact_id = ANY (written)
            AND NOT EXISTS (
                SELECT FROM unnest(its_contacts, tags) n (contact_id, tag)
                WHERE n.contact_id = e.contact_id AND n.tag = e.tag)
        RETURNING e.tag, e.pair),
    ended AS (
        SELECT DISTINCT ON (o.peer_id) o.peer_id, g.tag, g.pair
        FROM gone g
        JOIN (SELECT m.higher_id AS peer_id, m.lower_tag AS tag
              FROM cardx.matches m WHERE m.lower_id = me
              UNION ALL
              SELECT m.lower_id, m.higher_tag
              FROM cardx.matches m WHERE m.higher_id = me) o
            ON o.tag = g.tag),
    noted AS (
        INSERT INTO cardx.match_todo AS t (user_id, peer_id, pair)
        SELECT me, e.peer_id, e.pair
        FROM ended e
        ON CONFLICT (user_id, peer_id) DO UPDATE
            SET pair = coalesce(excluded.pair, t.pair))
    SELECT array_agg(e.peer_id), array_agg(e.tag) INTO ended_peers, ended_tags
    FROM ended e;

    DELETE FROM cardx.match_waiting w
    WHERE w.user_id = me AND w.contact_id = ANY (written);

    -- what is new, as far as it may be
    SELECT array_agg(n.tag) INTO fresh_tags
    FROM (
        SELECT t.tag, min(t.at) AS at
        FROM unnest(tags) WITH ORDINALITY t (tag, at)
        WHERE NOT EXISTS (
                SELECT FROM cardx.match_entries e
                WHERE e.user_id = me AND e.tag = t.tag)
            AND NOT EXISTS (
                SELECT FROM cardx.match_seen s
                WHERE s.user_id = me AND s.tag = t.tag
                    AND s.day > current_date - 10)
        GROUP BY t.tag
        ORDER BY 2
        LIMIT cardx.match_room(me)) n;

    IF fresh_tags IS NOT NULL THEN
        PERFORM cardx.match_count(me, fresh_tags);
    END IF;

    INSERT INTO cardx.match_entries
        (user_id, contact_id, tag, number, pair, side, epoch, key_id)
    SELECT me, n.contact_id, n.tag, n.number, nullif(n.pair, ''), n.side,
        its_epoch, its_key
    FROM unnest(its_contacts, tags, numbers, pairs, sides)
        n (contact_id, tag, number, pair, side)
    WHERE EXISTS (SELECT FROM cardx.match_entries e
                  WHERE e.user_id = me AND e.tag = n.tag)
        OR EXISTS (SELECT FROM cardx.match_seen s
                   WHERE s.user_id = me AND s.tag = n.tag
                       AND s.day > current_date - 10)
    ON CONFLICT (user_id, contact_id, tag) DO NOTHING;

    -- whoever's number is gone sees the user's card no longer from now on
    DELETE FROM cardx.grants g
    USING unnest(ended_peers, ended_tags) n (peer_id, tag)
    WHERE g.owner_id = me AND g.via = 'match' AND g.holder_id = n.peer_id
        AND NOT EXISTS (SELECT FROM cardx.match_entries e
                        WHERE e.user_id = me AND e.tag = n.tag);

    INSERT INTO cardx.match_waiting (user_id, contact_id, tag, number)
    SELECT me, n.contact_id, n.tag, n.number
    FROM unnest(its_contacts, tags, numbers) n (contact_id, tag, number)
    WHERE NOT EXISTS (
        SELECT FROM cardx.match_entries e
        WHERE e.user_id = me AND e.contact_id = n.contact_id
            AND e.tag = n.tag)
    ON CONFLICT (user_id, contact_id, tag) DO NOTHING;

    PERFORM cardx.outbox_add('match', me);
END
$$;

-- Lets numbers of one user in that have waited for room, and returns how many;
-- fanout hashes them as those of a former number.
CREATE FUNCTION cardx.match_retry(page integer) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    its_user text;
    n bigint;
BEGIN
    -- from one user to the next, however many numbers each has
    WITH RECURSIVE waiting (user_id) AS (
        (SELECT w.user_id FROM cardx.match_waiting w
         ORDER BY w.user_id LIMIT 1)
        UNION ALL
        SELECT (SELECT w.user_id FROM cardx.match_waiting w
                WHERE w.user_id > p.user_id ORDER BY w.user_id LIMIT 1)
        FROM waiting p WHERE p.user_id IS NOT NULL)
    SELECT p.user_id INTO its_user
    FROM waiting p
    WHERE p.user_id IS NOT NULL AND cardx.match_room(p.user_id) > 0
    LIMIT 1;

    IF NOT FOUND THEN
        RETURN 0;
    END IF;

    PERFORM pg_advisory_xact_lock(
        hashtextextended('match book ' || its_user, 0));

    WITH let_in AS (
        DELETE FROM cardx.match_waiting w
        WHERE (w.user_id, w.contact_id, w.tag) IN (
            SELECT a.user_id, a.contact_id, a.tag
            FROM cardx.match_waiting a
            WHERE a.user_id = its_user
            ORDER BY a.contact_id, a.tag
            LIMIT least(page, cardx.match_room(its_user)))
        RETURNING w.*),
    entered AS (
        INSERT INTO cardx.match_entries
            (user_id, contact_id, tag, number, side, epoch, key_id)
        SELECT l.user_id, l.contact_id, l.tag, l.number, false, 0, 0
        FROM let_in l
        ON CONFLICT (user_id, contact_id, tag) DO NOTHING),
    counted AS (
        SELECT cardx.match_count(its_user, array_agg(DISTINCT l.tag))
        FROM let_in l
        HAVING count(*) > 0)
    SELECT count(*) INTO n FROM let_in, counted;

    PERFORM cardx.outbox_add('match', its_user);
    RETURN n;
END
$$;

-- Rows of a user that are to be looked at, with pairs of another number or of
-- another key.
CREATE FUNCTION cardx.match_stale(its_user text, its_key integer,
                                  page integer)
    RETURNS TABLE (contact_id text, tag bytea, number bytea)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        SELECT e.contact_id, e.tag, e.number
        FROM cardx.users u
        JOIN cardx.match_entries e ON e.user_id = u.user_id
        WHERE u.user_id = its_user AND (u.match_all OR e.fresh)
            AND (e.epoch <> u.match_epoch OR e.key_id <> its_key)
        LIMIT page;
    END;

CREATE FUNCTION cardx.match_rehash(
    its_user text, its_epoch integer, its_key integer, its_contacts text[],
    tags bytea[], pairs bytea[], sides boolean[])
    RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        SELECT pg_advisory_xact_lock(
            hashtextextended('match book ' || its_user, 0));

        UPDATE cardx.match_entries e
        SET pair = nullif(n.pair, ''), side = n.side, epoch = its_epoch,
            key_id = its_key, fresh = true
        FROM unnest(its_contacts, tags, pairs, sides)
            n (contact_id, tag, pair, side)
        WHERE e.user_id = its_user AND e.contact_id = n.contact_id
            AND e.tag = n.tag;
    END;

-- Looks at what is fresh in a user's book, or at all of it, and notes with
-- whom it is to be compared closely.  One step: what is not noted stays
-- fresh.
CREATE FUNCTION cardx.match_look(its_user text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    everything boolean;
BEGIN
    UPDATE cardx.users u SET match_all = false
    WHERE u.user_id = its_user AND u.match_all;
    everything := FOUND;

    PERFORM pg_advisory_xact_lock(
        hashtextextended('match book ' || its_user, 0));

    WITH looked AS (
        UPDATE cardx.match_entries e SET fresh = false
        WHERE e.user_id = its_user AND e.fresh
        RETURNING e.pair, e.side
    ), mine AS (
        SELECT l.pair, l.side FROM looked l
        UNION
        SELECT e.pair, e.side FROM cardx.match_entries e
        WHERE everything AND e.user_id = its_user
    )
    INSERT INTO cardx.match_todo AS t (user_id, peer_id, pair)
    SELECT DISTINCT ON (n.peer_id) its_user, n.peer_id, n.pair
    FROM (
        SELECT o.user_id AS peer_id, m.pair
        FROM mine m
        JOIN cardx.match_entries o ON o.pair = m.pair AND o.side <> m.side
        WHERE o.user_id <> its_user
        UNION ALL
        SELECT m.higher_id, NULL FROM cardx.matches m
        WHERE everything AND m.lower_id = its_user
        UNION ALL
        SELECT m.lower_id, NULL FROM cardx.matches m
        WHERE everything AND m.higher_id = its_user) n
    ORDER BY n.peer_id, n.pair NULLS LAST
    ON CONFLICT (user_id, peer_id) DO UPDATE
        SET pair = coalesce(excluded.pair, t.pair);
END
$$;

-- Ends what a match gave: the grant, and that the entry follows it (or the one
-- into which it was merged), unless there is another way to the card.
CREATE FUNCTION cardx.match_withdraw(its_owner text, its_card text,
                                     its_holder text, its_contact text)
    RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM cardx.grant_end(its_card, its_holder, 'match', its_owner);

    UPDATE cardx.contacts c
    SET card_id = NULL, owner_id = NULL, revision = c.revision + 1,
        updated_at = now()
    WHERE c.user_id = its_holder AND c.card_id = its_card
        AND (c.contact_id = its_contact OR EXISTS (
            SELECT FROM cardx.contacts f
            WHERE f.contact_id = its_contact
                AND f.merged_into = c.contact_id))
        AND NOT EXISTS (
            SELECT FROM cardx.grants g
            WHERE g.card_id = its_card AND g.holder_id = its_holder);
END
$$;

-- Gives a card to a holder, and has the entry follow it.  former: the entry
-- that did so far, by this match.  Returns the entry if it is the one; null:
-- another one has the card by another way, or the owner has taken it back.
CREATE FUNCTION cardx.match_give(its_owner text, its_card text,
                                 its_fields text[], its_holder text,
                                 its_contact text, former text)
    RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (
            SELECT FROM cardx.grants g
            WHERE g.card_id = its_card AND g.holder_id = its_holder
                AND g.via = 'match' AND g.source = its_owner
                AND g.fields IS NOT DISTINCT FROM its_fields)
        AND NOT cardx.grant_add(its_card, its_holder, 'match', its_owner,
                                its_fields)
    THEN
        RETURN NULL;
    END IF;

    -- one entry follows a card: not the former one, nor one that is deleted
    UPDATE cardx.contacts c
    SET card_id = NULL, owner_id = NULL, revision = c.revision + 1,
        updated_at = now()
    WHERE c.user_id = its_holder AND c.card_id = its_card
        AND c.contact_id <> its_contact
        AND (c.contact_id = former OR c.deleted_at IS NOT NULL);

    UPDATE cardx.contacts c
    SET card_id = its_card, owner_id = its_owner, revision = c.revision + 1,
        updated_at = now()
    WHERE c.contact_id = its_contact AND c.user_id = its_holder
        AND c.card_id IS NULL AND c.deleted_at IS NULL AND NOT EXISTS (
            SELECT FROM cardx.contacts o
            WHERE o.user_id = its_holder AND o.card_id = its_card);

    RETURN (SELECT c.contact_id FROM cardx.contacts c
            WHERE c.user_id = its_holder AND c.card_id = its_card
                AND c.contact_id = its_contact);
END
$$;

-- Compares two books: a is the lower user's id.  Both are locked by the
-- caller.
CREATE FUNCTION cardx.match_compare(a text, b text, its_pair bytea)
    RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    lower_user cardx.users;
    higher_user cardx.users;
    card_a text := cardx.own_card(a);
    card_b text := cardx.own_card(b);
    m cardx.matches;
    known boolean;
    tag_a bytea;
    tag_b bytea;
    contact_a text;
    contact_b text;
BEGIN
    SELECT * INTO lower_user FROM cardx.users u WHERE u.user_id = a;
    SELECT * INTO higher_user FROM cardx.users u WHERE u.user_id = b;
    SELECT * INTO m FROM cardx.matches x
    WHERE x.lower_id = a AND x.higher_id = b;
    known := FOUND;

    -- An entry that follows somebody else is of somebody else, who had the
    -- number before.
    SELECT ea.tag, eb.tag, ea.contact_id, eb.contact_id
    INTO tag_a, tag_b, contact_a, contact_b
    FROM cardx.match_entries ea
    JOIN cardx.match_entries eb ON eb.pair = ea.pair AND eb.side <> ea.side
    JOIN cardx.contacts ca ON ca.contact_id = ea.contact_id
    JOIN cardx.contacts cb ON cb.contact_id = eb.contact_id
    WHERE ea.pair = its_pair AND ea.user_id = a AND eb.user_id = b
        AND ea.epoch = lower_user.match_epoch
        AND eb.epoch = higher_user.match_epoch
        AND (ca.card_id IS NULL OR ca.owner_id = b)
        AND (cb.card_id IS NULL OR cb.owner_id = a)
    ORDER BY ca.card_id IS NULL, cb.card_id IS NULL, ca.contact_id,
        cb.contact_id
    LIMIT 1;

    -- Who knew each other before one of them had another number still do, as
    -- long as both entries have what they were found by.
    IF NOT FOUND AND known THEN
        tag_a := m.lower_tag;
        tag_b := m.higher_tag;

        SELECT e.contact_id INTO contact_a FROM cardx.match_entries e
        WHERE e.user_id = a AND e.tag = tag_a
        ORDER BY e.contact_id <> coalesce(m.lower_contact_id, ''), 1 LIMIT 1;

        SELECT e.contact_id INTO contact_b FROM cardx.match_entries e
        WHERE e.user_id = b AND e.tag = tag_b
        ORDER BY e.contact_id <> coalesce(m.higher_contact_id, ''), 1 LIMIT 1;
    END IF;

    -- what may change a card waits for nothing that is held here
    PERFORM FROM cardx.cards c
    WHERE c.card_id IN (card_a, card_b)
    ORDER BY c.card_id
    FOR SHARE;

    -- the lower user's entry first, here as everywhere
    IF known AND m.higher_card_id IS DISTINCT FROM card_b THEN
        PERFORM cardx.match_withdraw(b, m.higher_card_id, a,
                                     m.lower_contact_id);
    END IF;

    IF known AND m.lower_card_id IS DISTINCT FROM card_a THEN
        PERFORM cardx.match_withdraw(a, m.lower_card_id, b,
                                     m.higher_contact_id);
    END IF;

    IF contact_a IS NULL OR contact_b IS NULL OR card_a IS NULL
        OR card_b IS NULL OR NOT lower_user.match_on
        OR NOT higher_user.match_on
    THEN
        IF known THEN
            PERFORM cardx.match_withdraw(b, m.higher_card_id, a,
                                         m.lower_contact_id);
            PERFORM cardx.match_withdraw(a, m.lower_card_id, b,
                                         m.higher_contact_id);

            DELETE FROM cardx.matches x
            WHERE x.lower_id = a AND x.higher_id = b;
        END IF;

        RETURN;
    END IF;

    INSERT INTO cardx.matches (lower_id, higher_id, lower_tag, higher_tag,
        lower_contact_id, higher_contact_id, lower_card_id, higher_card_id,
        lower_fields, higher_fields)
    VALUES (a, b, tag_a, tag_b,
        cardx.match_give(b, card_b, higher_user.match_fields, a, contact_a,
            m.lower_contact_id),
        cardx.match_give(a, card_a, lower_user.match_fields, b, contact_b,
            m.higher_contact_id),
        card_a, card_b, lower_user.match_fields, higher_user.match_fields)
    ON CONFLICT (lower_id, higher_id) DO UPDATE
        SET lower_tag = excluded.lower_tag, higher_tag = excluded.higher_tag,
            lower_contact_id = excluded.lower_contact_id,
            higher_contact_id = excluded.higher_contact_id,
            lower_card_id = excluded.lower_card_id,
            higher_card_id = excluded.higher_card_id,
            lower_fields = excluded.lower_fields,
            higher_fields = excluded.higher_fields;
END
$$;

-- Compares a user's book with the next one that is noted.  Returns 'done';
-- 'none': there is no more; 'busy': somebody is writing one of the entries,
-- so it is to be done later.  Books are locked in order, and entries without
-- waiting: who writes one waits for nothing that is held here.
CREATE FUNCTION cardx.match_next(its_user text) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    peer text;
    its_pair bytea;
    a text;
    b text;
BEGIN
    SELECT t.peer_id INTO peer FROM cardx.match_todo t
    WHERE t.user_id = its_user
    ORDER BY t.peer_id
    LIMIT 1;

    IF NOT FOUND THEN
        RETURN 'none';
    END IF;

    a := least(its_user COLLATE "C", peer COLLATE "C");
    b := greatest(its_user COLLATE "C", peer COLLATE "C");

    PERFORM pg_advisory_xact_lock(k.key)
    FROM (SELECT hashtextextended('match ' || u.id, 0) AS key
          FROM unnest(ARRAY[a, b]) u (id)
          ORDER BY 1) k;

    -- the users before the note, as whoever erases one of them has it
    PERFORM FROM cardx.users u
    WHERE u.user_id IN (a, b)
    ORDER BY u.user_id
    FOR KEY SHARE;

    DELETE FROM cardx.match_todo t
    WHERE t.user_id = its_user AND t.peer_id = peer
    RETURNING t.pair INTO its_pair;

    IF NOT FOUND THEN
        RETURN 'done';  -- by another worker
    END IF;

    BEGIN
        PERFORM FROM cardx.contacts c
        WHERE c.contact_id IN (
            SELECT e.contact_id FROM cardx.match_entries e
            WHERE e.pair = its_pair AND e.user_id IN (a, b)
            UNION
            SELECT unnest(ARRAY[m.lower_contact_id, m.higher_contact_id])
            FROM cardx.matches m
            WHERE m.lower_id = a AND m.higher_id = b)
        ORDER BY c.contact_id
        FOR NO KEY UPDATE NOWAIT;

        PERFORM cardx.match_compare(a, b, its_pair);
    EXCEPTION WHEN lock_not_available THEN
        INSERT INTO cardx.match_todo AS t (user_id, peer_id, pair)
        VALUES (its_user, peer, its_pair)
        ON CONFLICT (user_id, peer_id) DO UPDATE
            SET pair = coalesce(t.pair, excluded.pair);
        RETURN 'busy';
    END;

    RETURN 'done';
END
$$;

-- More is noted than was done in one turn.
CREATE FUNCTION cardx.match_more(its_user text) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        SELECT cardx.outbox_add('match', its_user);
    END;

-- Deletes what has had its time; returns how many rows went.
CREATE FUNCTION cardx.match_sweep(page integer) RETURNS bigint
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        WITH seen AS (
            DELETE FROM cardx.match_seen WHERE (user_id, tag) IN (
                SELECT s.user_id, s.tag FROM cardx.match_seen s
                WHERE s.day < current_date - 10
                LIMIT page FOR UPDATE SKIP LOCKED)
            RETURNING 1
        ), quota AS (
            DELETE FROM cardx.match_quota WHERE (user_id, day) IN (
                SELECT q.user_id, q.day FROM cardx.match_quota q
                WHERE q.day < current_date - 10
                LIMIT page FOR UPDATE SKIP LOCKED)
            RETURNING 1
        )
        SELECT (SELECT count(*) FROM seen) + (SELECT count(*) FROM quota);
    END;

CALL cardx.let_call('cardx_api', 'match_me', 'match_write');
CALL cardx.let_call('cardx_fanout', 'match_account', 'match_stale',
    'match_rehash', 'match_look', 'match_next', 'match_more', 'match_retry',
    'match_sweep');
CALL cardx.let_call(NULL, 'own_card', 'match_room', 'match_count',
    'match_withdraw', 'match_give', 'match_compare');

COMMIT;
