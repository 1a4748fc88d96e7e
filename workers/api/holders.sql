-- Who holds a card.

-- No row: no such card of the user's.
-- name: holder_list
with page as (
    select h.user_id, h.nickname, h.since, h.ways,
        row_number() over (order by h.user_id collate "C") as n
    from cardx.card_holders($1, $3, $2::integer + 1) h)
select jsonb_strip_nulls(jsonb_build_object('next', (
            select user_id from page
            where n = $2::integer
                and exists (select from page where n > $2::integer))))
    || jsonb_build_object('items', (
        select coalesce(jsonb_agg(jsonb_build_object(
            'user_id', p.user_id,
            'nickname', p.nickname,
            'since', cardx.rfc3339(p.since),
            'via', p.ways::jsonb)
            order by p.n) filter (where p.n <= $2::integer), '[]')
        from page p))
from cardx.cards c
where c.card_id = $1 and c.deleted_at is null;

-- name: holder_take_back
select cardx.card_take_back($1, $2);

-- No row: no such card of the user's.
-- name: block_list
with page as (
    select b.user_id, b.nickname, b.blocked_at,
        row_number() over (order by b.user_id collate "C") as n
    from cardx.card_blocks($1, $3, $2::integer + 1) b)
select jsonb_strip_nulls(jsonb_build_object('next', (
            select user_id from page
            where n = $2::integer
                and exists (select from page where n > $2::integer))))
    || jsonb_build_object('items', (
        select coalesce(jsonb_agg(jsonb_build_object(
            'user_id', p.user_id,
            'nickname', p.nickname,
            'blocked_at', cardx.rfc3339(p.blocked_at))
            order by p.n) filter (where p.n <= $2::integer), '[]')
        from page p))
from cardx.cards c
where c.card_id = $1 and c.deleted_at is null;

-- name: block_lift
select cardx.block_lift($1, $2);
