-- Revert cardx:account_calls from pg

BEGIN;

DROP FUNCTION cardx.terminal_open, cardx.password_try, cardx.session_open,
    cardx.password_change, cardx.session_refresh, cardx.terminal_sign_out,
    cardx.access_token_expires, cardx.rfc3339;

COMMIT;
