-- Numbers of address books (migrations/deploy/matching.sql).

-- name: match_me
select phone, locale, epoch, data_key from cardx.match_me();

-- name: match_write
select cardx.match_write($1::text[], $2::text[], $3::bytea[], $4::bytea[],
                         $5::bytea[], $6::boolean[], $7::integer, $8::integer);
