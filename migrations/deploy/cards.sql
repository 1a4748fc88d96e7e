-- Deploy cardx:cards to pg
--
-- Cards, their media, keys, grants and thumbnails (A1 - A6, F1).

BEGIN;

-- revision grows with each change of what the card shows: its properties and
-- its media.  It orders what is written to the projection.  updated_at is the
-- Card's own `updated` where the client has set it with its last change, else
-- the time of that change; never in the future (D3).  ahead_at is the latest
-- `updated` that was taken although it lay in the future: a copy that a clock
-- ahead has dated is not newer each time it comes.
CREATE TABLE cardx.cards (
    card_id text COLLATE "C" PRIMARY KEY,
    user_id text COLLATE "C" NOT NULL REFERENCES cardx.users ON DELETE CASCADE,
    card jsonb NOT NULL CHECK (octet_length(card::text) <= 131072),
    revision bigint NOT NULL DEFAULT 1,
    picture_version integer NOT NULL DEFAULT 1, -- of what thumbnails show
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    ahead_at timestamptz,
    deleted_at timestamptz,
    UNIQUE (card_id, user_id)       -- what hangs on a card is its owner's
);
CREATE INDEX cards_user ON cardx.cards (user_id, created_at, card_id);

ALTER TABLE cardx.users ADD CONSTRAINT users_own_card
    FOREIGN KEY (own_card_id, user_id)
        REFERENCES cardx.cards (card_id, user_id)
        ON DELETE SET NULL (own_card_id);

-- Immutable: another picture is another medium.
CREATE TABLE cardx.media (
    media_id text COLLATE "C" PRIMARY KEY,
    card_id text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    kind text NOT NULL CHECK (kind IN ('photo', 'logo', 'sound', 'video')),
    type text NOT NULL,
    bytes bigint NOT NULL CHECK (bytes > 0),
    vcard_jpeg bytea,               -- a picture small enough for a vCard 3.0
    created_at timestamptz NOT NULL DEFAULT now(),
    replaced_at timestamptz,        -- no longer the card's; null: current
    FOREIGN KEY (card_id, user_id) REFERENCES cardx.cards (card_id, user_id)
        ON DELETE CASCADE
);
CREATE UNIQUE INDEX media_current ON cardx.media (card_id, kind)
    WHERE replaced_at IS NULL;
CREATE INDEX media_card ON cardx.media (card_id);
CREATE INDEX media_user ON cardx.media (user_id) INCLUDE (bytes);

-- Chunks of 512 KiB, read by range.
CREATE TABLE cardx.media_chunks (
    media_id text COLLATE "C" NOT NULL
        REFERENCES cardx.media ON DELETE CASCADE,
    seq integer NOT NULL,
    data bytea NOT NULL,
    PRIMARY KEY (media_id, seq)
);
ALTER TABLE cardx.media_chunks ALTER COLUMN data SET STORAGE EXTERNAL;

CREATE TABLE cardx.card_keys (
    key_id text COLLATE "C" PRIMARY KEY,
    card_id text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    key_hash bytea NOT NULL UNIQUE,
    fields text[],                  -- canonical; null: all
    view text COLLATE "C" NOT NULL, -- name of that list, '' for all
    drawn_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    scans bigint NOT NULL DEFAULT 0,
    FOREIGN KEY (card_id, user_id) REFERENCES cardx.cards (card_id, user_id)
        ON DELETE CASCADE
);
CREATE INDEX card_keys_card ON cardx.card_keys (card_id, drawn_at);
CREATE INDEX card_keys_live ON cardx.card_keys (card_id, expires_at)
    WHERE revoked_at IS NULL;
CREATE INDEX card_keys_expires ON cardx.card_keys (expires_at);

-- Why a holder may see a card, and which fields of it.
CREATE TABLE cardx.grants (
    card_id text COLLATE "C" NOT NULL,
    holder_id text COLLATE "C" NOT NULL
        REFERENCES cardx.users ON DELETE CASCADE,
    via text NOT NULL CHECK (via IN ('key', 'exchange', 'delivery', 'circle',
                                     'match', 'share')),
    source text COLLATE "C" NOT NULL, -- the key's, circle's, ... id
    owner_id text COLLATE "C" NOT NULL,
    fields text[],                  -- null: all
    granted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (card_id, holder_id, via, source),
    FOREIGN KEY (card_id, owner_id) REFERENCES cardx.cards (card_id, user_id)
        ON DELETE CASCADE
);
CREATE INDEX grants_holder ON cardx.grants (holder_id, card_id);
CREATE INDEX grants_owner ON cardx.grants (owner_id);

