-- What a comparison of the projection with the truth asks (check.c).

-- name: check_cards_page
select card_id from cardx.check_cards($1, $2::integer)

-- name: check_tokens_page
select token_hash, user_id
from cardx.rebuild_tokens($1::bytea, $2::integer)

-- name: check_thumbnails_page
select thumbnail_id from cardx.check_thumbnails($1, $2::integer)

-- name: check_outbox
select count(*), count(*) filter (where created_at < now() - interval '1 min')
from cardx.outbox
