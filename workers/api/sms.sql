-- What the SMS gateway calls.

-- name: proof_message
select cardx.proof_message($1, $2::bytea);

-- name: sms_report
select cardx.sms_report($1, $2);
