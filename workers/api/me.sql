-- The account of who asks: row-level security shows no other.

-- The own card is the first one until another is named.
-- name: me_get
select json_build_object(
    'user_id', u.user_id,
    'phone', u.phone,
    'nickname', u.nickname,
    'own_card_id', coalesce(
        (select c.card_id from cardx.cards c
         where c.card_id = u.own_card_id and c.user_id = u.user_id
             and c.deleted_at is null),
        (select c.card_id from cardx.cards c
         where c.user_id = u.user_id and c.deleted_at is null
         order by c.created_at, c.card_id limit 1)),
    'locale', u.locale,
    'match', json_build_object('on', u.match_on, 'fields', u.match_fields),
    'created_at', cardx.rfc3339(u.created_at),
    'approvals', coalesce((
        select json_agg(json_build_object(
            'approval_id', a.approval_id,
            'terminal', json_build_object('name', a.terminal_name),
            'created_at', cardx.rfc3339(a.created_at),
            'expires_at', cardx.rfc3339(a.expires_at))
            order by a.created_at, a.approval_id)
        from cardx.approvals a
        where a.user_id = u.user_id and a.approved is null
            and a.expires_at > now()), '[]'),
    'notices', case when u.phone is null and u.phone_lost_at is not null
        then json_build_array(json_build_object(
            'kind', 'phone_lost', 'at', cardx.rfc3339(u.phone_lost_at)))
        else '[]' end)
from cardx.users u
where u.user_id = cardx.current_user_id();

-- $1, $3, $5, $7, $9: whether the patch names the member that follows.  Who
-- names no card any more names the oldest.
-- name: me_patch
update cardx.users u
set nickname = case when $1::boolean then $2 else u.nickname end,
    own_card_id = case when $3::boolean
        then coalesce($4, (
            select c.card_id
            from cardx.cards c
            where c.user_id = u.user_id and c.deleted_at is null
            order by c.created_at, c.card_id
            limit 1))
        else u.own_card_id end,
    locale = case when $5::boolean then $6 else u.locale end,
    match_on = case when $7::boolean then $8::boolean else u.match_on end,
    match_fields = case when $9::boolean then $10::text[]
        else u.match_fields end
where u.user_id = cardx.current_user_id()
    and ($4::text is null or exists (
        select from cardx.cards c
        where c.card_id = $4 and c.user_id = u.user_id
            and c.deleted_at is null))
returning u.user_id;

-- name: password_change
select cardx.password_change($1, $2, $3);

-- $1: the last one of the page before; $2: how many; $3: who asks
-- name: terminal_list
with page as (
    select t.terminal_id, t.name, t.created_at, t.seen_at
    from cardx.terminals t
    where t.user_id = cardx.current_user_id() and t.signed_out_at is null
        and t.terminal_id > coalesce($1::integer, 0)
    order by t.terminal_id
    limit $2::integer + 1
), shown as (
    select * from page order by terminal_id limit $2::integer
)
select json_strip_nulls(json_build_object(
    'items', coalesce((
        select json_agg(json_build_object(
            'terminal_id', s.terminal_id::text,
            'name', s.name,
            'created_at', cardx.rfc3339(s.created_at),
            'seen_at', cardx.rfc3339(s.seen_at),
            'current', s.terminal_id = $3::integer) order by s.terminal_id)
        from shown s), '[]'),
    'next', case when (select count(*) from page) > $2::integer
        then (select max(s.terminal_id)::text from shown s) end));

-- name: terminal_is_own
select exists (
    select from cardx.terminals t
    where t.terminal_id = $1 and t.user_id = cardx.current_user_id());

-- name: terminal_sign_out
select cardx.terminal_sign_out(cardx.current_user_id(), $1);

-- approved: what was said, now or before; no row: not theirs
-- name: approval_answer
with held as materialized (
    select a.approval_id, a.approved, a.expires_at
    from cardx.approvals a
    where a.approval_id = $1
    for update),
answered as (
    update cardx.approvals a
    set approved = $2::boolean, approved_by = $3
    from held h
    where a.approval_id = h.approval_id and h.approved is null
        and h.expires_at > now()
    returning a.approved)
select coalesce((select approved from answered), h.approved)
from held h;
