-- Deploy cardx:phone_proofs to pg
--
-- Numbers that are proved, by a code that comes or a message that is sent: of
-- a registration (D1), or another one for an account (D8).  And what the SMS
-- gateway reports.

BEGIN;

-- Starts a proof, unless there were too many: by a code, one a minute and five
-- an hour for a number; ten an hour for an account, per_address an hour for an
-- address (null: not known).  A message from the phone troubles nobody, so
-- anybody may wait for one: else strangers could use up what the phone's
-- owner may ask for.  Nothing here looks at who is registered.
-- its_sms and its_text: the message with the code, for sms-down.
-- retry_after: seconds; null: done.
CREATE FUNCTION cardx.proof_start(
    its_id text, its_phone text, its_method text, its_code bytea,
    its_address inet, per_address integer, its_sms text, its_text bytea,
    its_user text, OUT retry_after integer, OUT expires_at text)
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
         FROM cardx.registrations r
         WHERE r.phone = its_phone AND r.method = 'sms-down'
             AND its_method = 'sms-down'),
        (SELECT r.created_at + interval '1 hour'
         FROM cardx.registrations r
         WHERE r.phone = its_phone AND r.method = 'sms-down'
             AND its_method = 'sms-down'
         ORDER BY r.created_at DESC OFFSET 4 LIMIT 1),
        (SELECT r.created_at + interval '1 hour'
         FROM cardx.registrations r WHERE r.user_id = its_user
         ORDER BY r.created_at DESC OFFSET 9 LIMIT 1),
        (SELECT r.created_at + interval '1 hour'
         FROM cardx.registrations r WHERE r.address = its_address
         ORDER BY r.created_at DESC OFFSET per_address - 1 LIMIT 1));

    IF free_at > now() THEN
        retry_after := ceil(extract(epoch FROM free_at - now()));
        RETURN;
    END IF;

    INSERT INTO cardx.registrations (registration_id, phone, method,
        code_hmac, address, expires_at, user_id)
    VALUES (its_id, its_phone, its_method, its_code, its_address, ends_at,
        its_user);

    IF its_sms IS NOT NULL THEN
        INSERT INTO cardx.sms (sms_id, recipient, sealed_text, expires_at)
        VALUES (its_sms, its_phone, its_text, ends_at);

        PERFORM cardx.outbox_add('sms', its_sms);
    END IF;

    expires_at := cardx.rfc3339(ends_at);
END
$$;


-- A message came in.  True: it proves a number now.  The same once more, one
-- that comes too late, or from another number, does nothing.
CREATE FUNCTION cardx.proof_message(its_phone text, its_text bytea)
    RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE cardx.registrations r
    SET proved_at = now(),
        expires_at = greatest(r.expires_at, now() + interval '10 minutes')
    WHERE r.method = 'sms-up' AND r.code_hmac = its_text
        AND r.phone = its_phone AND r.proved_at IS NULL
        AND r.finished_at IS NULL AND r.expires_at > now();

    RETURN FOUND;
END
$$;


-- Judges a proof: of a registration (its_user null), or of its_user's new
-- number.  its_code is null where none was given: a message from the phone
-- has none.  A wrong code is one try of five; a right one stays right until
-- the registration is finished, and has ten minutes for that from the first
-- time on.
CREATE FUNCTION cardx.proof_judge(
    its_id text, its_user text, its_code bytea,
    OUT state text, OUT tries_left integer, OUT retry_after integer)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    reg cardx.registrations;
BEGIN
    SELECT * INTO reg FROM cardx.registrations r
    WHERE r.registration_id = its_id
        AND r.user_id IS NOT DISTINCT FROM its_user
    FOR UPDATE;

    state := CASE
        WHEN reg.registration_id IS NULL THEN 'unknown'
        WHEN (reg.method = 'sms-up') <> (its_code IS NULL) THEN 'invalid_code'
        WHEN reg.finished_at IS NOT NULL THEN 'finished'
        WHEN reg.expires_at <= now() THEN 'expired'
        WHEN reg.method = 'sms-up' AND reg.proved_at IS NULL THEN 'not_yet'
        WHEN reg.method = 'sms-up' THEN 'proved'
        WHEN reg.tries >= 5 THEN 'too_many_tries'
        WHEN reg.code_hmac IS DISTINCT FROM its_code THEN 'wrong_code'
        ELSE 'proved'
    END;

    IF state = 'wrong_code' THEN
        UPDATE cardx.registrations r SET tries = r.tries + 1
        WHERE r.registration_id = its_id;
        tries_left := 4 - reg.tries;

    ELSIF state = 'too_many_tries' THEN
        -- when the number may have another code
        retry_after := greatest(1, ceil(extract(epoch FROM
            reg.created_at + interval '1 minute' - now())));

    ELSIF state = 'proved' AND reg.proved_at IS NULL THEN
        UPDATE cardx.registrations r
        SET proved_at = now(),
            expires_at = greatest(r.expires_at,
                                  now() + interval '10 minutes')
        WHERE r.registration_id = its_id;
    END IF;
END
$$;


-- A registration's proof.  If the number has an account (user_id) and
-- its_approval is not null, the account's terminals are asked; approved says
-- what they said.
CREATE FUNCTION cardx.registration_prove(
    its_id text, its_code bytea, its_approval text, its_terminal text,
    OUT state text, OUT tries_left integer, OUT retry_after integer,
    OUT user_id text, OUT approved boolean)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    reg cardx.registrations;
