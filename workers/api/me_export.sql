-- The export of an account (migrations/deploy/account_export.sql).  $1: the
-- name of the last row of the page before, or null; $2: rows of a page.
-- Row-level security leaves only the request's own user's.

-- What its numbers are sealed with, and when it is.
-- name: export_account
select phone, locale, epoch, data_key, cardx.rfc3339(now())
from cardx.match_me();

-- name: export_terminals
select t.terminal_id::text, json_build_object(
    'terminal_id', t.terminal_id::text,
    'name', t.name,
    'created_at', cardx.rfc3339(t.created_at),
    'seen_at', cardx.rfc3339(t.seen_at),
    'signed_out_at', cardx.rfc3339(t.signed_out_at))
from cardx.terminals t
where t.user_id = (select cardx.current_user_id())
    and t.terminal_id > coalesce($1::text, '0')::integer
order by t.terminal_id
limit $2::integer;

-- name: export_approvals
select a.approval_id, json_build_object(
    'approval_id', a.approval_id,
    'terminal', json_build_object('name', a.terminal_name),
    'created_at', cardx.rfc3339(a.created_at),
    'expires_at', cardx.rfc3339(a.expires_at),
    'approved', a.approved,
    'approved_by', a.approved_by::text)
from cardx.approvals a
where a.approval_id > coalesce($1, '')
order by a.approval_id
limit $2::integer;

-- name: export_proofs
select name, item
from cardx.export_proofs($1, $2);

-- name: export_messages
select name, item
from cardx.export_messages($1, $2);

-- name: export_subscriptions
select s.subscription_id, json_build_object(
    'subscription_id', s.subscription_id,
    'terminal_id', s.terminal_id::text,
    'origin', s.origin,
    'created_at', cardx.rfc3339(s.created_at),
    'expires_at', cardx.rfc3339(s.expires_at))
from cardx.push_subscriptions s
where s.subscription_id > coalesce($1, '')
order by s.subscription_id
limit $2::integer;

-- name: export_cards
select c.card_id, c.object || jsonb_build_object(
    'own_thumbnail', exists (
        select from cardx.own_thumbnails o where o.card_id = c.card_id),
    'created_at', cardx.rfc3339(c.created_at),
    'updated_at', cardx.rfc3339(c.updated_at),
    'ahead_at', cardx.rfc3339(c.ahead_at))
from cardx.card_objects c
where c.card_id > coalesce($1, '')
order by c.card_id
limit $2::integer;

-- name: export_keys
select k.key_id, json_build_object(
    'key_id', k.key_id,
    'card_id', k.card_id,
    'fields', k.fields,
    'drawn_at', cardx.rfc3339(k.drawn_at),
    'expires_at', cardx.rfc3339(k.expires_at),
    'revoked_at', cardx.rfc3339(k.revoked_at),
    'scans', k.scans,
    'thumbnail', (
        select '/t/' || t.thumbnail_id
        from cardx.thumbnails t
        join cardx.cards c using (card_id, picture_version)
        where t.card_id = k.card_id and t.view = k.view))
from cardx.card_keys k
where k.user_id = (select cardx.current_user_id())
    and k.key_id > coalesce($1, '')
order by k.key_id
limit $2::integer;

-- name: export_given
select name, item
from cardx.export_given($1::text[], $2);

-- name: export_blocks
select name, item
from cardx.export_blocks($1::text[], $2);

-- name: export_held
select name, item
from cardx.export_held($1::text[], $2);

-- As contact_read has it, and three columns more.
-- name: export_contacts
select b.contact_id, b.revision, b.layer, b.deleted, b.own_media, b.card_id,
    b.owner_id, b.nickname, b.card_revision, b.fields, b.card, b.media,
    b.seen, b.card_updated, b.deleted_at, b.thumbnail,
    cardx.rfc3339(c.created_at), cardx.rfc3339(c.updated_at), c.merged_into
from cardx.contact_read(null, $1, null, $2::integer) with ordinality b
cross join lateral (
    select * from cardx.contacts a
    where a.contact_id = b.contact_id
    offset 0) c
order by b.ordinality;

-- name: export_history
select name, contact_id, what, changed_at, changes, shown_card, fields
from cardx.export_history($1::text[], $2);

-- name: export_numbers
select name, contact_id, number
from cardx.export_numbers($1::text[], $2);

-- name: export_waiting
select name, contact_id, number
from cardx.export_waiting($1::text[], $2);

-- name: export_matches
select name, item
from cardx.export_matches($1, $2);

-- name: export_quota
select name, item
from cardx.export_quota($1, $2);

-- $1: kind and object_id
-- name: export_log
select array[l.kind, l.object_id]::text, json_build_object(
    'kind', l.kind,
    'id', l.object_id,
    'op', l.op,
    'at', cardx.rfc3339(l.changed_at))
from cardx.user_log l
where l.user_id = (select cardx.current_user_id())
    and (l.kind, l.object_id)
        > (coalesce(($1::text[])[1], ''), coalesce(($1::text[])[2], ''))
order by l.kind, l.object_id
limit $2::integer;
