-- Deploy cardx:card_calls to pg
--
-- What is asked by somebody who is nobody here: a card by its key, a
-- thumbnail or a medium by its id, a scanned code (A4 - A6, F1).  These cross
-- users, so they are functions of cardx_definer, each of which gives no more
-- than what was asked for.

BEGIN;

-- No row: no such key of this card.  Not granted: the key is revoked or
-- expired, or the card is deleted; the rest is null then.  fields: a JSON
-- array, null for all.  media: {kind: {media_id, type, bytes}}, not yet
-- reduced to what the fields show.
CREATE FUNCTION cardx.card_fetch(wanted text, its_key bytea)
    RETURNS TABLE (granted boolean, revision bigint, view text, fields text,
                   card text, media text, thumbnail_id text)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        SELECT g.granted, c.revision, k.view, to_jsonb(k.fields)::text,
            c.card::text,
            coalesce((
                SELECT jsonb_object_agg(m.kind, jsonb_build_object(
                    'media_id', m.media_id, 'type', m.type,
                    'bytes', m.bytes))
                FROM cardx.media m
                WHERE m.card_id = c.card_id AND m.replaced_at IS NULL
            ), '{}')::text,
            t.thumbnail_id
        FROM cardx.card_keys k
        JOIN cardx.cards s ON s.card_id = k.card_id
        CROSS JOIN LATERAL (
            SELECT k.revoked_at IS NULL AND k.expires_at > now()
                AND s.deleted_at IS NULL AS granted) g
        LEFT JOIN cardx.cards c ON c.card_id = k.card_id AND g.granted
        LEFT JOIN cardx.thumbnails t ON t.card_id = c.card_id
            AND t.view = k.view AND t.picture_version = c.picture_version
        WHERE k.key_hash = its_key AND k.card_id = wanted;
    END;

-- Where a scanned code leads.  No row: no such key.  A scan is counted when
-- the code leads somewhere and `counted` says so.
CREATE FUNCTION cardx.redirect_fetch(its_key bytea, counted boolean)
    RETURNS TABLE (granted boolean, card_id text, expires bigint, view text)
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        WITH scanned AS (
            UPDATE cardx.card_keys k
            SET scans = k.scans + 1
            FROM cardx.cards c
            WHERE counted AND k.key_hash = its_key AND k.revoked_at IS NULL
                AND k.expires_at > now() AND c.card_id = k.card_id
                AND c.deleted_at IS NULL)
        SELECT k.revoked_at IS NULL AND k.expires_at > now()
                AND c.deleted_at IS NULL,
            k.card_id, ceil(extract(epoch FROM k.expires_at))::bigint, k.view
        FROM cardx.card_keys k
        JOIN cardx.cards c ON c.card_id = k.card_id
        WHERE k.key_hash = its_key;
    END;

-- No row: there is no such thumbnail (any more).  A null image has yet to be
-- drawn.
CREATE FUNCTION cardx.thumbnail_fetch(wanted text)
    RETURNS TABLE (image bytea)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        SELECT t.image
        FROM cardx.thumbnails t
        JOIN cardx.cards c ON c.card_id = t.card_id
        WHERE t.thumbnail_id = wanted AND c.deleted_at IS NULL;
    END;

-- What a thumbnail is drawn from.  image: it is there already, as it was
-- drawn, or as the owner's own picture (of the whole card alone: what that
-- shows, no list of fields can hide).
CREATE FUNCTION cardx.thumbnail_source(wanted text)
    RETURNS TABLE (card text, fields text, image bytea)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        SELECT c.card::text, to_jsonb(t.fields)::text,
            coalesce(t.image, o.image)
        FROM cardx.thumbnails t
        JOIN cardx.cards c ON c.card_id = t.card_id
        LEFT JOIN cardx.own_thumbnails o
            ON o.card_id = t.card_id AND t.view = ''
        WHERE t.thumbnail_id = wanted AND c.deleted_at IS NULL;
    END;

-- A picture of the thumbnail's card, in the smaller of the forms that do: a
-- logo may have transparency, which only the original keeps.
CREATE FUNCTION cardx.thumbnail_picture(wanted text, its_kind text)
    RETURNS bytea
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    RETURN (
        SELECT CASE
            WHEN m.vcard_jpeg IS NOT NULL
                AND (m.kind = 'photo' OR m.bytes > 1048576)
            THEN m.vcard_jpeg
            ELSE (SELECT string_agg(h.data, '\x'::bytea ORDER BY h.seq)
                  FROM cardx.media_chunks h
                  WHERE h.media_id = m.media_id)
            END
        FROM cardx.thumbnails t
        JOIN cardx.media m ON m.card_id = t.card_id
            AND m.replaced_at IS NULL
        WHERE t.thumbnail_id = wanted AND m.kind = its_kind
            AND its_kind IN ('photo', 'logo'));

-- Keeps what was drawn, and returns what is kept: the first one, since an id
-- never shows two pictures.  Null: the thumbnail is gone.
CREATE FUNCTION cardx.thumbnail_store(wanted text, drawn bytea)
    RETURNS bytea
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        UPDATE cardx.thumbnails t
        SET image = coalesce(t.image, drawn)
        FROM cardx.cards c
        WHERE t.thumbnail_id = wanted AND c.card_id = t.card_id
            AND c.deleted_at IS NULL
        RETURNING t.image;
    END;

-- A medium whose key the edge has verified, or that a card_fetch() named.
CREATE FUNCTION cardx.medium_fetch(wanted text)
    RETURNS TABLE (type text, bytes bigint)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        SELECT m.type, m.bytes
        FROM cardx.media m
        JOIN cardx.cards c ON c.card_id = m.card_id
        WHERE m.media_id = wanted AND c.deleted_at IS NULL;
    END;

-- The picture as a vCard takes it: a small JPEG.
CREATE FUNCTION cardx.medium_vcard(wanted text)
    RETURNS bytea
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    RETURN (SELECT m.vcard_jpeg
            FROM cardx.media m
            JOIN cardx.cards c ON c.card_id = m.card_id
            WHERE m.media_id = wanted AND c.deleted_at IS NULL);

CREATE FUNCTION cardx.media_chunk_range(wanted text, first integer,
                                        last integer)
    RETURNS TABLE (seq integer, data bytea)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        SELECT h.seq, h.data
        FROM cardx.media_chunks h
        WHERE h.media_id = wanted AND h.seq BETWEEN first AND last
        ORDER BY h.seq;
    END;

CALL cardx.let_call('cardx_api', 'card_fetch', 'redirect_fetch',
    'thumbnail_fetch', 'thumbnail_source', 'thumbnail_picture',
    'thumbnail_store', 'medium_fetch', 'medium_vcard', 'media_chunk_range');

-- the worker that draws what nobody has asked for yet
GRANT EXECUTE ON FUNCTION cardx.thumbnail_source, cardx.thumbnail_picture,
    cardx.thumbnail_store TO cardx_fanout;

COMMIT;
