-- Deploy cardx:account_export to pg
--
-- What GET /v1/me/export (F8) reads where its role may not look: rows about
-- the current user that others have made, and names of others who have a
-- grant.  Each goes on after the last one's name, `page` at a time.

BEGIN;

-- Proofs of the user's numbers.  An address is told where the proof was
-- given, since else it is anybody's.
CREATE FUNCTION cardx.export_proofs(after text, page integer)
    RETURNS TABLE (name text, item json)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        SELECT r.registration_id, json_build_object(
            'phone', r.phone,
            'method', r.method,
            'for', CASE WHEN r.user_id IS NULL THEN 'registration'
                ELSE 'change' END,
            'address', CASE WHEN r.proved_at IS NOT NULL
                THEN host(r.address) END,
            'wrong_codes', r.tries,
            'created_at', cardx.rfc3339(r.created_at),
            'proved_at', cardx.rfc3339(r.proved_at),
            'finished_at', cardx.rfc3339(r.finished_at))
        FROM cardx.users u
        JOIN cardx.registrations r ON r.user_id = u.user_id
            OR (r.user_id IS NULL AND r.phone = u.phone
                AND r.expires_at >= u.created_at)
        WHERE u.user_id = cardx.current_user_id()
            AND r.registration_id > coalesce(after, '')
        ORDER BY r.registration_id
        LIMIT page;
    END;

-- Messages to the user's number; what they said is erased once they are sent.
CREATE FUNCTION cardx.export_messages(after text, page integer)
    RETURNS TABLE (name text, item json)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        SELECT m.sms_id, json_build_object(
            'to', m.recipient,
            'state', m.state,
            'created_at', cardx.rfc3339(m.created_at),
            'changed_at', cardx.rfc3339(m.changed_at))
        FROM cardx.users u
        JOIN cardx.sms m ON m.recipient = u.phone
            AND m.expires_at >= u.created_at
        WHERE u.user_id = cardx.current_user_id()
            AND m.sms_id > coalesce(after, '')
        ORDER BY m.sms_id
        LIMIT page;
    END;

-- Who holds the user's cards, by which way.  `after`: card_id, holder_id, via
-- and source of the last one, as text[].
CREATE FUNCTION cardx.export_given(after text[], page integer)
    RETURNS TABLE (name text, item json)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        SELECT ARRAY[g.card_id, g.holder_id, g.via, g.source]::text,
            json_build_object(
                'card_id', g.card_id,
                'user_id', g.holder_id,
                'nickname', u.nickname,
                'via', g.via,
                'source', g.source,
                'fields', g.fields,
                'granted_at', cardx.rfc3339(g.granted_at))
        FROM (SELECT c.card_id
              FROM cardx.cards c
              WHERE c.user_id = cardx.current_user_id()
                  AND c.card_id >= coalesce(after[1], '')
              ORDER BY c.card_id) c
        CROSS JOIN LATERAL (
            SELECT *
            FROM cardx.grants a
            WHERE a.card_id = c.card_id
                AND (a.card_id, a.holder_id, a.via, a.source)
                    > (coalesce(after[1], ''), coalesce(after[2], ''),
                       coalesce(after[3], ''), coalesce(after[4], ''))
            ORDER BY a.card_id, a.holder_id, a.via, a.source
            LIMIT page) g
        JOIN cardx.users u ON u.user_id = g.holder_id
        ORDER BY g.card_id, g.holder_id, g.via, g.source
        LIMIT page;
    END;

-- By which ways the user holds others' cards.
CREATE FUNCTION cardx.export_held(after text[], page integer)
    RETURNS TABLE (name text, item json)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        SELECT ARRAY[g.card_id, g.via, g.source]::text, json_build_object(
            'card_id', g.card_id,
            'user_id', g.owner_id,
            'nickname', u.nickname,
            'via', g.via,
            'fields', g.fields,
            'granted_at', cardx.rfc3339(g.granted_at))
        FROM cardx.grants g
        JOIN cardx.users u ON u.user_id = g.owner_id
        WHERE g.holder_id = cardx.current_user_id()
            AND (g.card_id, g.via, g.source)
                > (coalesce(after[1], ''), coalesce(after[2], ''),
                   coalesce(after[3], ''))
        ORDER BY g.card_id, g.via, g.source
        LIMIT page;
    END;

-- From whom the user has taken a card back.
CREATE FUNCTION cardx.export_blocks(after text[], page integer)
    RETURNS TABLE (name text, item json)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        SELECT ARRAY[b.card_id, b.holder_id]::text, json_build_object(
            'card_id', b.card_id,
            'user_id', b.holder_id,
            'nickname', u.nickname,
            'blocked_at', cardx.rfc3339(b.blocked_at))
        FROM cardx.cards c
        JOIN cardx.blocks b USING (card_id)
        JOIN cardx.users u ON u.user_id = b.holder_id
        WHERE c.user_id = cardx.current_user_id()
            AND (b.card_id, b.holder_id)
                > (coalesce(after[1], ''), coalesce(after[2], ''))
        ORDER BY b.card_id, b.holder_id
        LIMIT page;
    END;

