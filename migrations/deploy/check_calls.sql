-- Deploy cardx:check_calls to pg
--
-- What `cardx-fanout SETTINGS check` asks, to compare the projection in Redis
-- with what is true.  Redis knows keys and tokens by the first 16 bytes of
-- their hash.

BEGIN;

-- The cards that a complete projection has, in pages.
CREATE FUNCTION cardx.check_cards(after text, page integer)
    RETURNS TABLE (card_id text)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        SELECT DISTINCT k.card_id
        FROM cardx.card_keys k
        WHERE k.card_id > after AND k.expires_at > now()
            AND k.revoked_at IS NULL
        ORDER BY k.card_id
        LIMIT page;
    END;

CREATE FUNCTION cardx.check_thumbnails(after text, page integer)
    RETURNS TABLE (thumbnail_id text)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        SELECT t.thumbnail_id
        FROM cardx.thumbnails t
        JOIN cardx.cards c USING (card_id)
        WHERE t.thumbnail_id > after AND t.image IS NOT NULL
            AND c.deleted_at IS NULL
        ORDER BY t.thumbnail_id
        LIMIT page;
    END;

-- Which card a key opens, and until when; no row: none (any more).
CREATE FUNCTION cardx.check_key(hash_start bytea)
    RETURNS TABLE (card_id text, expires bigint)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        SELECT k.card_id, ceil(extract(epoch FROM k.expires_at))::bigint
        FROM cardx.card_keys k
        JOIN cardx.cards c USING (card_id)
        WHERE k.key_hash >= hash_start
            AND k.key_hash
                < hash_start || '\xffffffffffffffffffffffffffffffffff'
            AND substr(k.key_hash, 1, 16) = hash_start
            AND k.revoked_at IS NULL AND k.expires_at > now()
            AND c.deleted_at IS NULL;
    END;

-- Whose access token this is, and until when; no row: nobody's.
CREATE FUNCTION cardx.check_token(hash_start bytea)
    RETURNS TABLE (user_id text, expires bigint)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        SELECT a.user_id, floor(extract(epoch FROM a.expires_at))::bigint
        FROM cardx.access_tokens a
        JOIN cardx.terminals t USING (terminal_id)
        WHERE a.token_hash >= hash_start
            AND a.token_hash
                < hash_start || '\xffffffffffffffffffffffffffffffffff'
            AND substr(a.token_hash, 1, 16) = hash_start
            AND a.expires_at > now() AND t.signed_out_at IS NULL;
    END;

-- SHA-256 of a thumbnail that may be seen, in hex; null: there is none.
CREATE FUNCTION cardx.check_thumbnail(wanted text) RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    RETURN (SELECT encode(sha256(t.image), 'hex')
            FROM cardx.thumbnails t
            JOIN cardx.cards c USING (card_id)
            WHERE t.thumbnail_id = wanted AND c.deleted_at IS NULL);

CALL cardx.let_call('cardx_fanout', 'check_cards', 'check_thumbnails',
    'check_key', 'check_token', 'check_thumbnail');

COMMIT;
