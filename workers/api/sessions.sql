-- Signing in, and staying so.

-- name: session_open
select state, expires_at
from cardx.session_open($1, $2, $3, $4, $5::bytea, $6::bytea);

-- name: session_refresh
select state, expires_at
from cardx.session_refresh($1, $2, $3::bytea, $4::bytea, $5::bytea);

-- name: session_end
select cardx.terminal_sign_out($1, $2);
