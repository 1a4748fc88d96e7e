-- What the operator's calls ask.

-- name: health
select 1;

-- name: outbox_depth
select effect, waiting, oldest from cardx.outbox_depth();
