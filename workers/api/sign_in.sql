-- What every way of signing in asks.

-- name: password_try
select user_id, password, retry_after from cardx.password_try($1, $2, $3);
