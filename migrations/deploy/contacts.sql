-- Deploy cardx:contacts to pg
--
-- The holder's address book (A7, D4, D7, E6, F4, F5, F7): contacts with their
-- layer, its history and media; grants and blocks.  A layer is sealed under
-- the holder's data key; what is searched is searched once it is open.

BEGIN;

SET LOCAL lock_timeout = '2s';

-- card_id: the card it follows, if a grant lets it.  layer: own, note, tags,
-- pinned.  tokens: 16 bytes each, HMACs under the holder's data key: of the
-- uid, and of each number and address with the name, for imports.  seen: the
-- live card as the history has it.
CREATE TABLE cardx.contacts (
    contact_id text COLLATE "C" PRIMARY KEY,
    user_id text COLLATE "C" NOT NULL REFERENCES cardx.users ON DELETE CASCADE,
    card_id text COLLATE "C",
    owner_id text COLLATE "C",
    layer bytea NOT NULL CHECK (octet_length(layer) <= 262144),
    tokens bytea NOT NULL DEFAULT '',
    seen bytea,
    revision bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    merged_into text COLLATE "C",
    UNIQUE (contact_id, user_id),
    CHECK ((card_id IS NULL) = (owner_id IS NULL)),
    FOREIGN KEY (card_id, owner_id) REFERENCES cardx.cards (card_id, user_id)
        ON DELETE SET NULL
);
CREATE UNIQUE INDEX contacts_one ON cardx.contacts (user_id, card_id)
    WHERE card_id IS NOT NULL;
CREATE INDEX contacts_user ON cardx.contacts (user_id, created_at, contact_id);
CREATE INDEX contacts_card ON cardx.contacts (card_id, user_id)
    WHERE card_id IS NOT NULL;
CREATE INDEX contacts_deleted ON cardx.contacts (deleted_at)
    WHERE deleted_at IS NOT NULL;

-- What changed, when; changes: sealed, what was there before and after.
CREATE TABLE cardx.contact_history (
    history_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    contact_id text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    what text NOT NULL CHECK (what IN ('added', 'saved', 'edited', 'imported',
        'live', 'merged', 'unmerged', 'deleted', 'restored')),
    changes bytea,
    changed_at timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (contact_id, user_id)
        REFERENCES cardx.contacts (contact_id, user_id) ON DELETE CASCADE
);
CREATE INDEX contact_history_contact
    ON cardx.contact_history (contact_id, history_id);

-- The holder's own; sealed.
CREATE TABLE cardx.contact_media (
    media_id text COLLATE "C" PRIMARY KEY,
    contact_id text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    kind text NOT NULL CHECK (kind IN ('photo', 'logo', 'sound')),
    type text NOT NULL,
    bytes bigint NOT NULL,
    sealed bytea NOT NULL CHECK (octet_length(sealed) <= 8388608),
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (contact_id, kind),
    FOREIGN KEY (contact_id, user_id)
        REFERENCES cardx.contacts (contact_id, user_id) ON DELETE CASCADE
);
CREATE INDEX contact_media_user ON cardx.contact_media (user_id)
    INCLUDE (bytes);
ALTER TABLE cardx.contact_media ALTER COLUMN sealed SET STORAGE EXTERNAL;

-- Whom the owner has taken a card back from: no way leads to it any more.
CREATE TABLE cardx.blocks (
    card_id text COLLATE "C" NOT NULL,
    holder_id text COLLATE "C" NOT NULL
        REFERENCES cardx.users ON DELETE CASCADE,
    owner_id text COLLATE "C" NOT NULL,
    blocked_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (card_id, holder_id),
    FOREIGN KEY (card_id, owner_id) REFERENCES cardx.cards (card_id, user_id)
        ON DELETE CASCADE
);
CREATE INDEX blocks_holder ON cardx.blocks (holder_id);

CALL cardx.protect('contacts', 'contact_history', 'contact_media', 'blocks');
CALL cardx.show_own('contacts', 'contact_history', 'contact_media');

