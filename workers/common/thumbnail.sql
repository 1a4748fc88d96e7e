-- What a thumbnail is drawn from.

-- name: thumbnail_source
select card, fields, image
from cardx.thumbnail_source($1);

-- name: thumbnail_picture
select cardx.thumbnail_picture($1, $2);

-- name: thumbnail_store
select cardx.thumbnail_store($1, $2);
