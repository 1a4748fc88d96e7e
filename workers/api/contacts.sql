-- Contacts.  Row-level security leaves only the request's own user's.

-- name: contact_save
select contact_id, state
from cardx.contact_save($1, $2, $3, $4, $5, $6);

-- No row: the book is full.
-- name: contact_insert
insert into cardx.contacts (contact_id, user_id, layer, tokens)
select $1, cardx.current_user_id(), $2::bytea, $3::bytea
where (select count(*) from cardx.contacts
       where user_id = (select cardx.current_user_id())) < $4::integer
returning contact_id;

-- name: contact_delete
update cardx.contacts
set deleted_at = now(), revision = revision + 1, updated_at = now()
where contact_id = $1;
