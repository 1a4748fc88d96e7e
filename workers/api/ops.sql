-- What the operator's calls ask.

-- name: health
select 1;