-- Which card an entry follows is not for the workers to write.
GRANT SELECT,
      INSERT (contact_id, user_id, layer, tokens),
      UPDATE (layer, tokens, seen, revision, updated_at, deleted_at)
    ON cardx.contacts TO cardx_api;
GRANT SELECT, INSERT ON cardx.contact_history TO cardx_api;
GRANT SELECT, INSERT, DELETE ON cardx.contact_media TO cardx_api;

-- The only writers of grants.  True: it is granted; false: the card is
-- deleted, the holder's own, or taken back from the holder.
CREATE FUNCTION cardx.grant_add(its_card text, its_holder text, its_via text,
                                its_source text, its_fields text[])
    RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    its_owner text;
BEGIN
    -- whoever takes it back holds the card's row, and has done so before the
    -- look at the blocks
    SELECT c.user_id INTO its_owner FROM cardx.cards c
    WHERE c.card_id = its_card AND c.deleted_at IS NULL
    FOR SHARE;

    IF NOT FOUND OR its_owner = its_holder OR EXISTS (
        SELECT FROM cardx.blocks b
        WHERE b.card_id = its_card AND b.holder_id = its_holder)
    THEN
        RETURN false;
    END IF;

    INSERT INTO cardx.grants AS g (card_id, holder_id, via, source, owner_id,
                                   fields)
    VALUES (its_card, its_holder, its_via, its_source, its_owner, its_fields)
    ON CONFLICT (card_id, holder_id, via, source) DO UPDATE
        SET fields = excluded.fields
        WHERE g.fields IS DISTINCT FROM excluded.fields;

    RETURN true;
END
$$;

-- Ends grants of a card: of one holder or (null) all, by one way or (null)
-- all, from one source or (null) all.  Returns how many.
CREATE FUNCTION cardx.grant_end(its_card text, its_holder text, its_via text,
                                its_source text)
    RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    n integer;
BEGIN
    DELETE FROM cardx.grants g
    WHERE g.card_id = its_card
        AND (its_holder IS NULL OR g.holder_id = its_holder)
        AND (its_via IS NULL OR g.via = its_via)
        AND (its_source IS NULL OR g.source = its_source);
    GET DIAGNOSTICS n = ROW_COUNT;
    RETURN n;
END
$$;

-- What a holder sees of a card: the union of the grants' fields, canonical as
-- cx_fields_read() has it.  No row: no grant, or no card (any more).  fields
-- null: all.
CREATE FUNCTION cardx.grant_fields(its_card text, its_holder text)
    RETURNS TABLE (fields text[])
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        SELECT CASE WHEN bool_and(g.fields IS NOT NULL) THEN
            coalesce((
                WITH f AS (
                    SELECT DISTINCT u.field COLLATE "C" AS field
                    FROM cardx.grants a, unnest(a.fields) u (field)
                    WHERE a.card_id = its_card AND a.holder_id = its_holder)
                SELECT array_agg(f.field ORDER BY f.field)
                FROM f
                WHERE NOT EXISTS (
                    SELECT FROM f h
                    WHERE strpos(f.field, '/') > 0
                        AND h.field = split_part(f.field, '/', 1))), '{}')
            END
        FROM cardx.grants g
        JOIN cardx.cards c USING (card_id)
        WHERE g.card_id = its_card AND g.holder_id = its_holder
            AND c.deleted_at IS NULL
        HAVING count(*) > 0;
    END;

-- A contact changes in its holder's log, wherever it is written.
CREATE FUNCTION cardx.log_contact() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM cardx.log_add(new.user_id, 'contact', new.contact_id,
        CASE WHEN new.deleted_at IS NULL THEN 'put' ELSE 'delete' END);
    RETURN NULL;
END
$$;

CREATE TRIGGER log_insert AFTER INSERT ON cardx.contacts
    FOR EACH ROW EXECUTE FUNCTION cardx.log_contact();
