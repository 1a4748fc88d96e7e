-- Deploy cardx:accounts to pg
--
-- Users, their terminals and tokens, registrations and the SMS they cause
-- (A8, D1, D2).  Ids are texts that carry their own tag (core/cx_id.h).

BEGIN;

CREATE TABLE cardx.users (
    user_id text COLLATE "C" PRIMARY KEY,
    phone text UNIQUE,                  -- E.164; null: another account has it
    password text NOT NULL,             -- yescrypt
    nickname text,
    own_card_id text COLLATE "C",
    locale text,
    phone_lost_at timestamptz,          -- a fresh start took the number
    data_key bytea NOT NULL,            -- wrapped by the master key
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Passwords tried lately, counted apart by who can try: whoever names a number,
-- registered or not, so that a lock tells nothing ('+8613800138000'); who has
-- proved the number of an account (its user id); each of an account's
-- terminals ('user id/terminal id').
CREATE TABLE cardx.password_tries (
    subject text COLLATE "C" PRIMARY KEY,
    tries integer NOT NULL,
    tried_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX password_tries_tried ON cardx.password_tries (tried_at);

-- The number people read out; one series for all.
CREATE TABLE cardx.terminals (
    terminal_id integer PRIMARY KEY
        CHECK (terminal_id BETWEEN 100000000 AND 999999999),
    user_id text COLLATE "C" NOT NULL REFERENCES cardx.users ON DELETE CASCADE,
    name text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    seen_at timestamptz NOT NULL DEFAULT now(),
    signed_out_at timestamptz
);
CREATE INDEX terminals_user ON cardx.terminals (user_id, terminal_id);

CREATE TABLE cardx.access_tokens (
    token_hash bytea PRIMARY KEY,
    user_id text COLLATE "C" NOT NULL REFERENCES cardx.users ON DELETE CASCADE,
    terminal_id integer NOT NULL
        REFERENCES cardx.terminals ON DELETE CASCADE,
    expires_at timestamptz NOT NULL
);
CREATE INDEX access_tokens_terminal
    ON cardx.access_tokens (user_id, terminal_id);
CREATE INDEX access_tokens_expires ON cardx.access_tokens (expires_at);

-- A terminal's family: each token is used once; its successor is derived
-- from it (RFC 9700, 4.14).  A used one is only kept for as long as it may be
-- repeated: its tag tells ever after that it was one of ours.
CREATE TABLE cardx.refresh_tokens (
    token_hash bytea PRIMARY KEY,
    user_id text COLLATE "C" NOT NULL REFERENCES cardx.users ON DELETE CASCADE,
    terminal_id integer NOT NULL
        REFERENCES cardx.terminals ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    used_at timestamptz
);
CREATE INDEX refresh_tokens_terminal
    ON cardx.refresh_tokens (user_id, terminal_id);
CREATE INDEX refresh_tokens_expires ON cardx.refresh_tokens (expires_at);

-- Proofs of numbers: of one that is to be registered, or of one that an
-- account is to have instead of its present one.  code_hmac: of id and code,
-- or (sms-up) of the text that is to be sent in.
CREATE TABLE cardx.registrations (
    registration_id text COLLATE "C" PRIMARY KEY,
    phone text NOT NULL,
    method text NOT NULL CHECK (method IN ('sms-down', 'sms-up')),
    code_hmac bytea NOT NULL,
    address inet,
    tries integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    proved_at timestamptz,
    finished_at timestamptz,
    -- whose number changes; null: a registration
    user_id text COLLATE "C" REFERENCES cardx.users ON DELETE CASCADE
);
CREATE INDEX registrations_phone ON cardx.registrations (phone, created_at);
CREATE INDEX registrations_address ON cardx.registrations (address, created_at);
CREATE INDEX registrations_expires ON cardx.registrations (expires_at);
CREATE INDEX registrations_user ON cardx.registrations (user_id, created_at)
    WHERE user_id IS NOT NULL;
CREATE UNIQUE INDEX registrations_text ON cardx.registrations (code_hmac)
    WHERE method = 'sms-up';

-- A sign-in that asks the terminals of the account for approval.
CREATE TABLE cardx.approvals (
    approval_id text COLLATE "C" PRIMARY KEY,
    user_id text COLLATE "C" NOT NULL REFERENCES cardx.users ON DELETE CASCADE,
    registration_id text COLLATE "C" NOT NULL UNIQUE
        REFERENCES cardx.registrations ON DELETE CASCADE,
    terminal_name text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    approved boolean,                   -- null: nobody has answered
    approved_by integer REFERENCES cardx.terminals ON DELETE SET NULL
);
CREATE INDEX approvals_user ON cardx.approvals (user_id, created_at);

-- What is sent; the text is sealed, and erased once it was handed over.
CREATE TABLE cardx.sms (
    sms_id text COLLATE "C" PRIMARY KEY,
    recipient text NOT NULL,
    sealed_text bytea,
    state text NOT NULL DEFAULT 'queued'
        CHECK (state IN ('queued', 'sending', 'sent', 'delivered', 'failed',
                         'doubtful')),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX sms_created ON cardx.sms (created_at);

-- Answers kept for Idempotency-Key; the answer is sealed under a key that is
-- derived from the header's value, which is not here.
CREATE TABLE cardx.idempotency (
    scope text COLLATE "C" NOT NULL,    -- a user, registration or card
    key_hash bytea NOT NULL,
    request_hash bytea NOT NULL,
    status integer NOT NULL,
    sealed_answer bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (scope, key_hash)
);
CREATE INDEX idempotency_created ON cardx.idempotency (created_at);

CALL cardx.protect('users', 'password_tries', 'terminals', 'access_tokens',
    'refresh_tokens', 'registrations', 'approvals', 'sms', 'idempotency');
CALL cardx.show_own('users', 'terminals', 'access_tokens', 'refresh_tokens',
    'approvals');

GRANT SELECT (user_id, phone, nickname, own_card_id, locale, phone_lost_at,
              created_at),
      UPDATE (nickname, own_card_id, locale)
    ON cardx.users TO cardx_api;
GRANT SELECT, UPDATE (name, seen_at) ON cardx.terminals TO cardx_api;
GRANT SELECT, UPDATE (approved, approved_by) ON cardx.approvals TO cardx_api;

COMMIT;
