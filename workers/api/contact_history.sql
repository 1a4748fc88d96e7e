-- What changed in a contact.  Row-level security leaves only the request's
-- own user's.

-- Newest first; $2: the last one of the page before.
-- name: history_list
select history_id, what, cardx.rfc3339(changed_at), changes
from cardx.contact_history
where contact_id = $1 and ($2::bigint is null or history_id < $2::bigint)
order by history_id desc
limit $3::integer;

-- As many as history_bound() keeps.
-- name: history_merges
select what, changes
from cardx.contact_history
where contact_id = $1 and what in ('merged', 'unmerged')
order by history_id desc
limit 100;

-- Both, in one order for all, before either is read.
-- name: contact_lock_both
select
from cardx.contacts
where contact_id in ($1, $2)
order by contact_id
for no key update;

-- name: contact_join
select moved from cardx.contact_join($1, $2);

-- name: contact_part
select cardx.contact_part($1, $2, $3);

-- No row: it is too late, or it was joined with another, which has to be
-- taken back there.
-- name: contact_restore
update cardx.contacts
set deleted_at = null, revision = revision + 1, updated_at = now()
where contact_id = $1 and merged_into is null
    and deleted_at > now() - interval '30 days'
returning contact_id;
