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

COMMIT;
