-- name: qr_card
select card
from cardx.cards
where card_id = $1 and deleted_at is null;
