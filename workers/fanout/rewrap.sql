-- Another master key (migrations/deploy/data_keys.sql).

-- name: data_keys
select user_id, data_key from cardx.data_keys($1, $2::integer)

-- name: data_key_put
select cardx.data_key_put($1, $2::bytea, $3::bytea)
