/*
 * GET /v1/me/export: everything that is kept about the account (F8).  What is
 * left out, and why, is in t/account_export.t, which knows every table.
 *
 * Lists are read page by page while the answer is sent, so that a long one
 * takes no more memory than a short one.
 */

#include <string.h>

#include "contact_book.h"
#include "crypto.h"
#include "cx_jscontact.h"
#include "match_keys.h"
#include "me_export.sql.h"
#include "sign_in.h"

#define PAGE 200
#define PAGE_CONTACTS 50 /* a layer may have 256 KiB */

typedef struct {
    cx_book_t *book;
    cx_match_keys_t *keys;
    const char *at;
    const char *account; /* JSON */

    size_t list;       /* the one that is being written */
    const char *after; /* the last row's name; NULL: it has not begun */
    bool begun;
    bool ended;
} export_t;

/* Adds a row as JSON; false: it can't be opened. */
typedef bool (*row_t)(export_t *e, TALLOC_CTX *ctx, const PGresult *rows,
                      int row, cx_buf_t *out);


static bool
add_json(TALLOC_CTX *ctx, const cx_json_t *json, cx_buf_t *out)
{
    size_t len;
    char *text;

    text = cx_json_write(ctx, json, &len);
    cx_buf_add(out, text, len);

    return true;
}


/* As the statement has made it. */
static bool
item(export_t *e, TALLOC_CTX *ctx, const PGresult *rows, int row, cx_buf_t *out)
{
    (void) e;
    (void) ctx;
    cx_buf_puts(out, cx_pg_text(rows, row, 1));

    return true;
}


static bool
contact(export_t *e, TALLOC_CTX *ctx, const PGresult *rows, int row,
        cx_buf_t *out)
{
    size_t i;
    cx_contact_t c;
    cx_json_t *json;
    const cx_json_t *uids;
    static const char *const more[] = { "created_at", "updated_at",
                                        "merged_into" };

    if (!cx_book_row(e->book, ctx, rows, row, &c)) {
        return false;
    }

    json = cx_book_envelope(ctx, &c);
    uids = cx_json_get(c.layer, "uids");

    for (i = 0; i < sizeof(more) / sizeof(more[0]); i++) {
        if (cx_pg_text(rows, row, 16 + (int) i) != NULL) {
            cx_json_put(
                json, more[i],
                cx_json_string(json, cx_pg_text(rows, row, 16 + (int) i)));
        }
    }

    if (uids != NULL) {
        cx_json_put(json, "uids", cx_json_copy(json, uids));
    }

    return add_json(ctx, json, out);
}


static bool
history(export_t *e, TALLOC_CTX *ctx, const PGresult *rows, int row,
        cx_buf_t *out)
{
    char **fields;
    cx_json_t *json, *list;
    const char *contact_id, *text, *why;

    contact_id = cx_pg_text(rows, row, 1);
    text = cx_pg_text(rows, row, 6);
    list = text != NULL ? cx_json_read(ctx, text, strlen(text), &why) : NULL;

    if (cx_fields_read(ctx, list, &fields) != NULL) {
        return false;
    }

    json = cx_history_item(e->book, ctx, contact_id, rows, row, 2,
                           cx_pg_text(rows, row, 5), fields);

    if (json == NULL) {
        return false;
    }

    cx_json_put(json, "contact_id", cx_json_string(json, contact_id));

    return add_json(ctx, json, out);
}


static bool
number(export_t *e, TALLOC_CTX *ctx, const PGresult *rows, int row,
       cx_buf_t *out)
{
    size_t len, sealed_len;
    cx_json_t *json;
    unsigned char *sealed, *text;

    sealed = cx_pg_bytes(ctx, rows, row, 2, &sealed_len);
    text = cx_open(ctx, e->keys->number_key, e->keys->user_id, sealed,
                   sealed_len, &len);

    if (text == NULL) {
        cx_alert("a number of %s can't be opened", e->keys->user_id);
        return false;
    }

    json = cx_json_object(ctx);
    cx_json_put(json, "contact_id",
                cx_json_string(json, cx_pg_text(rows, row, 1)));
    cx_json_put(json, "number",
                cx_json_string_n(json, (const char *) text, len));

    return add_json(ctx, json, out);
}


/* In the order in which they are written; columns: the row's name, and what
 * its function takes. */
