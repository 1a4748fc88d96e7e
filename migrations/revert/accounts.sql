-- Revert cardx:accounts from pg

BEGIN;

DROP TABLE cardx.idempotency, cardx.sms, cardx.approvals,
    cardx.registrations, cardx.refresh_tokens, cardx.access_tokens,
    cardx.terminals, cardx.password_tries, cardx.users;

COMMIT;
