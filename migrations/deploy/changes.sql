-- Deploy cardx:changes to pg
--
-- The log of changes (docs/changes.md): for each user one row per object that
-- is theirs to see, with the transaction of its last change; a deleted object
-- leaves a tombstone.  Readers take rows with xid < pg_snapshot_xmin(): what
-- is below that bound is decided, so a change that commits late is never
-- skipped, and no counter is locked.

BEGIN;

-- No reference to users: a foreign key would lock the holder's row for each
-- row that a fan-out writes.  A trigger deletes the log with its user.
CREATE TABLE cardx.user_log (
    user_id text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL
        CHECK (kind IN ('card', 'contact', 'circle', 'member', 'application',
                        'news', 'inbox', 'exchange', 'share', 'terminal',
                        'account')),
    object_id text COLLATE "C" NOT NULL,
    op text NOT NULL CHECK (op IN ('put', 'delete')),
    xid xid8 NOT NULL,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, kind, object_id)
);
CREATE INDEX user_log_xid ON cardx.user_log (user_id, xid);

COMMENT ON COLUMN cardx.user_log.xid IS
    'Of the last change; below pg_snapshot_xmin() it is decided';

-- One row: what makes this database's tokens its own.  Redrawn by hand after
-- files were put back behind PostgreSQL's back (docs/database.md).
CREATE TABLE cardx.log_state (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    epoch uuid NOT NULL DEFAULT gen_random_uuid()
);
INSERT INTO cardx.log_state DEFAULT VALUES;

CALL cardx.protect('user_log');
GRANT SELECT ON cardx.user_log TO cardx_api;
GRANT SELECT ON cardx.log_state TO cardx_definer;
CREATE POLICY own ON cardx.user_log FOR SELECT TO cardx_api
    USING (user_id = (SELECT cardx.current_user_id()));

-- The epoch of tokens: another one after a restore into another database, and
-- on another timeline (point-in-time recovery, a standby that took over).
CREATE FUNCTION cardx.log_epoch() RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    RETURN (SELECT left(encode(sha256(convert_to(concat_ws(' ', s.epoch,
                (SELECT c.system_identifier FROM pg_control_system() c),
                left(pg_walfile_name(pg_current_wal_lsn()), 8),
                (SELECT d.oid FROM pg_database d
                 WHERE d.datname = current_database()),
                'cardx.user_log'::regclass::oid), 'UTF8')), 'hex'), 16)
            FROM cardx.log_state s);

-- Notes changes of one kind in users' logs, as part of the caller's
-- transaction: an object for each user.  its_op: 'put' or 'delete'.
CREATE FUNCTION cardx.log_add_all(its_users text[], its_kind text,
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

        -- rows of this transaction alone: nobody waits for them
        INSERT INTO cardx.outbox (effect, object)
        SELECT DISTINCT 'wake', n.user_id || '/' || pg_current_xact_id()
        FROM unnest(its_users) n (user_id)
        ON CONFLICT (effect, object) DO NOTHING;
    END;

-- Notes a change in one user's log.
CREATE FUNCTION cardx.log_add(its_user text, its_kind text, its_object text,
                              its_op text)
    RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        SELECT cardx.log_add_all(ARRAY[its_user], its_kind, ARRAY[its_object],
                                 its_op);
    END;

-- What is logged where it is written, so that nobody can forget it.  A card
-- that goes for good was logged as deleted before.
CREATE FUNCTION cardx.log_card() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM cardx.log_add(new.user_id, 'card', new.card_id,
        CASE WHEN new.deleted_at IS NULL THEN 'put' ELSE 'delete' END);

    IF EXISTS (SELECT FROM cardx.grants g WHERE g.card_id = new.card_id) THEN
        PERFORM cardx.outbox_add('holders', new.card_id);
    END IF;

    RETURN NULL;
END
$$;

CREATE TRIGGER log_insert AFTER INSERT ON cardx.cards
    FOR EACH ROW EXECUTE FUNCTION cardx.log_card();
CREATE TRIGGER log_update AFTER UPDATE OF revision ON cardx.cards
    FOR EACH ROW WHEN (old.revision <> new.revision)
    EXECUTE FUNCTION cardx.log_card();

CREATE FUNCTION cardx.log_terminal() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM cardx.log_add(new.user_id, 'terminal', new.terminal_id::text,
        CASE WHEN new.signed_out_at IS NULL THEN 'put' ELSE 'delete' END);
    RETURN NULL;
END
$$;

CREATE TRIGGER log_insert AFTER INSERT ON cardx.terminals
    FOR EACH ROW EXECUTE FUNCTION cardx.log_terminal();
CREATE TRIGGER log_update AFTER UPDATE OF name, signed_out_at
    ON cardx.terminals
    FOR EACH ROW WHEN (old.name <> new.name
        OR old.signed_out_at IS DISTINCT FROM new.signed_out_at)
    EXECUTE FUNCTION cardx.log_terminal();

-- The account, and sign-ins that wait for its approval, which it shows.
CREATE FUNCTION cardx.log_account() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM cardx.log_add(new.user_id, 'account', new.user_id, 'put');
    RETURN NULL;
END
$$;

CREATE TRIGGER log_insert AFTER INSERT ON cardx.users
    FOR EACH ROW EXECUTE FUNCTION cardx.log_account();
CREATE TRIGGER log_update AFTER UPDATE OF phone, nickname, own_card_id, locale
    ON cardx.users
    FOR EACH ROW WHEN (
        (old.phone, old.nickname, old.own_card_id, old.locale)
            IS DISTINCT FROM
        (new.phone, new.nickname, new.own_card_id, new.locale))
    EXECUTE FUNCTION cardx.log_account();
CREATE TRIGGER log_insert AFTER INSERT ON cardx.approvals
    FOR EACH ROW EXECUTE FUNCTION cardx.log_account();
CREATE TRIGGER log_update AFTER UPDATE OF approved ON cardx.approvals
    FOR EACH ROW WHEN (old.approved IS DISTINCT FROM new.approved)
    EXECUTE FUNCTION cardx.log_account();

CREATE FUNCTION cardx.log_drop() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM cardx.user_log l WHERE l.user_id = old.user_id;
    RETURN NULL;
END
$$;

CREATE TRIGGER log_drop AFTER DELETE ON cardx.users
    FOR EACH ROW EXECUTE FUNCTION cardx.log_drop();

-- Objects that are older than the log.
INSERT INTO cardx.user_log
SELECT u.user_id, 'account', u.user_id, 'put', pg_current_xact_id(),
    u.created_at
FROM cardx.users u
UNION ALL
SELECT c.user_id, 'card', c.card_id, 'put', pg_current_xact_id(), c.updated_at
FROM cardx.cards c WHERE c.deleted_at IS NULL
UNION ALL
SELECT t.user_id, 'terminal', t.terminal_id::text, 'put',
    pg_current_xact_id(), t.created_at
FROM cardx.terminals t WHERE t.signed_out_at IS NULL;

CALL cardx.let_call('cardx_api', 'log_epoch', 'log_add');
CALL cardx.let_call(NULL, 'log_add_all', 'log_card', 'log_terminal',
    'log_account', 'log_drop');
GRANT EXECUTE ON FUNCTION cardx.log_epoch TO cardx_fanout;

COMMIT;