-- What changed in the user's contacts, in the order of the book.  shown_card:
-- the card that the contact follows, null if the grants show none of it (any
-- more); fields: JSON, what they show.
CREATE FUNCTION cardx.export_history(after text[], page integer)
    RETURNS TABLE (name text, contact_id text, what text, changed_at text,
                   changes bytea, shown_card text, fields text)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp SET enable_bitmapscan = off
AS $$
#variable_conflict use_column
DECLARE
    me text := cardx.current_user_id();
    after_at timestamptz := '-infinity';
    after_contact text := coalesce(after[1], '');
    after_id bigint := coalesce(after[2], '0');
    room integer := page;
    c record;
    n integer;
BEGIN
    IF after IS NOT NULL THEN
        SELECT coalesce(max(a.created_at), '-infinity') INTO after_at
        FROM cardx.contacts a
        WHERE a.contact_id = after_contact AND a.user_id = me;
    END IF;

    -- one by one: a join would read the histories of all before it sorts them
    FOR c IN
        SELECT a.contact_id, f.card_id, f.fields
        FROM cardx.contacts a
        LEFT JOIN LATERAL (
            SELECT a.card_id, to_jsonb(g.fields)::text AS fields
            FROM cardx.grant_fields(a.card_id, me) g
            WHERE a.card_id IS NOT NULL AND a.deleted_at IS NULL) f ON true
        WHERE a.user_id = me
            AND (a.created_at, a.contact_id) >= (after_at, after_contact)
        ORDER BY a.created_at, a.contact_id
    LOOP
        RETURN QUERY
        SELECT ARRAY[c.contact_id, h.history_id::text]::text, c.contact_id,
            h.what, cardx.rfc3339(h.changed_at), h.changes, c.card_id, c.fields
        FROM cardx.contact_history h
        WHERE h.contact_id = c.contact_id
            AND h.history_id > CASE WHEN c.contact_id = after_contact
                THEN after_id ELSE 0 END
        ORDER BY h.history_id
        LIMIT room;
        GET DIAGNOSTICS n = ROW_COUNT;
        room := room - n;
        EXIT WHEN room = 0;
    END LOOP;
END
$$;

-- The numbers that were uploaded to be matched, sealed under the user's key.
CREATE FUNCTION cardx.export_numbers(after text[], page integer)
    RETURNS TABLE (name text, contact_id text, number bytea)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        SELECT ARRAY[e.contact_id, encode(e.tag, 'hex')]::text, e.contact_id,
            e.number
        FROM cardx.match_entries e
        WHERE e.user_id = cardx.current_user_id()
            AND (e.contact_id, e.tag)
                > (coalesce(after[1], ''),
                   decode(coalesce(after[2], ''), 'hex'))
        ORDER BY e.contact_id, e.tag
        LIMIT page;
    END;

-- Those that wait for room in the quota.
CREATE FUNCTION cardx.export_waiting(after text[], page integer)
    RETURNS TABLE (name text, contact_id text, number bytea)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        SELECT ARRAY[w.contact_id, encode(w.tag, 'hex')]::text, w.contact_id,
            w.number
        FROM cardx.match_waiting w
        WHERE w.user_id = cardx.current_user_id()
            AND (w.contact_id, w.tag)
                > (coalesce(after[1], ''),
                   decode(coalesce(after[2], ''), 'hex'))
        ORDER BY w.contact_id, w.tag
        LIMIT page;
    END;

-- Whom the user knows by that.
CREATE FUNCTION cardx.export_matches(after text, page integer)
    RETURNS TABLE (name text, item json)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        WITH m AS (
            SELECT x.higher_id AS peer_id, x.since,
                x.lower_contact_id AS contact_id,
                x.lower_card_id AS card_id, x.lower_fields AS fields
            FROM cardx.matches x
            WHERE x.lower_id = cardx.current_user_id()
            UNION ALL
            SELECT x.lower_id, x.since, x.higher_contact_id, x.higher_card_id,
                x.higher_fields
            FROM cardx.matches x
            WHERE x.higher_id = cardx.current_user_id())
        SELECT m.peer_id, json_build_object(
            'user_id', m.peer_id,
            'nickname', u.nickname,
            'contact_id', m.contact_id,
            'card_id', m.card_id,
            'fields', m.fields,
            'since', cardx.rfc3339(m.since))
        FROM m
        JOIN cardx.users u ON u.user_id = m.peer_id
        WHERE m.peer_id > coalesce(after, '')
        ORDER BY m.peer_id
        LIMIT page;
    END;

-- How many numbers were new, by day.
CREATE FUNCTION cardx.export_quota(after text, page integer)
    RETURNS TABLE (name text, item json)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        SELECT q.day::text, json_build_object('day', q.day,
                                              'numbers', q.numbers)
        FROM cardx.match_quota q
        WHERE q.user_id = cardx.current_user_id()
            AND q.day > coalesce(after, '-infinity')::date
        ORDER BY q.day
        LIMIT page;
    END;

CALL cardx.let_call('cardx_api', 'export_proofs', 'export_messages',
    'export_given', 'export_held', 'export_blocks', 'export_history',
    'export_numbers', 'export_waiting', 'export_matches', 'export_quota');

COMMIT;
