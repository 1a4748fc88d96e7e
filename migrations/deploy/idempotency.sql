-- Deploy cardx:idempotency to pg
--
-- Finding and keeping the answer that belongs to an Idempotency-Key.  Both
-- run in the transaction of the request itself, so the answer is kept if and
-- only if its effect is.

BEGIN;

-- state: 'new', 'kept' (status and sealed_answer are set), 'other' (the same
-- key with another request) or 'running' (the first is not finished).
CREATE FUNCTION cardx.idempotency_find(its_scope text, its_key bytea,
                                       its_request bytea)
    RETURNS TABLE (state text, status integer, sealed_answer bytea)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    kept cardx.idempotency;
BEGIN
    IF NOT pg_try_advisory_xact_lock(
        hashtextextended(its_scope || encode(its_key, 'hex'), 0))
    THEN
        RETURN QUERY SELECT 'running', NULL::integer, NULL::bytea;
        RETURN;
    END IF;

    SELECT * INTO kept FROM cardx.idempotency i
    WHERE i.scope = its_scope AND i.key_hash = its_key;

    IF NOT FOUND THEN
        RETURN QUERY SELECT 'new', NULL::integer, NULL::bytea;

    ELSIF kept.created_at < now() - interval '24 hours' THEN
        DELETE FROM cardx.idempotency i
        WHERE i.scope = its_scope AND i.key_hash = its_key;
        RETURN QUERY SELECT 'new', NULL::integer, NULL::bytea;

    ELSIF kept.request_hash <> its_request THEN
        RETURN QUERY SELECT 'other', NULL::integer, NULL::bytea;

    ELSE
        RETURN QUERY SELECT 'kept', kept.status, kept.sealed_answer;
    END IF;
END
$$;

CREATE FUNCTION cardx.idempotency_keep(its_scope text, its_key bytea,
                                       its_request bytea, its_status integer,
                                       its_answer bytea)
    RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        INSERT INTO cardx.idempotency
            (scope, key_hash, request_hash, status, sealed_answer)
        VALUES (its_scope, its_key, its_request, its_status, its_answer);
    END;

CALL cardx.let_call('cardx_api', 'idempotency_find', 'idempotency_keep');

COMMIT;
