-- What the request's user has stored already.

-- name: media_room
select $1::bigint
    + (select coalesce(sum(bytes), 0) from cardx.media
       where user_id = (select cardx.current_user_id()))
    + (select coalesce(sum(bytes), 0) from cardx.contact_media
       where user_id = (select cardx.current_user_id()))
    <= $2::bigint;
