#include "contact_index.h"

#include <string.h>

#include "contact_index.sql.h"
#include "cx_buf.h"

typedef struct {
    unsigned char token[CX_TOKEN_SIZE];
    const char *contact_id; /* NULL: free */
} slot_t;

/* Open addressing; tokens are HMACs, so their first bytes are a hash. */
struct cx_contact_index_s {
    slot_t *slots;
    size_t size; /* a power of two */
    size_t used;
};


static slot_t *
slot_of(const cx_contact_index_t *index, const unsigned char *token)
{
    size_t i;
    slot_t *slot;

    memcpy(&i, token, sizeof(i));

    for (i &= index->size - 1;; i = (i + 1) & (index->size - 1)) {
        slot = &index->slots[i];

        if (slot->contact_id == NULL
            || memcmp(slot->token, token, CX_TOKEN_SIZE) == 0) {
            return slot;
        }
    }
}


static void
grow(cx_contact_index_t *index)
{
    size_t i, size;
    slot_t *old;

    old = index->slots;
    size = index->size;
    index->size = size == 0 ? 1024 : size * 2;
    index->slots = cx_must(talloc_zero_array(index, slot_t, index->size));

    for (i = 0; i < size; i++) {
        if (old[i].contact_id != NULL) {
            *slot_of(index, old[i].token) = old[i];
        }
    }

    talloc_free(old);
}


void
cx_contact_index_add(cx_contact_index_t *index, const unsigned char *tokens,
                     size_t n, const char *contact_id)
{
    size_t i;
    slot_t *slot;

    for (i = 0; i < n; i++) {
        if (index->used * 2 >= index->size) {
            grow(index);
        }

        slot = slot_of(index, tokens + i * CX_TOKEN_SIZE);

        if (slot->contact_id == NULL) {
            memcpy(slot->token, tokens + i * CX_TOKEN_SIZE, CX_TOKEN_SIZE);
            slot->contact_id = contact_id;
            index->used++;
        }
    }
}


const char *
cx_contact_index_find(const cx_contact_index_t *index,
                      const unsigned char *tokens, size_t n)
{
    size_t i;
    slot_t *slot;

    for (i = 0; i < n; i++) {
        slot = slot_of(index, tokens + i * CX_TOKEN_SIZE);

        if (slot->contact_id != NULL) {
            return slot->contact_id;
        }
    }

    return NULL;
}


cx_contact_index_t *
cx_contact_index(cx_book_t *book, size_t *n)
{
    int i;
    size_t len;
    PGresult *rows;
    unsigned char *tokens;
    cx_contact_index_t *index;

    if (!cx_query(book->r, &rows, &SQL_CONTACT_TOKENS)) {
        return NULL;
    }

    index = cx_must(talloc_zero(book, cx_contact_index_t));
    grow(index);
    *n = (size_t) PQntuples(rows);

    for (i = 0; i < PQntuples(rows); i++) {
        if (cx_pg_text(rows, i, 1) == NULL) {
            continue;
        }

        tokens = cx_pg_bytes(index, rows, i, 1, &len);

        if (tokens != NULL) {
            cx_contact_index_add(index, tokens, len / CX_TOKEN_SIZE,
                                 cx_pg_text(rows, i, 0));
        }

        talloc_free(tokens);
    }

    return index;
}
