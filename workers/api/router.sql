-- An access token that nginx could not judge.

-- name: access_token_expires
select cardx.access_token_expires($1::bytea);
