-- Deploy cardx:projection to pg
--
-- What the projection in Redis is made from (docs/projection.md): a card with
-- its keys and media, as one row, for the worker that has changed it, the
-- worker that was asked for it, and fanout.

BEGIN;

-- keys: those that have not expired; a revoked one has "expires": 0.
-- media: {kind: {media_id, type, bytes}}.
CREATE FUNCTION cardx.card_projection(wanted text)
    RETURNS TABLE (revision bigint, deleted boolean, card text, media text,
                   keys text)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        SELECT c.revision, c.deleted_at IS NOT NULL, c.card::text,
            coalesce((
                SELECT jsonb_object_agg(m.kind, jsonb_build_object(
                    'media_id', m.media_id, 'type', m.type,
                    'bytes', m.bytes))
                FROM cardx.media m
                WHERE m.card_id = c.card_id AND m.replaced_at IS NULL
            ), '{}')::text,
            coalesce((
                SELECT jsonb_agg(jsonb_build_object(
                    'hash', encode(k.key_hash, 'hex'),
                    'expires', CASE WHEN k.revoked_at IS NULL
                        THEN ceil(extract(epoch FROM k.expires_at))::bigint
                        ELSE 0 END,
                    'view', k.view, 'fields', k.fields))
                FROM cardx.card_keys k
                WHERE k.card_id = c.card_id AND k.expires_at > now()
            ), '[]')::text
        FROM cardx.cards c
        WHERE c.card_id = wanted;
    END;

ALTER FUNCTION cardx.card_projection(text) OWNER TO cardx_definer;
GRANT EXECUTE ON FUNCTION cardx.card_projection(text)
    TO cardx_api, cardx_fanout;

COMMIT;
