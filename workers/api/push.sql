-- Web Push subscriptions (migrations/deploy/push.sql).

-- No row: the terminal has been signed out.
-- name: push_subscribe
select s.subscription_id, s.created,
    json_build_object('subscription_id', s.subscription_id,
                      'terminal_id', $2::text, 'origin', $3::text,
                      'created_at', cardx.rfc3339(now()))
from cardx.push_subscribe($1, $2::text::integer, $3, $4::bytea, $5::bytea,
                          to_timestamp($6::bigint)) s
where s.subscription_id is not null;

-- name: push_list
select json_build_object('items', coalesce(json_agg(
    json_build_object('subscription_id', s.subscription_id,
                      'terminal_id', s.terminal_id::text, 'origin', s.origin,
                      'created_at', cardx.rfc3339(s.created_at))
    order by s.created_at, s.subscription_id), '[]'))
from cardx.push_subscriptions s
join cardx.terminals t using (terminal_id)
where t.signed_out_at is null;

-- name: push_delete
delete from cardx.push_subscriptions where subscription_id = $1
returning subscription_id;

-- name: push_delete_own
delete from cardx.push_subscriptions where terminal_id = $1::integer
returning subscription_id;
