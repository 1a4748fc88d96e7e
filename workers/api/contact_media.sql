-- Media of a contact.  Row-level security leaves only the request's own
-- user's.

-- name: contact_thumbnail
select cardx.contact_thumbnail($1, $2);

-- name: contact_there
select
from cardx.contacts
where contact_id = $1 and deleted_at is null;

-- name: contact_medium
select media_id, type, bytes
from cardx.contact_medium($1, $2);

-- name: contact_medium_own
select media_id, type, sealed
from cardx.contact_media
where contact_id = $1 and kind = $2;

-- name: contact_medium_drop
delete from cardx.contact_media
where contact_id = $1 and kind = $2;

-- name: contact_medium_insert
insert into cardx.contact_media (media_id, contact_id, user_id, kind, type,
                                 bytes, sealed)
values ($1, $2, cardx.current_user_id(), $3, $4, $5, $6);

-- name: contact_touch
update cardx.contacts
set revision = revision + 1, updated_at = now()
where contact_id = $1;
