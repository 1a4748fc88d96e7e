-- Counted scans (scans.c).

-- name: scans_batch
select scans_batch from cardx.fanout_state for update skip locked

-- name: scans_add
with remembered as (
    update cardx.fanout_state set scans_batch = $1
)
select cardx.fanout_scans($2::bytea[], $3::bigint[])
