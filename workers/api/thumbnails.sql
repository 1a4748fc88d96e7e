-- Whether there was one before.
-- name: own_thumbnail_put
with former as (
    select card_id
    from cardx.own_thumbnails
    where card_id = $1),
put as (
    insert into cardx.own_thumbnails as o (card_id, user_id, image)
    values ($1, cardx.current_user_id(), $2)
    on conflict (card_id) do update set image = excluded.image)
select exists (select from former);

-- name: own_thumbnail_drop
delete from cardx.own_thumbnails
where card_id = $1
returning card_id;
