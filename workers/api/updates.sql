-- What is new for a user.  Below `bound` all is decided: what is at or above
-- it comes the next time.  What is in sight and at or above xmax came from
-- another database, with a dump: it says nothing of now.

-- A first reading, by kind and object after $1 and $2: whatever is there; what
-- changes meanwhile is at or above the bound with which it began.
-- name: updates_all
with page as materialized (
    select l.kind, l.object_id, l.op, l.xid, l.changed_at
    from cardx.user_log l
    where l.user_id = (select cardx.current_user_id()) and l.op = 'put'
        and ($1::text is null or (l.kind, l.object_id) > ($1, $2))
    order by l.kind, l.object_id
    limit $3::integer + 1)
select cardx.log_epoch(), pg_snapshot_xmin(pg_current_snapshot()),
    coalesce((
        select l.xid
        from cardx.user_log l
        where l.user_id = (select cardx.current_user_id())
            and l.xid < pg_snapshot_xmax(pg_current_snapshot())
        order by l.xid desc
        limit 1)::text::bigint + 1, 0),
    p.xid, p.kind, p.object_id, p.op, cardx.rfc3339(p.changed_at)
from (select) one
left join page p on true
order by p.kind, p.object_id;

-- Since $1, and of that after $2 and $3.
-- name: updates_since
with decided as materialized (
    select pg_snapshot_xmin(pg_current_snapshot()) as bound),
page as materialized (
    select l.kind, l.object_id, l.op, l.xid, l.changed_at
    from cardx.user_log l
    where l.user_id = (select cardx.current_user_id())
        and l.xid >= $1::xid8 and l.xid < (select bound from decided)
        and ($2::text is null
             or (l.xid, l.kind, l.object_id) > ($1::xid8, $2, $3))
    order by l.xid, l.kind, l.object_id
    limit $4::integer + 1)
select cardx.log_epoch(), d.bound,
    coalesce((
        select l.xid
        from cardx.user_log l
        where l.user_id = (select cardx.current_user_id())
            and l.xid < pg_snapshot_xmax(pg_current_snapshot())
        order by l.xid desc
        limit 1)::text::bigint + 1, 0),
    p.xid, p.kind, p.object_id, p.op, cardx.rfc3339(p.changed_at)
from decided d
left join page p on true
order by p.xid, p.kind, p.object_id;

-- Objects as their own calls give them.
-- name: updates_cards
select card_id, object
from cardx.card_objects
where card_id = any ($1::text[]);

-- name: updates_terminals
select t.terminal_id, json_build_object(
        'terminal_id', t.terminal_id::text,
        'name', t.name,
        'created_at', cardx.rfc3339(t.created_at),
        'seen_at', cardx.rfc3339(t.seen_at),
        'current', t.terminal_id = $2::integer)
from cardx.terminals t
where t.terminal_id = any ($1::text[]::integer[]) and t.signed_out_at is null;

-- name: updates_contacts
select r.contact_id, r.revision, r.layer, r.deleted, r.own_media, r.card_id,
    r.owner_id, r.nickname, r.card_revision, r.fields, r.card, r.media, r.seen,
    r.card_updated, r.deleted_at, r.thumbnail
from unnest($1::text[]) wanted
cross join lateral cardx.contact_read(wanted, null, false, 0) r
where not r.deleted;
