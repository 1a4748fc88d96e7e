-- What fanout asks (migrations/deploy/fanout_calls.sql).

-- name: fanout_card
select key_hash, expires, view from cardx.fanout_card($1)

-- name: fanout_terminal_gone
select cardx.fanout_terminal_gone($1, $2::integer)

-- name: sweep
select cardx.sweep(1000) + cardx.sweep_erased(100)
    + cardx.contact_sweep(1000)
