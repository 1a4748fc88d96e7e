-- Null tokens: the entry is deleted.
-- name: contact_tokens
select contact_id, case when deleted_at is null then tokens end
from cardx.contacts
where user_id = (select cardx.current_user_id())
order by created_at, contact_id;
