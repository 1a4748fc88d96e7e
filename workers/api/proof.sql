-- A number is proved (D1, D8).

-- name: proof_start
select retry_after, expires_at
from cardx.proof_start($1, $2, $3, $4::bytea, $5::inet, $6, $7, $8::bytea, $9);
