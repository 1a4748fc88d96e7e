-- A picture of a live card as a vCard takes it; its id came with the contact.
-- name: contact_photo
select cardx.medium_vcard($1);
