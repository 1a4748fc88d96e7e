-- What the push worker runs (migrations/deploy/push.sql).

-- name: push_take
select sealed, origin, up_to, changes, more from cardx.push_take($1)

-- name: push_settle
select cardx.push_settle($1, $2)

-- name: push_end
select cardx.push_end($1)
