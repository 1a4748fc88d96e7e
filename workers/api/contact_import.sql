-- Row-level security leaves only the request's own user's.

-- name: contact_import
with made as (
    insert into cardx.contacts (contact_id, user_id, layer, tokens)
    values ($1, cardx.current_user_id(), $2, $3)
    returning contact_id, user_id)
insert into cardx.contact_history (contact_id, user_id, what)
select contact_id, user_id, 'imported'
from made;

-- A picture of a live card as a vCard takes it; its id came with the contact.
-- name: contact_vcard_photo
select cardx.medium_vcard($1);
