-- Deploy cardx:outbox to pg
--
-- What must happen outside once a transaction is committed: one row per
-- (effect, object), without data; who handles it reads the truth.  A row
-- that is asked for again while it is in hand gets a higher generation, and
-- is handled once more.

BEGIN;

CREATE TABLE cardx.outbox (
    effect text NOT NULL CHECK (effect ~ '^[a-z_]+$'),
    object text COLLATE "C" NOT NULL,
    generation bigint NOT NULL DEFAULT 1,
    attempts integer NOT NULL DEFAULT 0,
    due_at timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (effect, object)
) WITH (fillfactor = 70);

CREATE INDEX outbox_due ON cardx.outbox (effect, due_at);

COMMENT ON TABLE cardx.outbox IS
    'Effects that follow a commit; due_at moves on while one is in hand';
COMMENT ON COLUMN cardx.outbox.object IS
    'card, holders: card_id; terminal: <user_id>/<terminal_id>; thumbnail: '
    'thumbnail_id; sms: sms_id; wake: <user_id>/<xid>; push: '
    'subscription_id; match: user_id';

-- Asks for an effect; part of the caller's transaction.
CREATE FUNCTION cardx.outbox_add(new_effect text, new_object text)
    RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        INSERT INTO cardx.outbox AS o (effect, object)
        VALUES (new_effect, new_object)
        ON CONFLICT (effect, object) DO UPDATE
            SET generation = o.generation + 1,
                due_at = least(o.due_at, now());
    END;

-- For monitoring: how much waits, and for how many seconds already.
CREATE FUNCTION cardx.outbox_depth()
    RETURNS TABLE (effect text, waiting bigint, oldest bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        SELECT e.effect, count(o.object),
            coalesce(extract(epoch FROM now() - min(o.created_at)), 0)::bigint
        FROM (SELECT unnest(ARRAY['card', 'holders', 'sms', 'terminal',
                                  'thumbnail', 'wake'])
              UNION
              SELECT DISTINCT a.effect FROM cardx.outbox a) e (effect)
        LEFT JOIN cardx.outbox o USING (effect)
        GROUP BY e.effect
        ORDER BY e.effect;
    END;

ALTER TABLE cardx.outbox OWNER TO cardx_definer;
ALTER FUNCTION cardx.outbox_add(text, text) OWNER TO cardx_definer;
ALTER FUNCTION cardx.outbox_depth() OWNER TO cardx_definer;
GRANT EXECUTE ON FUNCTION cardx.outbox_add(text, text),
    cardx.outbox_depth() TO cardx_api;
GRANT SELECT, UPDATE, DELETE ON cardx.outbox TO cardx_fanout;

-- One row: state of fanout that must survive it.
CREATE TABLE cardx.fanout_state (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    scans_batch text NOT NULL DEFAULT ''
);
INSERT INTO cardx.fanout_state DEFAULT VALUES;
COMMENT ON COLUMN cardx.fanout_state.scans_batch IS
    'Name of the batch of scan counts that was added last';
GRANT SELECT, UPDATE ON cardx.fanout_state TO cardx_fanout;

COMMIT;
