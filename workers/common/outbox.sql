-- The outbox (migrations/deploy/outbox.sql).  Rows that a transaction holds
-- are passed over: it asks for the effect anew, and makes the row due.

-- name: outbox_claim
with due as materialized (
    select effect, object
    from cardx.outbox
    where effect = any ($1::text[]) and due_at <= now()
    order by due_at
    limit $2::integer
    for update skip locked
)
update cardx.outbox o
set due_at = now() + interval '30 s', attempts = o.attempts + 1
from due
where o.effect = due.effect and o.object = due.object
returning o.effect, o.object, o.generation

-- name: outbox_done
with done as materialized (
    select o.effect, o.object
    from cardx.outbox o
    join unnest($1::text[], $2::text[], $3::bigint[])
        as d (effect, object, generation)
        using (effect, object, generation)
    for update of o skip locked
)
delete from cardx.outbox o
using done
where o.effect = done.effect and o.object = done.object

-- name: outbox_retry
update cardx.outbox
set due_at = now() + least(2 ^ least(attempts, 20), $4::integer)
        * (0.5 + random() / 2) * interval '1 s'
where effect = $1 and object = $2 and generation = $3::bigint
