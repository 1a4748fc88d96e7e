-- What a rebuild reads, page by page (rebuild.c).

-- name: rebuild_lock
select pg_try_advisory_lock(hashtextextended('cardx rebuild', 0))

-- name: rebuild_cards
select card_id, revision, card, media, keys
from cardx.rebuild_cards($1, $2::integer)

-- name: rebuild_cards_total
select cardx.rebuild_cards_total()

-- name: rebuild_tokens
select token_hash, user_id, terminal_id, expires
from cardx.rebuild_tokens($1::bytea, $2::integer)

-- name: rebuild_thumbnails
select thumbnail_id, image from cardx.rebuild_thumbnails($1, $2::integer)
