-- A message's way through its states (migrations/deploy/fanout_calls.sql).

-- name: sms_take
select verdict, recipient, sealed_text from cardx.sms_take($1)

-- name: sms_settle
select cardx.sms_settle($1, $2)
