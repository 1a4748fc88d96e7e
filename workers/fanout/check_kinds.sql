-- What is true of one name (check_kinds.c).

-- name: check_card
select revision, deleted, card, media, keys from cardx.card_projection($1)

-- name: check_key
select card_id, expires from cardx.check_key($1::bytea)

-- name: check_token
select user_id, expires from cardx.check_token($1::bytea)

-- name: check_terminal
select cardx.fanout_terminal_gone($1, $2::integer)

-- name: check_thumbnail
select cardx.check_thumbnail($1)
