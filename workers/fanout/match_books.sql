-- Books that are compared (migrations/deploy/matching.sql).

-- name: match_account
select phone, locale, epoch, data_key from cardx.match_account($1)

-- name: match_stale
select contact_id, tag, number
from cardx.match_stale($1, $2::integer, $3::integer)

-- name: match_rehash
select cardx.match_rehash($1, $2::integer, $3::integer, $4::text[],
                          $5::bytea[], $6::bytea[], $7::boolean[])

-- name: match_look
select cardx.match_look($1)

-- name: match_next
select cardx.match_next($1)

-- name: match_more
select cardx.match_more($1)

-- name: match_sweep
select cardx.match_sweep(1000) + cardx.match_retry(1000)