BEGIN
    SELECT j.state, j.tries_left, j.retry_after
    INTO registration_prove.state, registration_prove.tries_left,
        registration_prove.retry_after
    FROM cardx.proof_judge(its_id, NULL, its_code) j;

    IF state <> 'proved' THEN
        RETURN;
    END IF;

    SELECT * INTO reg FROM cardx.registrations r
    WHERE r.registration_id = its_id;

    SELECT u.user_id INTO registration_prove.user_id
    FROM cardx.users u WHERE u.phone = reg.phone;

    IF registration_prove.user_id IS NULL THEN
        RETURN;
    END IF;

    IF its_approval IS NOT NULL THEN
        INSERT INTO cardx.approvals
            (approval_id, user_id, registration_id, terminal_name, expires_at)
        VALUES (its_approval, registration_prove.user_id, its_id,
            its_terminal, reg.expires_at)
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
CREATE FUNCTION cardx.registration_finish(
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
    WHERE r.registration_id = its_id AND r.user_id IS NULL
        AND r.proved_at IS NOT NULL
        AND (r.method = 'sms-up' OR r.code_hmac = its_code)
        AND r.expires_at > now()
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

    -- a number is part of a key: who takes it away needs the whole row
    IF its_way = 'fresh' THEN
        SELECT * INTO owner FROM cardx.users u WHERE u.phone = reg.phone
        FOR UPDATE;
    ELSE
        SELECT * INTO owner FROM cardx.users u WHERE u.phone = reg.phone
        FOR NO KEY UPDATE;
    END IF;

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


-- Binds the current user to a number that was proved (D8).  its_password: the
-- hash that was compared, tried by its_terminal.  state: 'bound'; 'repeated':
-- it was before, by this same proof; 'account_exists': another account has the
-- number, and start_fresh does not say that it is to lose it; 'changed';
-- 'finished'.  former: the number before, null if there was none.
CREATE FUNCTION cardx.phone_bind(
    its_id text, its_code bytea, its_password text, start_fresh boolean,
    its_terminal integer, OUT state text, OUT former text, OUT phone text)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    me text := cardx.current_user_id();
    its_subject text := me || '/' || its_terminal;
    reg cardx.registrations;
    mine cardx.users;
    other cardx.users;
BEGIN
    SELECT * INTO reg FROM cardx.registrations r
    WHERE r.registration_id = its_id AND r.user_id = me
        AND r.proved_at IS NOT NULL
        AND (r.method = 'sms-up' OR r.code_hmac = its_code)
    FOR UPDATE;

    IF NOT FOUND
        OR (reg.finished_at IS NULL AND reg.expires_at <= now())
    THEN
        state := 'finished';
        RETURN;
    END IF;

    phone := reg.phone;
    PERFORM pg_advisory_xact_lock(hashtextextended('phone ' || reg.phone, 0));

    -- the tries before the users, and the users in order
    PERFORM FROM cardx.password_tries p WHERE p.subject = its_subject
    FOR UPDATE;

    PERFORM FROM cardx.users u
    WHERE u.user_id = me OR u.phone = reg.phone
    ORDER BY u.user_id
    FOR UPDATE;

    SELECT * INTO mine FROM cardx.users u
    WHERE u.user_id = me AND u.password = its_password;

    SELECT * INTO other FROM cardx.users u
    WHERE u.phone = reg.phone AND u.user_id <> me;

    state := CASE
        WHEN mine.user_id IS NULL THEN 'changed'
        WHEN reg.finished_at IS NOT NULL AND mine.phone = reg.phone
            THEN 'repeated'
        WHEN reg.finished_at IS NOT NULL THEN 'finished'
        WHEN other.user_id IS NOT NULL AND NOT start_fresh
            THEN 'account_exists'
        ELSE 'bound'
    END;

    IF state IN ('bound', 'repeated') THEN
        DELETE FROM cardx.password_tries p WHERE p.subject = its_subject;
    END IF;

    IF state <> 'bound' THEN
        RETURN;
    END IF;

    former := mine.phone;

    UPDATE cardx.users u SET phone = NULL, phone_lost_at = now()
    WHERE u.user_id = other.user_id;

    UPDATE cardx.users u SET phone = reg.phone, phone_lost_at = NULL
    WHERE u.user_id = me;

    UPDATE cardx.registrations r SET finished_at = now()
    WHERE r.registration_id = its_id;
END
$$;


-- What the gateway reports of a message: 'delivered', 'failed', or 'sent':
-- the centre has it.  False: there is no such message (any more).  Reports
-- come in any order, and more than once; a delivered one stays so.
CREATE FUNCTION cardx.sms_report(its_id text, outcome text)
    RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE cardx.sms m
    SET state = outcome, changed_at = now(), sealed_text = NULL
    WHERE m.sms_id = its_id
        AND (m.state IN ('sending', 'doubtful')
            OR (m.state = 'sent' AND outcome <> 'sent')
            OR (m.state = 'failed' AND outcome = 'delivered'));

    RETURN FOUND OR EXISTS (SELECT FROM cardx.sms m
                            WHERE m.sms_id = its_id);
END
$$;


CALL cardx.let_call('cardx_api', 'proof_start', 'proof_message', 'proof_judge',
    'registration_prove', 'registration_finish', 'phone_bind', 'sms_report');

COMMIT;
