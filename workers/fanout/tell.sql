-- Telling users of changes (tell.c; migrations/deploy/fan_out.sql).

-- name: wakes_due
select exists (select from cardx.outbox
               where effect = 'wake' and due_at <= clock_timestamp())

-- name: wakes_take
select w.user_id, w.line, (select cardx.log_epoch())
from cardx.wakes_take($1::integer, $2::integer) w

-- name: wakes_postpone
select from cardx.wakes_postpone($1::text[])

-- name: fanout_take
select card_id, state from cardx.fanout_take()

-- name: fanout_tell
select t.user_id, t.line, (select cardx.log_epoch())
from cardx.fanout_tell($1) t

-- name: fanout_write
select unnest(cardx.fanout_write($1, $2::integer))
