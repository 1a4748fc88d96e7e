-- What every change of a card has in common.  Row-level security leaves only
-- cards of the request's own user.

-- name: card_get
select object, revision, thumbnail_id is not null
from cardx.card_objects
where card_id = $1;

-- The user's row comes before any card's, so that no two wait for each other.
-- The own card is the oldest one while none is named, as `me_get` has it.
-- name: user_lock
select coalesce(own_card_id, (
    select card_id
    from cardx.cards
    where user_id = (select cardx.current_user_id()) and deleted_at is null
    order by created_at, card_id
    limit 1))
from cardx.users
where user_id = (select cardx.current_user_id()) and erased_at is null
for no key update;

-- name: card_lock
select card, revision, deleted_at is not null
from cardx.cards
where card_id = $1
for no key update;

-- The card shows something else than before, which is not in its properties.
-- $2: thumbnails show it too.
-- name: card_touch
with touched as (
    update cardx.cards
    set revision = revision + 1,
        picture_version = picture_version + $2::boolean::integer
    where card_id = $1
    returning card_id)
select cardx.outbox_add('card', card_id)
from touched;

-- How many thumbnails a card has: one for each view that somebody may see.
-- name: card_views
select 1 + count(distinct view)
from cardx.card_keys
where card_id = $1 and view <> '' and revoked_at is null
    and expires_at > now();

-- New thumbnails of the present picture version, with ids from $2; the whole
-- view comes first, and has the image $4 if that is there.  $3: what former
-- ones show may not be seen any more.
-- name: thumbnails_renew
with gone as (
    delete from cardx.thumbnails
    where card_id = $1 and ($3 = 'all' or ($3 = 'whole' and view = ''))
    returning thumbnail_id, card_id, user_id),
remembered as (
    insert into cardx.gone_thumbnails (thumbnail_id, card_id, user_id)
    select thumbnail_id, card_id, user_id
    from gone),
views as (
    select '' as view, null::text[] as fields
    union
    select view, fields
    from cardx.card_keys
    where card_id = $1 and view <> '' and revoked_at is null
        and expires_at > now()),
numbered as (
    select view, fields, row_number() over (order by view collate "C") as n
    from views),
made as (
    insert into cardx.thumbnails (thumbnail_id, card_id, user_id, view, fields,
                                  picture_version, image)
    select ($2::text[])[v.n], c.card_id, c.user_id, v.view, v.fields,
        c.picture_version, case when v.view = '' then $4::bytea end
    from numbered v
    join cardx.cards c on c.card_id = $1
    where v.n <= cardinality($2::text[])
    returning thumbnail_id, image)
select count(cardx.outbox_add('thumbnail', thumbnail_id))
from (select thumbnail_id from made where image is null
      union all
      select thumbnail_id from gone) t;

-- name: thumbnails_gone
select thumbnail_id
from cardx.gone_thumbnails
where card_id = $1;

-- name: thumbnails_forget
delete from cardx.gone_thumbnails
where card_id = $1;

-- Keys of a deleted card whose redirects may still stand in Redis.
-- name: card_keys_standing
select key_hash
from cardx.card_keys
where card_id = $1 and expires_at > now();

-- The content goes at once; the row stays, so that a holder can be told.
-- name: card_erase
with erased as (
    update cardx.cards
    set card = '{}', deleted_at = now(), revision = revision + 1
    where card_id = $1 and deleted_at is null
    returning card_id),
media as (
    delete from cardx.media
    where card_id = $1),
own_thumbnails as (
    delete from cardx.own_thumbnails
    where card_id = $1),
revoked as (
    update cardx.card_keys
    set revoked_at = now()
    where key_id in (
        select key_id
        from cardx.card_keys
        where card_id = $1 and revoked_at is null
        order by key_id
        for no key update)),
gone as (
    delete from cardx.thumbnails
    where card_id = $1
    returning thumbnail_id, card_id, user_id),
remembered as (
    insert into cardx.gone_thumbnails (thumbnail_id, card_id, user_id)
    select thumbnail_id, card_id, user_id
    from gone),
moved as (
    update cardx.users
    set own_card_id = (
        select card_id
        from cardx.cards
        where user_id = (select cardx.current_user_id())
            and deleted_at is null and card_id <> $1
        order by created_at, card_id
        limit 1)
    where user_id = (select cardx.current_user_id()) and own_card_id = $1)
select (select count(cardx.outbox_add('card', card_id)) from erased),
    (select count(cardx.outbox_add('thumbnail', thumbnail_id)) from gone);
