-- Answers kept for Idempotency-Key.

-- name: idempotency_find
select state, status, sealed_answer
from cardx.idempotency_find($1, $2::bytea, $3::bytea);

-- name: idempotency_keep
select cardx.idempotency_keep($1, $2::bytea, $3::bytea, $4, $5::bytea);
