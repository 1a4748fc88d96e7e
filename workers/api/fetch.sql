-- Fetching with a key, by somebody who need not be anybody here.

-- name: card_fetch
select granted, revision, view, fields, card, media, thumbnail_id
from cardx.card_fetch($1, $2);

-- name: redirect_fetch
select granted, card_id, expires, view
from cardx.redirect_fetch($1, $2);

-- name: thumbnail_fetch
select image
from cardx.thumbnail_fetch($1);

-- name: medium_fetch
select type, bytes
from cardx.medium_fetch($1);

-- name: medium_vcard
select cardx.medium_vcard($1);
