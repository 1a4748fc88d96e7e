-- Revert cardx:account_export from pg

BEGIN;

DROP FUNCTION cardx.export_quota(text, integer);
DROP FUNCTION cardx.export_matches(text, integer);
DROP FUNCTION cardx.export_waiting(text[], integer);
DROP FUNCTION cardx.export_numbers(text[], integer);
DROP FUNCTION cardx.export_history(text[], integer);
DROP FUNCTION cardx.export_blocks(text[], integer);
DROP FUNCTION cardx.export_held(text[], integer);
DROP FUNCTION cardx.export_given(text[], integer);
DROP FUNCTION cardx.export_messages(text, integer);
DROP FUNCTION cardx.export_proofs(text, integer);

COMMIT;
