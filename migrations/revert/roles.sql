-- Revert cardx:roles from pg
--
-- The roles stay: other databases of this server may use them.

BEGIN;

DROP PROCEDURE cardx.let_call, cardx.show_own, cardx.protect;
DROP FUNCTION cardx.current_user_id();
ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO PUBLIC;
ALTER DEFAULT PRIVILEGES IN SCHEMA cardx GRANT ALL ON TABLES TO PUBLIC;
DROP SCHEMA cardx;

COMMIT;
