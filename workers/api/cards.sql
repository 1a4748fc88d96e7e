-- name: card_list
with page as (
    select c.card_id, c.object,
        row_number() over (order by c.created_at, c.card_id) as n
    from cardx.card_objects c
    where c.user_id = (select cardx.current_user_id())
        and ($2::text is null
             or (c.created_at, c.card_id) > (
                 select a.created_at, a.card_id
                 from cardx.cards a
                 where a.card_id = $2))
    order by c.created_at, c.card_id
    limit $1::integer + 1)
select jsonb_strip_nulls(jsonb_build_object('next', (
            select card_id from page
            where n = $1::integer
                and exists (select from page where n > $1::integer))))
    || jsonb_build_object('items', coalesce(
        jsonb_agg(p.object order by p.n) filter (where p.n <= $1::integer),
        '[]'))
from page p;

-- No row: the user has $4 cards already.  The user's row is locked.
-- name: card_insert
with made as (
    insert into cardx.cards (card_id, user_id, card, updated_at, ahead_at)
    select $1, cardx.current_user_id(), $2::jsonb,
        least(coalesce($3::timestamptz, now()), now()),
        case when $3::timestamptz > now() then $3::timestamptz end
    where (select count(*) < $4::integer
           from cardx.cards
           where user_id = (select cardx.current_user_id())
               and deleted_at is null)
    returning card_id, user_id),
own as (
    update cardx.users u
    set own_card_id = m.card_id
    from made m
    where u.user_id = m.user_id and u.own_card_id is null)
select cardx.outbox_add('card', card_id)
from made;

-- same: nothing to write.  narrower: what the card showed is not all there
-- any more.  picture: thumbnails show something else; forget: and those so
-- far show what is no longer there.  Where a card has no name, they show the
-- first nickname or address instead.
-- name: card_update
with old as materialized (
    select card_id, card, card = $2::jsonb as same,
        not $2::jsonb @> (card - 'updated') as narrower,
        case when coalesce(card->'name'->>'full', '') = ''
                or coalesce($2::jsonb->'name'->>'full', '') = ''
            then '{name,titles,organizations,nicknames,emails}'::text[]
            else '{name,titles,organizations}'::text[] end as shown
    from cardx.cards
    where card_id = $1),
pictures as materialized (
    select coalesce((select jsonb_object_agg(key, value)
                     from jsonb_each(old.card)
                     where key = any (old.shown)), '{}') as was,
        coalesce((select jsonb_object_agg(key, value)
                  from jsonb_each($2::jsonb)
                  where key = any (old.shown)), '{}') as is_now
    from old),
changed as (
    update cardx.cards c
    set card = $2::jsonb,
        revision = c.revision + 1,
        picture_version = c.picture_version + (p.was <> p.is_now)::integer,
        updated_at = case when $2::jsonb->'updated' is distinct from
                               c.card->'updated'
            then least(coalesce($3::timestamptz, now()), now())
            else now() end,
        ahead_at = case when $3::timestamptz > now()
            then greatest($3::timestamptz, c.ahead_at)
            else c.ahead_at end
    from old o, pictures p
    where c.card_id = o.card_id and not o.same
    returning c.card_id)
select o.same, o.narrower, p.was <> p.is_now as picture,
    not p.is_now @> p.was as forget,
    (select count(cardx.outbox_add('card', card_id)) from changed)
from old o, pictures p;

-- Whether what a terminal brings is no newer than what is here (D3).  Of what a
-- clock ahead has dated, what is no later than the last such copy is not; that
-- copy itself never is, when its time has come either.
-- name: card_is_older
select $2::timestamptz <= updated_at
    or ($2::timestamptz = ahead_at) is true
    or ($2::timestamptz > now() and $2::timestamptz < ahead_at) is true
from cardx.cards
where card_id = $1;
