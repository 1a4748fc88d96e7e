-- Revert cardx:fan_out from pg

BEGIN;

DROP FUNCTION cardx.fanout_write(text, integer),
    cardx.log_holders(text[], text[]), cardx.contacts_forget(text, text, text),
    cardx.fanout_tell(text), cardx.fanout_take(),
    cardx.wakes_postpone(text[]), cardx.wakes_take(integer, integer);
DROP TABLE cardx.fanouts;

CREATE OR REPLACE FUNCTION cardx.outbox_depth()
    RETURNS TABLE (effect text, waiting bigint, oldest bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        SELECT e.effect, count(o.object),
            coalesce(extract(epoch FROM now() - min(o.created_at)), 0)::bigint
        FROM unnest(ARRAY['card', 'sms', 'terminal', 'thumbnail']) e (effect)
        LEFT JOIN cardx.outbox o USING (effect)
        GROUP BY e.effect
        ORDER BY e.effect;
    END;

CREATE OR REPLACE FUNCTION cardx.log_card() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM cardx.log_add(new.user_id, 'card', new.card_id,
        CASE WHEN new.deleted_at IS NULL THEN 'put' ELSE 'delete' END);
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION cardx.log_add_all(its_users text[], its_kind text,
                                             its_objects text[], its_op text)
    RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        INSERT INTO cardx.user_log AS l
            (user_id, kind, object_id, op, xid, changed_at)
        SELECT n.user_id, its_kind, n.object_id, its_op, pg_current_xact_id(),
            now()
        FROM unnest(its_users, its_objects) n (user_id, object_id)
        ORDER BY n.user_id, n.object_id
        ON CONFLICT (user_id, kind, object_id) DO UPDATE
            SET op = excluded.op, xid = excluded.xid,
                changed_at = excluded.changed_at;
    END;

-- nobody handles these any more
DELETE FROM cardx.outbox WHERE effect IN ('wake', 'holders');

COMMENT ON COLUMN cardx.outbox.object IS
    'card: card_id; terminal: <user_id>/<terminal_id>; thumbnail: '
    'thumbnail_id; sms: sms_id';

COMMIT;
