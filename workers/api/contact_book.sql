-- What calls on contacts have in common.  Row-level security leaves only the
-- request's own user's.

-- The key of the user's layers, and where numbers without a country belong.
-- name: contact_key
select data_key, phone, locale
from cardx.match_me();

-- name: contact_read
select contact_id, revision, layer, deleted, own_media, card_id, owner_id,
    nickname, card_revision, fields, card, media, seen, card_updated,
    deleted_at, thumbnail
from cardx.contact_read($1, $2, $3, $4);

-- name: contact_lock
select
from cardx.contacts
where contact_id = $1
for no key update;

-- name: contact_write
update cardx.contacts
set layer = $2, tokens = $3, revision = revision + 1, updated_at = now()
where contact_id = $1;

-- name: contact_seen
update cardx.contacts
set seen = $2
where contact_id = $1 and revision = $3::bigint
    and seen is not distinct from $4::bytea
    and ($5::text is null or card_id = $5)
returning contact_id;

-- name: history_add
insert into cardx.contact_history (contact_id, user_id, what, changes,
                                   changed_at)
values ($1, cardx.current_user_id(), $2, $3,
        coalesce($4::timestamptz, now()));
