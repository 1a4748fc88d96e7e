-- What the projection of one card is made from.

-- name: card_projection
select revision, deleted, card, media, keys from cardx.card_projection($1);
