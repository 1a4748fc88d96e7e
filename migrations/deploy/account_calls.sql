-- Deploy cardx:account_calls to pg
--
-- Sign-in and sign-out (A8, D2): what nobody is signed in for yet, or what
-- touches secrets that the workers' role can't read.  Each call does the whole
-- of one step, and says in `state` what came of it.

BEGIN;

-- A time as answers give it (RFC 3339, UTC).
CREATE FUNCTION cardx.rfc3339(at timestamptz)
    RETURNS text
    LANGUAGE sql STABLE STRICT PARALLEL SAFE
    RETURN to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"');


-- Signs a terminal in; for other calls.  state: 'open',
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


-- Counts a try of a password before it is compared, so that many at once are
-- not more than five; who gets it right has it forgotten.  Of the account of
-- its_phone, tried by anybody; or of its_user's, tried by its_terminal or,
-- where that is null, by who has proved the number.  user_id and password (its
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


CALL cardx.let_call('cardx_api', 'password_try', 'session_open',
    'password_change', 'session_refresh', 'terminal_sign_out',
    'access_token_expires', 'rfc3339');
CALL cardx.let_call(NULL, 'terminal_open');

COMMIT;