CREATE TRIGGER log_update AFTER UPDATE OF revision, card_id ON cardx.contacts
    FOR EACH ROW WHEN (old.revision <> new.revision
        OR old.card_id IS DISTINCT FROM new.card_id)
    EXECUTE FUNCTION cardx.log_contact();

-- A contact's last 500 changes are kept, and so is what undoing a merge looks
-- at: its last 100 merges and partings.
CREATE FUNCTION cardx.history_bound() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM cardx.contact_history h
    WHERE h.contact_id = new.contact_id
        AND h.history_id < (
            SELECT n.history_id FROM cardx.contact_history n
            WHERE n.contact_id = new.contact_id
            ORDER BY n.history_id DESC
            OFFSET 499 LIMIT 1)
        AND (h.what NOT IN ('merged', 'unmerged') OR h.history_id < (
            SELECT n.history_id FROM cardx.contact_history n
            WHERE n.contact_id = new.contact_id
                AND n.what IN ('merged', 'unmerged')
            ORDER BY n.history_id DESC
            OFFSET 99 LIMIT 1));
    RETURN NULL;
END
$$;

CREATE TRIGGER history_bound AFTER INSERT ON cardx.contact_history
    FOR EACH ROW EXECUTE FUNCTION cardx.history_bound();

-- What was seen of one card is not compared with another.
CREATE FUNCTION cardx.contact_unsee() RETURNS trigger
    LANGUAGE plpgsql
AS $$
BEGIN
    new.seen := NULL;
    RETURN new;
END
$$;

CREATE TRIGGER unsee BEFORE UPDATE OF card_id ON cardx.contacts
    FOR EACH ROW WHEN (old.card_id IS DISTINCT FROM new.card_id)
    EXECUTE FUNCTION cardx.contact_unsee();

-- So does what its live card shows: with each grant that comes, ends or
-- shows something else.  Once per statement, since a card may have very many
-- holders; those of a deleted card are told by its fan-out.
CREATE FUNCTION cardx.log_grant() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM cardx.log_add_all(array_agg(h.user_id), 'contact',
                              array_agg(h.contact_id), 'put')
    FROM (SELECT DISTINCT c.user_id, c.contact_id
          FROM touched g
          JOIN cardx.cards k ON k.card_id = g.card_id AND k.deleted_at IS NULL
          JOIN cardx.contacts c ON c.user_id = g.holder_id
              AND c.card_id = g.card_id AND c.deleted_at IS NULL
          JOIN cardx.users u ON u.user_id = c.user_id) h
    HAVING count(*) > 0;
    RETURN NULL;
END
$$;

CREATE TRIGGER log_insert AFTER INSERT ON cardx.grants
    REFERENCING NEW TABLE AS touched
    FOR EACH STATEMENT EXECUTE FUNCTION cardx.log_grant();
CREATE TRIGGER log_update AFTER UPDATE ON cardx.grants
    REFERENCING NEW TABLE AS touched
    FOR EACH STATEMENT EXECUTE FUNCTION cardx.log_grant();
CREATE TRIGGER log_delete AFTER DELETE ON cardx.grants
    REFERENCING OLD TABLE AS touched
    FOR EACH STATEMENT EXECUTE FUNCTION cardx.log_grant();

-- Contacts of the current user with what is live behind them.  wanted: one of
-- them; else a page, after `after` in the order of the list; with_deleted:
-- true: those that can be had back; false: those that are not deleted; null:
-- whatever is stored.  fields: JSON, as the grants show the card; card null:
-- there is none (any more), or the contact is deleted: the owner does not see
-- its holder, so the holder does not see the card.  thumbnail: of what the
-- grants show; '' until it is drawn, null: nobody has asked for it yet.
CREATE FUNCTION cardx.contact_read(wanted text, after text,
                                   with_deleted boolean, page integer)
    RETURNS TABLE (contact_id text, revision bigint, layer bytea,
                   deleted boolean, own_media text, card_id text,
                   owner_id text, nickname text, card_revision bigint,
                   fields text, card text, media text, seen bytea,
                   card_updated text, deleted_at text, thumbnail text)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp SET enable_bitmapscan = off
