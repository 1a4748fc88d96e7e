-- Another number for the account (D8).

-- name: proof_judge
select state, tries_left, retry_after
from cardx.proof_judge($1, cardx.current_user_id(), $2::bytea);

-- name: phone_bind
select state, former, phone
from cardx.phone_bind($1, $2::bytea, $3, $4, $5);

-- name: own_cards
select card_id
from cardx.cards
where user_id = (select cardx.current_user_id()) and deleted_at is null
order by card_id;

-- name: own_phone
select phone
from cardx.users
where user_id = (select cardx.current_user_id());
