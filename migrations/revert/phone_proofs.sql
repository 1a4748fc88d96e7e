-- Revert cardx:phone_proofs from pg

BEGIN;

-- proofs that release 0.1 does not know
DELETE FROM cardx.registrations
WHERE user_id IS NOT NULL OR method = 'sms-up';

-- Starts a proof by SMS, unless there were too many: one a minute and five an
-- hour for a number, per_address an hour for an address (null: not known).
-- Nothing here looks at who is registered.  retry_after: seconds; null: done.
CREATE OR REPLACE FUNCTION cardx.registration_start(
    its_id text, its_phone text, its_code bytea, its_address inet,
    per_address integer, its_sms text, its_text bytea,
    OUT retry_after integer, OUT expires_at text)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    free_at timestamptz;
    ends_at timestamptz := now() + interval '10 minutes';
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('phone ' || its_phone, 0));

    IF its_address IS NOT NULL THEN
        PERFORM pg_advisory_xact_lock(
            hashtextextended('address ' || its_address, 0));
    END IF;

    free_at := greatest(
        (SELECT max(r.created_at) + interval '1 minute'
         FROM cardx.registrations r WHERE r.phone = its_phone),
        (SELECT r.created_at + interval '1 hour'
         FROM cardx.registrations r WHERE r.phone = its_phone
         ORDER BY r.created_at DESC OFFSET 4 LIMIT 1),
        (SELECT r.created_at + interval '1 hour'
         FROM cardx.registrations r WHERE r.address = its_address
         ORDER BY r.created_at DESC OFFSET per_address - 1 LIMIT 1));

    IF free_at > now() THEN
        retry_after := ceil(extract(epoch FROM free_at - now()));
        RETURN;
    END IF;

    INSERT INTO cardx.registrations
        (registration_id, phone, method, code_hmac, address, expires_at)
    VALUES (its_id, its_phone, 'sms-down', its_code, its_address, ends_at);

    INSERT INTO cardx.sms (sms_id, recipient, sealed_text, expires_at)
    VALUES (its_sms, its_phone, its_text, ends_at);

    PERFORM cardx.outbox_add('sms', its_sms);

    expires_at := cardx.rfc3339(ends_at);
END
$$;


-- Judges a code; a wrong one is one try of five.  A right one stays right
-- until the registration is finished, and has ten minutes for that from the
-- first time on.  If the number has an account (user_id) and its_approval is
-- not null, the account's terminals are asked; approved says what they said.
CREATE OR REPLACE FUNCTION cardx.registration_prove(
    its_id text, its_code bytea, its_approval text, its_terminal text,
    OUT state text, OUT tries_left integer, OUT retry_after integer,
    OUT user_id text, OUT approved boolean)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    reg cardx.registrations;
BEGIN
    SELECT * INTO reg FROM cardx.registrations r
    WHERE r.registration_id = its_id
    FOR UPDATE;

    state := CASE
        WHEN reg.registration_id IS NULL THEN 'unknown'
        WHEN reg.finished_at IS NOT NULL THEN 'finished'
        WHEN reg.expires_at <= now() THEN 'expired'
        WHEN reg.tries >= 5 THEN 'too_many_tries'
        WHEN reg.code_hmac IS DISTINCT FROM its_code THEN 'wrong_code'
        ELSE 'proved'
    END;

    IF state = 'wrong_code' THEN
        UPDATE cardx.registrations r SET tries = r.tries + 1
        WHERE r.registration_id = its_id;
        tries_left := 4 - reg.tries;
    END IF;

    IF state = 'too_many_tries' THEN
        -- when the number may have another code
        retry_after := greatest(1, ceil(extract(epoch FROM
            reg.created_at + interval '1 minute' - now())));
    END IF;

    IF state <> 'proved' THEN
        RETURN;
    END IF;

    UPDATE cardx.registrations r
    SET proved_at = now(),
        expires_at = greatest(r.expires_at, now() + interval '10 minutes')
    WHERE r.registration_id = its_id AND r.proved_at IS NULL
    RETURNING r.expires_at INTO reg.expires_at;

    SELECT u.user_id INTO registration_prove.user_id
    FROM cardx.users u WHERE u.phone = reg.phone;

    IF registration_prove.user_id IS NULL THEN
        RETURN;
    END IF;

    IF its_approval IS NOT NULL THEN
        INSERT INTO cardx.approvals
            (approval_id, user_id, registration_id, terminal_name, expires_at)
        SELECT its_approval, registration_prove.user_id, its_id, its_terminal,
            r.expires_at
        FROM cardx.registrations r WHERE r.registration_id = its_id
        ON CONFLICT (registration_id) DO NOTHING;
    END IF;

    SELECT a.approved INTO registration_prove.approved
    FROM cardx.approvals a
    WHERE a.registration_id = its_id
        AND a.user_id = registration_prove.user_id;