AS $$
#variable_conflict use_column
DECLARE
    me text := cardx.current_user_id();
    after_at timestamptz := '-infinity';
    after_id text := '';
    ids text[];
BEGIN
    -- Two steps: each has a plan that does not depend on who asks for what.
    -- A page is read in the index's order, and entries by their ids: else a
    -- large book would be sorted, or read, for each of its pages.
    IF wanted IS NOT NULL THEN
        ids := ARRAY[wanted];
    ELSE
        IF after IS NOT NULL THEN
            SELECT a.created_at, a.contact_id INTO after_at, after_id
            FROM cardx.contacts a
            WHERE a.contact_id = after AND a.user_id = me;
        END IF;

        ids := ARRAY(
            SELECT c.contact_id
            FROM cardx.contacts c
            WHERE c.user_id = me
                AND (c.created_at, c.contact_id) > (after_at, after_id)
                AND (with_deleted IS NULL
                     OR (with_deleted AND c.merged_into IS NULL
                         AND c.deleted_at > now() - interval '30 days')
                     OR (NOT with_deleted AND c.deleted_at IS NULL))
            ORDER BY c.created_at, c.contact_id
            LIMIT page);
    END IF;

    RETURN QUERY
    SELECT c.contact_id, c.revision, c.layer, c.deleted_at IS NOT NULL,
        (SELECT jsonb_object_agg(m.kind, jsonb_build_object(
             'media_id', m.media_id, 'type', m.type, 'bytes', m.bytes))
         FROM cardx.contact_media m
         WHERE m.contact_id = c.contact_id)::text,
        k.card_id, k.user_id, k.nickname, k.revision, k.fields, k.card,
        k.media, c.seen, k.updated,
        cardx.rfc3339(c.deleted_at), k.thumbnail
    FROM unnest(ids) WITH ORDINALITY i (contact_id, n)
    JOIN LATERAL (
        SELECT * FROM cardx.contacts a
        WHERE a.contact_id = i.contact_id
        OFFSET 0) c ON c.user_id = me
    LEFT JOIN LATERAL (
        SELECT k.card_id, k.user_id, u.nickname, k.revision,
            to_jsonb(f.fields)::text AS fields,
            k.card::text AS card,
            coalesce((
                SELECT jsonb_object_agg(m.kind, jsonb_build_object(
                    'media_id', m.media_id, 'type', m.type,
                    'bytes', m.bytes))
                FROM cardx.media m
                WHERE m.card_id = k.card_id AND m.replaced_at IS NULL), '{}'
            )::text AS media,
            cardx.rfc3339(k.updated_at) AS updated,
            (SELECT CASE WHEN t.image IS NULL THEN ''
                 ELSE '/t/' || t.thumbnail_id END
             FROM cardx.thumbnails t
             WHERE t.card_id = k.card_id
                 AND t.picture_version = k.picture_version
                 AND t.fields IS NOT DISTINCT FROM f.fields
             LIMIT 1) AS thumbnail
        FROM cardx.cards k
        JOIN cardx.users u ON u.user_id = k.user_id
        CROSS JOIN LATERAL cardx.grant_fields(k.card_id, me) f
        WHERE c.card_id IS NOT NULL AND k.card_id = c.card_id
            AND c.deleted_at IS NULL AND k.deleted_at IS NULL
        ) k ON true
    ORDER BY i.n;
END
$$;

-- Asks for the thumbnail of what the grants show of the card that a contact of
-- the current user follows.  Its view has the name that cx_view_name() gives.
-- Who is changing the card asks for new ones, so nobody waits for that.
CREATE FUNCTION cardx.contact_thumbnail(wanted text, its_thumbnail text)
    RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    k cardx.cards;
