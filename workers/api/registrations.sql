-- Registration (D1, D2).

-- name: registration_prove
select state, tries_left, retry_after, user_id, approved
from cardx.registration_prove($1, $2::bytea, $3, $4);

-- name: registration_finish
select state, expires_at
from cardx.registration_finish($1, $2::bytea, $3, $4, $5, $6::bytea, $7, $8,
                               $9::bytea, $10::bytea);
