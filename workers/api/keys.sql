-- No row: no such card; a null key_id: it has $8 live keys already.  The card
-- is locked against being changed or deleted, not against other keys.
-- $1 card, $2 key, $3 its hash, $4 seconds, $5 fields, $6 view, $7 thumbnail,
-- should one be needed.
-- name: key_insert
with card as materialized (
    select card_id, user_id, picture_version
    from cardx.cards
    where card_id = $1 and deleted_at is null
    for share),
live as materialized (
    select view
    from cardx.card_keys
    where card_id = $1 and revoked_at is null and expires_at > now()),
key as (
    insert into cardx.card_keys (key_id, card_id, user_id, key_hash, fields,
                                 view, drawn_at, expires_at)
    select $2, card_id, user_id, $3::bytea, $5::text[], $6, now(),
        date_trunc('second', now()) + $4::integer * interval '1 second'
    from card
    where (select count(*) from live) < $8::integer
    returning key_id, drawn_at, expires_at),
there as (
    select t.thumbnail_id
    from cardx.thumbnails t
    join card c using (card_id, picture_version)
    where t.view = $6),
made as (
    insert into cardx.thumbnails as t (thumbnail_id, card_id, user_id, view,
                                       fields, picture_version)
    select $7, card_id, user_id, $6, $5::text[], picture_version
    from card
    where exists (select from key) and not exists (select from there)
    on conflict (card_id, view, picture_version)
        do update set view = excluded.view
    returning thumbnail_id),
effects as (
    select cardx.outbox_add('thumbnail', thumbnail_id)
    from made
    union all
    select cardx.outbox_add('card', $1)
    from key
    where not exists (select from live)
        or ($6 <> '' and not exists (select from live where view = $6)))
select k.key_id, cardx.rfc3339(k.drawn_at), cardx.rfc3339(k.expires_at),
    extract(epoch from k.expires_at)::bigint,
    '/t/' || coalesce((select thumbnail_id from made),
                      (select thumbnail_id from there)),
    exists (select from made),
    (select count(*) from effects)
from card c
left join key k on true;

-- No row: no such card.
-- name: key_list
with page as (
    select k.key_id, k.view, k.fields, k.drawn_at, k.expires_at, k.revoked_at,
        k.scans,
        row_number() over (order by k.drawn_at, k.key_id) as n
    from cardx.card_keys k
    where k.card_id = $1
        and ($3::text is null
             or (k.drawn_at, k.key_id) > (
                 select a.drawn_at, a.key_id
                 from cardx.card_keys a
                 where a.key_id = $3))
    order by k.drawn_at, k.key_id
    limit $2::integer + 1)
select jsonb_strip_nulls(jsonb_build_object('next', (
            select key_id from page
            where n = $2::integer
                and exists (select from page where n > $2::integer))))
    || jsonb_build_object('items', (
        select coalesce(jsonb_agg(
            jsonb_build_object(
                'key_id', p.key_id,
                'drawn_at', cardx.rfc3339(p.drawn_at),
                'expires_at', cardx.rfc3339(p.expires_at),
                'fields', p.fields,
                'scans', p.scans,
                'thumbnail', '/t/' || t.thumbnail_id)
            || jsonb_strip_nulls(jsonb_build_object(
                'revoked_at', cardx.rfc3339(p.revoked_at)))
            order by p.n) filter (where p.n <= $2::integer), '[]')
        from page p
        left join cardx.thumbnails t on t.card_id = c.card_id
            and t.view = p.view and t.picture_version = c.picture_version))
from cardx.cards c
where c.card_id = $1 and c.deleted_at is null;

-- name: key_lock
select
from cardx.card_keys
where key_id = $2 and card_id = $1
for no key update;

-- No row: no such key of this card.  $3: the grants made with it end too.
-- name: key_revoke
with key as (
    update cardx.card_keys
    set revoked_at = coalesce(revoked_at, now())
    where key_id = $2 and card_id = $1
    returning key_id, card_id, key_hash),
ended as (
    delete from cardx.grants g
    using key k
    where $3::boolean and g.card_id = k.card_id and g.via = 'key'
        and g.source = k.key_id)
select key_hash, cardx.outbox_add('card', card_id)
from key;