BEGIN
    SELECT a.* INTO k
    FROM cardx.contacts c
    JOIN cardx.cards a ON a.card_id = c.card_id
    WHERE c.contact_id = wanted AND c.user_id = cardx.current_user_id()
        AND c.deleted_at IS NULL AND a.deleted_at IS NULL
    FOR SHARE OF a SKIP LOCKED;

    INSERT INTO cardx.thumbnails (thumbnail_id, card_id, user_id, view, fields,
                                  picture_version)
    SELECT its_thumbnail, k.card_id, k.user_id,
        CASE WHEN f.fields IS NULL THEN '' ELSE
            left(encode(sha256(convert_to(array_to_string(f.fields, ','),
                                          'UTF8')), 'hex'), 16) END,
        f.fields, k.picture_version
    FROM cardx.grant_fields(k.card_id, cardx.current_user_id()) f
    ON CONFLICT (card_id, view, picture_version) DO NOTHING;

    IF FOUND THEN
        PERFORM cardx.outbox_add('thumbnail', its_thumbnail);
    END IF;
END
$$;

-- Keeps a card in the current user's book (A7): its_key: the SHA-256 of the
-- key.  No row: the key does not open the card, or not for this user.  Else
-- the contact, which is its_contact if it is new.  state: 'new', 'there',
-- 'undeleted' or 'full'.
CREATE FUNCTION cardx.contact_save(its_contact text, its_card text,
                                   its_key bytea, its_layer bytea,
                                   its_tokens bytea, most integer)
    RETURNS TABLE (contact_id text, state text)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    me text := cardx.current_user_id();
    its cardx.card_keys;
    there cardx.contacts;
BEGIN
    -- the card before its keys, as everywhere
    PERFORM FROM cardx.cards c
    WHERE c.card_id = its_card AND c.deleted_at IS NULL
    FOR SHARE;

    -- against a key that is being revoked, with its grants
    SELECT * INTO its FROM cardx.card_keys k
    WHERE k.key_hash = its_key AND k.card_id = its_card
        AND k.revoked_at IS NULL AND k.expires_at > now()
    FOR SHARE;

    IF NOT FOUND OR me IS NULL
        OR NOT cardx.grant_add(its_card, me, 'key', its.key_id, its.fields)
    THEN
        RETURN;
    END IF;

    SELECT * INTO there FROM cardx.contacts c
    WHERE c.user_id = me AND c.card_id = its_card
    FOR NO KEY UPDATE;

    IF FOUND THEN
        IF there.deleted_at IS NULL THEN
            RETURN QUERY SELECT there.contact_id, 'there';
            RETURN;
        END IF;

        UPDATE cardx.contacts c
        SET deleted_at = NULL, merged_into = NULL, revision = c.revision + 1,
            updated_at = now()
        WHERE c.contact_id = there.contact_id;
        RETURN QUERY SELECT there.contact_id, 'undeleted';
        RETURN;
    END IF;

    IF (SELECT count(*) FROM cardx.contacts c WHERE c.user_id = me) >= most
    THEN
        RETURN QUERY SELECT NULL::text, 'full';
        RETURN;
    END IF;

    INSERT INTO cardx.contacts AS c (contact_id, user_id, card_id, owner_id,
                                     layer, tokens)
    VALUES (its_contact, me, its_card, its.user_id, its_layer, its_tokens)
    ON CONFLICT (user_id, card_id) WHERE card_id IS NOT NULL
        DO UPDATE SET deleted_at = NULL
    RETURNING c.contact_id INTO contact_id;

    state := CASE WHEN contact_id = its_contact THEN 'new' ELSE 'there' END;
    RETURN NEXT;
END
$$;

-- Joins `other` into `kept`, or takes them apart again; both belong to the
-- current user.  The card that is followed goes along; one that shows nothing
-- any more is not followed.  moved: the card that went.  No row: they follow
-- two cards, or are not (as) there.
CREATE FUNCTION cardx.contact_join(kept text, other text)
    RETURNS TABLE (moved text)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    me text := cardx.current_user_id();
    k cardx.contacts;
    o cardx.contacts;
