-- Deploy cardx:roles to pg
--
-- Roles belong to the whole PostgreSQL server, so each may be there already.
-- cardx_definer owns the functions that cross users; nobody signs in as it.

BEGIN;

DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['cardx_definer', 'cardx_api', 'cardx_fanout']
    LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN NOINHERIT', wanted);
        END IF;
    END LOOP;
END
$$;

CREATE SCHEMA cardx;
REVOKE ALL ON SCHEMA cardx FROM PUBLIC;
GRANT USAGE ON SCHEMA cardx TO cardx_api, cardx_fanout, cardx_definer;

ALTER DEFAULT PRIVILEGES IN SCHEMA cardx REVOKE ALL ON TABLES FROM PUBLIC;
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

-- The user whose rows a worker may see now; null: nobody's.
CREATE FUNCTION cardx.current_user_id() RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('cardx.user_id', true), '');

GRANT EXECUTE ON FUNCTION cardx.current_user_id()
    TO cardx_api, cardx_fanout, cardx_definer;

-- For the migrations that follow.  Tables with personal rows defend
-- themselves: only functions of the definer see all of them ...
CREATE PROCEDURE cardx.protect(VARIADIC tables text[])
    LANGUAGE plpgsql
AS $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY tables LOOP
        EXECUTE format('ALTER TABLE cardx.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE cardx.%I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON cardx.%I '
                       'TO cardx_definer', name);
        EXECUTE format('CREATE POLICY definer ON cardx.%I TO cardx_definer '
                       'USING (true) WITH CHECK (true)', name);
    END LOOP;
END
$$;

-- ... and of some of them the api workers see their user's.
CREATE PROCEDURE cardx.show_own(VARIADIC tables text[])
    LANGUAGE plpgsql
AS $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY tables LOOP
        EXECUTE format('CREATE POLICY own ON cardx.%I TO cardx_api '
            'USING (user_id = (SELECT cardx.current_user_id())) '
            'WITH CHECK (user_id = (SELECT cardx.current_user_id()))', name);
    END LOOP;
END
$$;

-- Makes functions the definer's, for a role to call; null: for none.
CREATE PROCEDURE cardx.let_call(caller text, VARIADIC functions text[])
    LANGUAGE plpgsql
AS $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY functions LOOP
        EXECUTE format('ALTER FUNCTION cardx.%I OWNER TO cardx_definer', name);

        IF caller IS NOT NULL THEN
            EXECUTE format('GRANT EXECUTE ON FUNCTION cardx.%I TO %I', name,
                           caller);
        END IF;
    END LOOP;
END
$$;

COMMIT;
