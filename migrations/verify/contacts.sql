-- Verify cardx:contacts on pg

BEGIN;

SELECT contact_id, user_id, card_id, owner_id, layer, tokens, seen, revision,
    created_at, updated_at, deleted_at, merged_into
FROM cardx.contacts WHERE false;
SELECT history_id, contact_id, user_id, what, changes, changed_at
FROM cardx.contact_history WHERE false;
SELECT media_id, contact_id, kind, type, bytes, sealed
FROM cardx.contact_media WHERE false;
SELECT card_id, holder_id, owner_id, blocked_at FROM cardx.blocks WHERE false;

SELECT 1 / (count(*) = 4)::integer FROM pg_class
WHERE relnamespace = 'cardx'::regnamespace AND relforcerowsecurity
    AND relname IN ('contacts', 'contact_history', 'contact_media', 'blocks');

-- who may see a card is decided by functions alone
SELECT 1 / (NOT has_function_privilege('cardx_api', p.oid, 'execute'))::integer
FROM pg_proc p
WHERE p.pronamespace = 'cardx'::regnamespace
    AND p.proname IN ('grant_add', 'grant_end', 'grant_fields');
SELECT 1 / (count(*) = 17)::integer
FROM pg_proc p
WHERE p.pronamespace = 'cardx'::regnamespace AND p.prosecdef
    AND p.proowner = 'cardx_definer'::regrole
    AND 'search_path=pg_catalog, pg_temp' = ANY (p.proconfig)
    AND p.proname IN ('grant_add', 'grant_end', 'grant_fields', 'log_contact',
        'log_grant', 'contact_read', 'contact_thumbnail', 'contact_save',
        'contact_join', 'contact_part', 'contact_medium', 'card_holders',
        'card_blocks', 'card_take_back', 'block_lift', 'contact_sweep',
        'history_bound');

ROLLBACK;
