-- Revert cardx:phone_proofs from pg

BEGIN;

DROP FUNCTION cardx.proof_start, cardx.proof_message, cardx.proof_judge,
    cardx.registration_prove, cardx.registration_finish, cardx.phone_bind,
    cardx.sms_report;

COMMIT;
