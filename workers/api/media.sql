-- name: medium_find
select m.media_id, m.type, m.bytes
from cardx.media m
join cardx.cards c using (card_id)
where c.card_id = $1 and c.deleted_at is null and m.kind = $2
    and m.replaced_at is null;

-- name: medium_card
select
from cardx.cards
where card_id = $1 and deleted_at is null;

-- name: medium_replace
update cardx.media
set replaced_at = now()
where card_id = $1 and kind = $2 and replaced_at is null
returning media_id;

-- With its chunks, and all that it took the place of.
-- name: medium_drop
with gone as (
    delete from cardx.media
    where card_id = $1 and kind = $2
    returning media_id, replaced_at)
select media_id
from gone
where replaced_at is null;

-- name: medium_insert
insert into cardx.media (media_id, card_id, user_id, kind, type, bytes,
                         vcard_jpeg)
values ($1, $2, cardx.current_user_id(), $3, $4, $5, $6);

-- name: chunk_insert
insert into cardx.media_chunks (media_id, seq, data)
values ($1, $2, $3);