BEGIN
    PERFORM FROM cardx.contacts c
    WHERE c.contact_id IN (kept, other) AND c.user_id = me
    ORDER BY c.contact_id
    FOR NO KEY UPDATE;

    SELECT * INTO k FROM cardx.contacts c
    WHERE c.contact_id = kept AND c.user_id = me AND c.deleted_at IS NULL;
    SELECT * INTO o FROM cardx.contacts c
    WHERE c.contact_id = other AND c.user_id = me AND c.deleted_at IS NULL;

    IF k.contact_id IS NULL OR o.contact_id IS NULL OR kept = other THEN
        RETURN;
    END IF;

    IF EXISTS (SELECT FROM cardx.grant_fields(o.card_id, me)) THEN
        IF EXISTS (SELECT FROM cardx.grant_fields(k.card_id, me)) THEN
            RETURN;
        END IF;

        moved := o.card_id;
    END IF;

    UPDATE cardx.contacts c
    SET deleted_at = now(), merged_into = kept, revision = c.revision + 1,
        updated_at = now(), card_id = NULL, owner_id = NULL
    WHERE c.contact_id = other;

    IF moved IS NOT NULL THEN
        UPDATE cardx.contacts c
        SET card_id = o.card_id, owner_id = o.owner_id
        WHERE c.contact_id = kept;
    END IF;

    RETURN NEXT;
END
$$;

-- its_card: the card that came from `other` when they were joined, or null.
CREATE FUNCTION cardx.contact_part(kept text, other text, its_card text)
    RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    me text := cardx.current_user_id();
    k cardx.contacts;
BEGIN
    PERFORM FROM cardx.contacts c
    WHERE c.contact_id IN (kept, other) AND c.user_id = me
    ORDER BY c.contact_id
    FOR NO KEY UPDATE;

    SELECT * INTO k FROM cardx.contacts c
    WHERE c.contact_id = kept AND c.user_id = me AND c.deleted_at IS NULL;

    IF NOT FOUND OR NOT EXISTS (
        SELECT FROM cardx.contacts c
        WHERE c.contact_id = other AND c.user_id = me
            AND c.merged_into = kept
            AND c.deleted_at > now() - interval '30 days')
    THEN
        RETURN false;
    END IF;

    IF its_card IS NOT NULL AND k.card_id = its_card THEN
        UPDATE cardx.contacts c SET card_id = NULL, owner_id = NULL
        WHERE c.contact_id = kept;
    ELSE
        its_card := NULL;
    END IF;

    UPDATE cardx.contacts c
    SET deleted_at = NULL, merged_into = NULL, revision = c.revision + 1,
        updated_at = now(), card_id = its_card,
        owner_id = CASE WHEN its_card IS NOT NULL THEN k.owner_id END
    WHERE c.contact_id = other;

    RETURN true;
END
$$;

-- A medium of the live card behind a contact of the current user, if the
-- grants show it.
CREATE FUNCTION cardx.contact_medium(wanted text, its_kind text)
    RETURNS TABLE (media_id text, type text, bytes bigint)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        SELECT m.media_id, m.type, m.bytes
        FROM cardx.contacts c
        CROSS JOIN LATERAL cardx.grant_fields(c.card_id, c.user_id) f
        JOIN cardx.media m ON m.card_id = c.card_id AND m.kind = its_kind
            AND m.replaced_at IS NULL
        WHERE c.contact_id = wanted AND c.user_id = cardx.current_user_id()
            AND c.deleted_at IS NULL
            AND (f.fields IS NULL OR its_kind = ANY (f.fields));
    END;