static const struct {
    const char *name;
    const cx_statement_t *statement;
    int page;
    row_t row;
} lists[] = {
    { "terminals", &SQL_EXPORT_TERMINALS, PAGE, item },
    { "approvals", &SQL_EXPORT_APPROVALS, PAGE, item },
    { "proofs", &SQL_EXPORT_PROOFS, PAGE, item },
    { "messages", &SQL_EXPORT_MESSAGES, PAGE, item },
    { "subscriptions", &SQL_EXPORT_SUBSCRIPTIONS, PAGE, item },
    { "cards", &SQL_EXPORT_CARDS, PAGE_CONTACTS, item },
    { "keys", &SQL_EXPORT_KEYS, PAGE, item },
    { "holders", &SQL_EXPORT_GIVEN, PAGE, item },
    { "blocks", &SQL_EXPORT_BLOCKS, PAGE, item },
    { "grants", &SQL_EXPORT_HELD, PAGE, item },
    { "contacts", &SQL_EXPORT_CONTACTS, PAGE_CONTACTS, contact },
    { "history", &SQL_EXPORT_HISTORY, PAGE_CONTACTS, history },
    { "numbers", &SQL_EXPORT_NUMBERS, PAGE, number },
    { "numbers_waiting", &SQL_EXPORT_WAITING, PAGE, number },
    { "matches", &SQL_EXPORT_MATCHES, PAGE, item },
    { "numbers_by_day", &SQL_EXPORT_QUOTA, PAGE, item },
    { "log", &SQL_EXPORT_LOG, PAGE, item },
};

#define LISTS (sizeof(lists) / sizeof(lists[0]))


/* The next page of a list. */
static bool
page(export_t *e, cx_buf_t *out)
{
    int i, n;
    PGresult *rows;
    TALLOC_CTX *ctx;
    cx_request_t *r = e->book->r;

    if (cx_pg_query(r->api->pg, out->ctx, &rows, lists[e->list].statement,
                    e->after,
                    talloc_asprintf(out->ctx, "%d", lists[e->list].page))
        != CX_PG_OK) {
        return false;
    }

    n = PQntuples(rows);

    if (e->after == NULL) {
        cx_buf_puts(out, ",\n\"");
        cx_buf_puts(out, lists[e->list].name);
        cx_buf_puts(out, "\": [");
    }

    for (i = 0; i < n; i++) {
        cx_buf_puts(out, e->after != NULL || i > 0 ? ",\n" : "\n");
        ctx = talloc_new(out->ctx);

        if (!lists[e->list].row(e, ctx, rows, i, out)) {
            return false;
        }

        talloc_free(ctx);
    }

    if (n == lists[e->list].page) {
        e->after = cx_must(talloc_strdup(e, cx_pg_text(rows, n - 1, 0)));
        return true;
    }

    cx_buf_puts(out, "]");
    e->after = NULL;
    e->list++;

    return true;
}


static bool
part(cx_request_t *r, void *data, cx_buf_t *out)
{
    cx_json_t *at;
    export_t *e = data;

    (void) r;

    if (!e->begun) {
        e->begun = true;
        at = cx_json_string(out->ctx, e->at);
        cx_buf_puts(out, "{\"exported_at\": ");
        add_json(out->ctx, at, out);
        cx_buf_puts(out, ",\n\"account\": ");
        cx_buf_puts(out, e->account);

    } else if (e->list < LISTS) {
        return page(e, out);

    } else if (!e->ended) {
        e->ended = true;
        cx_buf_puts(out, "}\n");
    }

    return true;
}


static void
get_export(cx_request_t *r)
{
    size_t len;
    export_t *e;
    PGresult *row;
    unsigned char *wrapped;

    e = cx_must(talloc_zero(r, export_t));
    e->book = cx_book_open(r);

    if (e->book == NULL || (e->account = cx_me_text(r)) == NULL
        || !cx_query(r, &row, &SQL_EXPORT_ACCOUNT)) {
        return;
    }

    wrapped = cx_pg_bytes(e, row, 0, 3, &len);
    e->at = cx_pg_text(row, 0, 4);
    e->keys = cx_match_keys(e, r->api->settings, r->user_id,
                            cx_pg_text(row, 0, 0), cx_pg_text(row, 0, 1),
                            cx_pg_text(row, 0, 2), wrapped, len);

    if (e->keys == NULL) {
        cx_try_again(r);
        return;
    }

    cx_answer_header(r, "Content-Disposition",
                     "attachment; filename=\"account.json\"");
    cx_answer_parts(r, "application/json", part, e);
}


const cx_route_t cx_routes_me_export[] = {
    { "GET", "/v1/me/export", get_export, 0, 0 }, { NULL, NULL, NULL, 0, 0 }
};
