-- Chunks $2 to $3 of a medium; whoever asks has checked that it may be seen.
-- name: media_chunks
select data
from cardx.media_chunk_range($1, $2, $3)
order by seq;
