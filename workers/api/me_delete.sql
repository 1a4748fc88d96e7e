-- Deletion of an account (migrations/deploy/account_erase.sql).

-- name: account_there
select
from cardx.users
where user_id = (select cardx.current_user_id()) and erased_at is null;

-- One row for each card and terminal, a last one with neither; no row: the
-- password has changed since it was compared.
-- name: account_erase_begin
select thing.card_id, thing.terminal_id
from cardx.account_erase_begin($1) a
cross join lateral (
    select unnest(a.cards) as card_id, null as terminal_id
    union all
    select null, unnest(a.terminals)
    union all
    select null, null) thing;

-- name: account_erase_end
select cardx.account_erase_end();