END
$$;


-- Finishes a proved registration.  its_way: 'new' makes an account, if the
-- number has none; 'fresh' makes one even so, and the old one loses the
-- number; 'password' (its_password: the hash that was compared) and
-- 'approved' sign in to its_user.  state: as terminal_open, or 'finished',
-- or 'changed': the number is no longer whose it was a moment ago.
CREATE OR REPLACE FUNCTION cardx.registration_finish(
    its_id text, its_code bytea, its_way text, its_user text,
    its_password text, its_data_key bytea, its_terminal integer,
    its_name text, its_access bytea, its_refresh bytea,
    OUT state text, OUT expires_at bigint)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    reg cardx.registrations;
    owner cardx.users;
    may boolean;
BEGIN
    SELECT * INTO reg FROM cardx.registrations r
    WHERE r.registration_id = its_id AND r.proved_at IS NOT NULL
        AND r.code_hmac = its_code AND r.expires_at > now()
    FOR UPDATE;

    IF NOT FOUND OR reg.finished_at IS NOT NULL THEN
        state := 'finished';
        RETURN;
    END IF;

    -- two registrations of one number are finished one after the other
    PERFORM pg_advisory_xact_lock(hashtextextended('phone ' || reg.phone, 0));

    -- the tries before the user, here as everywhere
    PERFORM FROM cardx.password_tries p WHERE p.subject = its_user
    FOR UPDATE;

    SELECT * INTO owner FROM cardx.users u WHERE u.phone = reg.phone
    FOR NO KEY UPDATE;

    may := CASE its_way
        WHEN 'new' THEN owner.user_id IS NULL
        WHEN 'fresh' THEN true
        WHEN 'password' THEN owner.user_id = its_user
            AND owner.password = its_password
        WHEN 'approved' THEN owner.user_id = its_user AND EXISTS (
            SELECT FROM cardx.approvals a
            WHERE a.registration_id = its_id AND a.user_id = its_user
                AND a.approved)
    END;

    IF may IS NOT TRUE THEN
        state := 'changed';
        RETURN;
    END IF;

    IF EXISTS (SELECT FROM cardx.terminals t
               WHERE t.terminal_id = its_terminal)
    THEN
        state := 'taken';
        RETURN;
    END IF;

    IF its_way IN ('new', 'fresh') THEN
        UPDATE cardx.users u SET phone = NULL, phone_lost_at = now()
        WHERE u.user_id = owner.user_id;

        INSERT INTO cardx.users (user_id, phone, password, data_key)
        VALUES (its_user, reg.phone, its_password, its_data_key);
    END IF;

    SELECT o.state, o.expires_at
    INTO registration_finish.state, registration_finish.expires_at
    FROM cardx.terminal_open(its_user, its_terminal, its_name, its_access,
                             its_refresh) o;

    IF state = 'taken' THEN
        -- since the look above; nothing of this may stay
        RAISE serialization_failure USING MESSAGE = 'terminal number taken';
    END IF;

    DELETE FROM cardx.password_tries p WHERE p.subject = its_user;

    IF state = 'open' THEN
        UPDATE cardx.registrations r SET finished_at = now()
        WHERE r.registration_id = its_id;

        UPDATE cardx.approvals a SET expires_at = now()
        WHERE a.registration_id = its_id;
    END IF;
END
$$;


DROP FUNCTION cardx.proof_start, cardx.proof_message, cardx.proof_judge,
    cardx.phone_bind, cardx.sms_report;

DROP INDEX cardx.registrations_text;
ALTER TABLE cardx.registrations DROP COLUMN user_id;

COMMENT ON COLUMN cardx.registrations.code_hmac IS NULL;

COMMIT;