-- One per (card, view, picture version); image null until drawn.
CREATE TABLE cardx.thumbnails (
    thumbnail_id text COLLATE "C" PRIMARY KEY,
    card_id text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    view text COLLATE "C" NOT NULL,
    fields text[],
    picture_version integer NOT NULL,
    image bytea,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (card_id, view, picture_version),
    FOREIGN KEY (card_id, user_id) REFERENCES cardx.cards (card_id, user_id)
        ON DELETE CASCADE
);

-- Thumbnails that show what no longer may be seen, until every edge is known
-- to have forgotten them.
CREATE TABLE cardx.gone_thumbnails (
    thumbnail_id text COLLATE "C" PRIMARY KEY,
    card_id text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    FOREIGN KEY (card_id, user_id) REFERENCES cardx.cards (card_id, user_id)
        ON DELETE CASCADE
);
CREATE INDEX gone_thumbnails_card ON cardx.gone_thumbnails (card_id);

-- The owner's own picture instead of drawn ones.
CREATE TABLE cardx.own_thumbnails (
    card_id text COLLATE "C" PRIMARY KEY,
    user_id text COLLATE "C" NOT NULL,
    image bytea NOT NULL,
    FOREIGN KEY (card_id, user_id) REFERENCES cardx.cards (card_id, user_id)
        ON DELETE CASCADE
);

CALL cardx.protect('cards', 'media', 'media_chunks', 'card_keys', 'grants',
    'thumbnails', 'gone_thumbnails', 'own_thumbnails');
CALL cardx.show_own('cards', 'media', 'card_keys', 'thumbnails',
    'gone_thumbnails', 'own_thumbnails');
GRANT SELECT, INSERT, UPDATE, DELETE ON cardx.cards, cardx.media,
    cardx.card_keys, cardx.thumbnails, cardx.gone_thumbnails,
    cardx.own_thumbnails TO cardx_api;

CREATE POLICY own ON cardx.media_chunks TO cardx_api
    USING (EXISTS (SELECT FROM cardx.media m
                   WHERE m.media_id = media_chunks.media_id))
    WITH CHECK (EXISTS (SELECT FROM cardx.media m
                        WHERE m.media_id = media_chunks.media_id));
GRANT SELECT, INSERT, DELETE ON cardx.media_chunks TO cardx_api;

CREATE POLICY held ON cardx.grants FOR SELECT TO cardx_api
    USING (holder_id = (SELECT cardx.current_user_id())
           OR owner_id = (SELECT cardx.current_user_id()));
CREATE POLICY given ON cardx.grants FOR DELETE TO cardx_api
    USING (owner_id = (SELECT cardx.current_user_id()));
GRANT SELECT, DELETE ON cardx.grants TO cardx_api;

-- Cards as the calls of their owner give them.  Who asks sees the rows that
-- they may see.
CREATE VIEW cardx.card_objects WITH (security_invoker) AS
SELECT c.card_id, c.user_id, c.revision, t.thumbnail_id, c.created_at,
    c.updated_at, c.ahead_at,
    jsonb_build_object(
        'card_id', c.card_id,
        'revision', c.revision,
        'card', c.card,
        'thumbnail', '/t/' || t.thumbnail_id,
        'media', coalesce((
            SELECT jsonb_object_agg(m.kind, jsonb_build_object(
                'address', '/v1/cards/' || m.card_id || '/media/' || m.kind,
                'type', m.type,
                'bytes', m.bytes))
            FROM cardx.media m
            WHERE m.card_id = c.card_id AND m.replaced_at IS NULL), '{}')
    ) AS object
FROM cardx.cards c
LEFT JOIN cardx.thumbnails t ON t.card_id = c.card_id AND t.view = ''
    AND t.picture_version = c.picture_version AND t.image IS NOT NULL
WHERE c.deleted_at IS NULL;
GRANT SELECT ON cardx.card_objects TO cardx_api;

COMMIT;
