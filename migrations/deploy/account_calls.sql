-- Deploy cardx:account_calls to pg
--
-- Registration, sign-in and sign-out (A8, D1, D2): what nobody is signed in
-- for yet, or what touches secrets that the workers' role can't read.  Each
-- call does the whole of one step, and says in `state` what came of it.

BEGIN;

-- A time as answers give it (RFC 3339, UTC).
CREATE FUNCTION cardx.rfc3339(at timestamptz)
    RETURNS text
    LANGUAGE sql STABLE STRICT PARALLEL SAFE
    RETURN to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"');


-- Starts a proof by SMS, unless there were too many: one a minute and five an
-- hour for a number, per_address an hour for an address (null: not known).
-- Nothing here looks at who is registered.  retry_after: seconds; null: done.
CREATE FUNCTION cardx.registration_start(
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


-- Signs a terminal in; for the calls below.  state: 'open',
-- 'taken' (draw another number) or 'too_many_terminals'.
CREATE FUNCTION cardx.terminal_open(
    its_user text, its_terminal integer, its_name text, its_access bytea,
    its_refresh bytea, OUT state text, OUT expires_at bigint)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    ends_at timestamptz := now() + interval '15 minutes';
BEGIN
    -- one at a time, or two could both be the twentieth
    PERFORM FROM cardx.users u WHERE u.user_id = its_user
    FOR NO KEY UPDATE;

    IF (SELECT count(*) FROM cardx.terminals t
        WHERE t.user_id = its_user AND t.signed_out_at IS NULL) >= 20
    THEN
        state := 'too_many_terminals';
        RETURN;
    END IF;

    INSERT INTO cardx.terminals (terminal_id, user_id, name)
    VALUES (its_terminal, its_user, its_name)
    ON CONFLICT (terminal_id) DO NOTHING;

    IF NOT FOUND THEN
        state := 'taken';
        RETURN;
    END IF;

    INSERT INTO cardx.access_tokens
        (token_hash, user_id, terminal_id, expires_at)
    VALUES (its_access, its_user, its_terminal, ends_at);

    INSERT INTO cardx.refresh_tokens
        (token_hash, user_id, terminal_id, expires_at)
    VALUES (its_refresh, its_user, its_terminal, now() + interval '90 days');

    state := 'open';
    expires_at := floor(extract(epoch FROM ends_at));
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


-- Counts a try of a password before it is compared, so that many at once are
-- not more than five; who gets it right has it forgotten.  Of the account of
-- its_phone, tried by anybody; or of its_user's, tried by its_terminal or, where
-- that is null, by who has proved the number.  user_id and password (its
-- hash): null if there is no such account.  retry_after: seconds until one may
-- try again.
CREATE FUNCTION cardx.password_try(
    its_user text, its_phone text, its_terminal integer,
    OUT user_id text, OUT password text, OUT retry_after integer)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    account cardx.users;
    its_subject text :=
        coalesce(its_phone, its_user || '/' || its_terminal, its_user);
BEGIN
    INSERT INTO cardx.password_tries AS p (subject, tries)
    VALUES (its_subject, 1)
    ON CONFLICT (subject) DO UPDATE
        SET tried_at = now(),
            tries = 1 + CASE
                WHEN p.tried_at > now() - interval '15 minutes' THEN p.tries
                ELSE 0 END
        WHERE p.tries < 5 OR p.tried_at <= now() - interval '15 minutes';

    IF NOT FOUND THEN
        SELECT greatest(1, ceil(extract(epoch FROM
            p.tried_at + interval '15 minutes' - now())))
        INTO retry_after
        FROM cardx.password_tries p WHERE p.subject = its_subject;
        RETURN;
    END IF;

    -- after the own one is locked: what is skipped is not waited for
    DELETE FROM cardx.password_tries p
    WHERE p.subject IN (
        SELECT old.subject FROM cardx.password_tries old
        WHERE old.tried_at < now() - interval '1 hour'
        ORDER BY old.tried_at LIMIT 10 FOR UPDATE SKIP LOCKED);

    IF its_phone IS NULL THEN
        SELECT * INTO account FROM cardx.users u WHERE u.user_id = its_user;
    ELSE
        SELECT * INTO account FROM cardx.users u WHERE u.phone = its_phone;
    END IF;

    user_id := account.user_id;
    password := account.password;
END
$$;


-- Signs in with a password that was compared with its_password, the hash.
-- state: as terminal_open, or 'changed'.
CREATE FUNCTION cardx.session_open(
    its_user text, its_password text, its_terminal integer, its_name text,
    its_access bytea, its_refresh bytea,
    OUT state text, OUT expires_at bigint)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    its_subject text;
BEGIN
    its_subject := (SELECT u.phone FROM cardx.users u
                    WHERE u.user_id = its_user);

    PERFORM FROM cardx.password_tries p WHERE p.subject = its_subject
    FOR UPDATE;

    PERFORM FROM cardx.users u
    WHERE u.user_id = its_user AND u.password = its_password
    FOR NO KEY UPDATE;

    IF NOT FOUND THEN
        state := 'changed';
        RETURN;
    END IF;

    DELETE FROM cardx.password_tries p WHERE p.subject = its_subject;

    SELECT o.state, o.expires_at
    INTO session_open.state, session_open.expires_at
    FROM cardx.terminal_open(its_user, its_terminal, its_name, its_access,
                             its_refresh) o;
END
$$;


-- The current user's new password, told by its_terminal, if the one that was
-- compared still is its_old.
CREATE FUNCTION cardx.password_change(
    its_terminal integer, its_old text, its_new text)
    RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    its_user text := cardx.current_user_id();
    its_subject text := its_user || '/' || its_terminal;
BEGIN
    PERFORM FROM cardx.password_tries p WHERE p.subject = its_subject
    FOR UPDATE;

    UPDATE cardx.users u SET password = its_new
    WHERE u.user_id = its_user AND u.password = its_old;

    IF NOT FOUND THEN
        RETURN false;
    END IF;

    DELETE FROM cardx.password_tries p WHERE p.subject = its_subject;

    RETURN true;
END
$$;


-- Gives its_token's successor (RFC 9700, 4.14).  state: 'open'; 'refused';
-- 'reused': it was used more than 60 s ago, so somebody has a copy, and the
-- terminal must be signed out.  The caller has checked its_token's tag: one
-- that is not here any more was here once.
CREATE FUNCTION cardx.session_refresh(
    its_user text, its_terminal integer, its_token bytea, its_next bytea,
    its_access bytea, OUT state text, OUT expires_at bigint)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    token cardx.refresh_tokens;
    ends_at timestamptz := now() + interval '15 minutes';
BEGIN
    UPDATE cardx.terminals t SET seen_at = now()
    WHERE t.terminal_id = its_terminal AND t.user_id = its_user
        AND t.signed_out_at IS NULL;

    IF NOT FOUND THEN
        state := 'refused';
        RETURN;
    END IF;

    -- the terminal's row is locked now: what is read here stays
    SELECT * INTO token FROM cardx.refresh_tokens r
    WHERE r.token_hash = its_token;

    state := CASE
        WHEN token.token_hash IS NULL THEN 'reused'
        WHEN token.used_at <= now() - interval '60 seconds' THEN 'reused'
        WHEN token.expires_at <= now() THEN 'refused'
        ELSE 'open'
    END;

    IF state <> 'open' THEN
        RETURN;
    END IF;

    IF token.used_at IS NULL THEN
        DELETE FROM cardx.refresh_tokens r
        WHERE r.user_id = its_user AND r.terminal_id = its_terminal
            AND r.used_at <= now() - interval '60 seconds';

        UPDATE cardx.refresh_tokens r SET used_at = now()
        WHERE r.token_hash = its_token;

        INSERT INTO cardx.refresh_tokens
            (token_hash, user_id, terminal_id, expires_at)
        VALUES (its_next, its_user, its_terminal,
                now() + interval '90 days');
    END IF;

    DELETE FROM cardx.access_tokens a
    WHERE a.user_id = its_user AND a.terminal_id = its_terminal
        AND a.expires_at <= now();

    INSERT INTO cardx.access_tokens
        (token_hash, user_id, terminal_id, expires_at)
    VALUES (its_access, its_user, its_terminal, ends_at);

    expires_at := floor(extract(epoch FROM ends_at));
END
$$;


-- Ends a terminal (A8) of the current user, or of its_user when nobody is
-- signed in and the caller has seen the terminal's token.  False: there is
-- none; one that is signed out already may be signed out again.
CREATE FUNCTION cardx.terminal_sign_out(its_user text, its_terminal integer)
    RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE cardx.terminals t
    SET signed_out_at = coalesce(t.signed_out_at, now())
    WHERE t.terminal_id = its_terminal AND t.user_id = its_user
        AND its_user = coalesce(cardx.current_user_id(), its_user);

    IF NOT FOUND THEN
        RETURN false;
    END IF;

    DELETE FROM cardx.access_tokens a
    WHERE a.user_id = its_user AND a.terminal_id = its_terminal;

    DELETE FROM cardx.refresh_tokens r
    WHERE r.user_id = its_user AND r.terminal_id = its_terminal;

    -- what it has approved and nobody has used yet is asked again
    UPDATE cardx.approvals a SET approved = NULL, approved_by = NULL
    WHERE a.user_id = its_user AND a.approved_by = its_terminal
        AND a.approved AND a.expires_at > now();

    PERFORM cardx.outbox_add('terminal', its_user || '/' || its_terminal);

    RETURN true;
END
$$;


-- Until when an access token is good, in unix time; null: it is not.
CREATE FUNCTION cardx.access_token_expires(its_token bytea)
    RETURNS bigint
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    BEGIN ATOMIC
        SELECT floor(extract(epoch FROM a.expires_at))::bigint
        FROM cardx.access_tokens a
        JOIN cardx.terminals t ON t.terminal_id = a.terminal_id
        WHERE a.token_hash = its_token AND a.expires_at > now()
            AND t.signed_out_at IS NULL;
    END;


DO $$
DECLARE
    call regprocedure;
BEGIN
    FOR call IN
        SELECT oid FROM pg_proc
        WHERE pronamespace = 'cardx'::regnamespace
            AND proname IN ('registration_start', 'registration_prove',
                'registration_finish', 'terminal_open', 'password_try',
                'session_open', 'password_change', 'session_refresh',
                'terminal_sign_out', 'access_token_expires', 'rfc3339')
    LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO cardx_definer', call);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO cardx_api', call);
    END LOOP;
END
$$;

-- Only for the calls above.
REVOKE EXECUTE ON FUNCTION
    cardx.terminal_open(text, integer, text, bytea, bytea) FROM cardx_api;

COMMIT;