-- Who holds a card of the current user (F5): one who has deleted it from the
-- book does not hold it.
CREATE FUNCTION cardx.card_holders(its_card text, after text, page integer)
    RETURNS TABLE (user_id text, nickname text, since timestamptz, ways text)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        SELECT g.holder_id, max(u.nickname), min(g.granted_at),
            jsonb_agg(DISTINCT g.via)::text
        FROM cardx.grants g
        JOIN cardx.users u ON u.user_id = g.holder_id
        WHERE g.card_id = its_card AND g.owner_id = cardx.current_user_id()
            AND (after IS NULL OR g.holder_id > after)
            AND NOT EXISTS (
                SELECT FROM cardx.contacts c
                WHERE c.user_id = g.holder_id AND c.card_id = g.card_id
                    AND c.deleted_at IS NOT NULL)
        GROUP BY g.holder_id
        ORDER BY g.holder_id
        LIMIT page;
    END;

CREATE FUNCTION cardx.card_blocks(its_card text, after text, page integer)
    RETURNS TABLE (user_id text, nickname text, blocked_at timestamptz)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        SELECT b.holder_id, u.nickname, b.blocked_at
        FROM cardx.blocks b
        JOIN cardx.users u ON u.user_id = b.holder_id
        WHERE b.card_id = its_card AND b.owner_id = cardx.current_user_id()
            AND (after IS NULL OR b.holder_id > after)
        ORDER BY b.holder_id
        LIMIT page;
    END;

-- Takes a card of the current user back from a holder: every grant ends, and
-- no way makes another.  False: there is no such card, or that one has never
-- held it.
CREATE FUNCTION cardx.card_take_back(its_card text, its_holder text)
    RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    me text := cardx.current_user_id();
BEGIN
    PERFORM FROM cardx.cards c
    WHERE c.card_id = its_card AND c.user_id = me AND c.deleted_at IS NULL
    FOR NO KEY UPDATE;

    IF NOT FOUND THEN
        RETURN false;
    END IF;

    IF cardx.grant_end(its_card, its_holder, NULL, NULL) = 0 AND NOT EXISTS (
        SELECT FROM cardx.blocks b
        WHERE b.card_id = its_card AND b.holder_id = its_holder)
    THEN
        RETURN false;
    END IF;

    INSERT INTO cardx.blocks (card_id, holder_id, owner_id)
    VALUES (its_card, its_holder, me)
    ON CONFLICT (card_id, holder_id) DO NOTHING;

    RETURN true;
END
$$;

-- Lifts a block; nothing is given back by that.
CREATE FUNCTION cardx.block_lift(its_card text, its_holder text)
    RETURNS boolean
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        DELETE FROM cardx.blocks b
        WHERE b.card_id = its_card AND b.holder_id = its_holder
            AND b.owner_id = cardx.current_user_id();
        SELECT EXISTS (SELECT FROM cardx.cards c
                       WHERE c.card_id = its_card
                           AND c.user_id = cardx.current_user_id()
                           AND c.deleted_at IS NULL);
    END;

-- Erases contacts that have been deleted for 30 days, and with them what
-- their holders saw by way of having saved the card.
CREATE FUNCTION cardx.contact_sweep(page integer) RETURNS bigint
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        WITH gone AS (
            DELETE FROM cardx.contacts c
            WHERE c.contact_id IN (
                SELECT d.contact_id FROM cardx.contacts d
                WHERE d.deleted_at < now() - interval '30 days'
                LIMIT page FOR UPDATE SKIP LOCKED)
            RETURNING c.user_id, c.card_id),
        ended AS (
            DELETE FROM cardx.grants g USING gone
            WHERE g.card_id = gone.card_id AND g.holder_id = gone.user_id
                AND g.via IN ('key', 'exchange', 'delivery', 'share'))
        SELECT count(*) FROM gone;
    END;

CALL cardx.let_call('cardx_api', 'contact_read', 'contact_thumbnail',
    'contact_save', 'contact_join', 'contact_part', 'contact_medium',
    'card_holders', 'card_blocks', 'card_take_back', 'block_lift');
CALL cardx.let_call('cardx_fanout', 'contact_sweep');
CALL cardx.let_call(NULL, 'grant_add', 'grant_end', 'grant_fields',
    'log_contact', 'log_grant', 'history_bound');

COMMIT;
