/* What a client sends as a card, and what is shown of it (cx_jscontact.h). */

#include "cx_jscontact.h"
#include "fuzz.h"


static cx_json_t *
list(TALLOC_CTX *ctx, const cx_json_t *card)
{
    size_t i;
    cx_json_t *fields;

    fields = cx_json_array(ctx);

    for (i = 0; i < card->n && i < 5; i += 2) {
        cx_json_append(fields, cx_json_string(ctx, card->items[i]->name));

        if (card->items[i]->type == CX_JSON_OBJECT && card->items[i]->n > 0) {
            cx_json_append(
                fields,
                cx_json_string(
                    ctx, talloc_asprintf(ctx, "%s/%s", card->items[i]->name,
                                         card->items[i]->items[0]->name)));
        }
    }

    return fields;
}


static void
view(TALLOC_CTX *ctx, const cx_json_t *card, char **fields)
{
    char name[CX_VIEW_LEN + 1], *text;
    cx_json_t *shown;
    cx_summary_t summary;

    cx_view_name(fields, name);
    HOLDS(strlen(name) == (fields == NULL ? 0 : CX_VIEW_LEN));

    shown = cx_jscontact_view(ctx, card, fields);

    /* what shows of it is a card too, and shows the same */
    text = cx_json_write(ctx, shown, NULL);
    HOLDS(cx_jscontact_check(ctx, shown) == NULL);
    HOLDS(strcmp(text, cx_json_write(ctx, cx_jscontact_view(ctx, shown, fields),
                                     NULL))
          == 0);

    cx_jscontact_summary(ctx, card, fields, &summary);
    HOLDS(cx_jscontact_full_name(ctx, shown) != NULL);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text, **fields;
    const char *why;
    cx_json_t *card;
    TALLOC_CTX *ctx;

    ctx = talloc_new(NULL);
    text = fuzz_copy(data, size);
    card = cx_json_read(ctx, text, size, &why);

    if (card != NULL && card->type == CX_JSON_ARRAY) {
        (void) cx_fields_read(ctx, card, &fields);
    }

    if (card != NULL && card->type == CX_JSON_OBJECT
        && cx_jscontact_check(ctx, card) == NULL) {
        HOLDS(cx_jscontact_check(ctx, card) == NULL);
        view(ctx, card, NULL);

        if (cx_fields_read(ctx, list(ctx, card), &fields) == NULL) {
            view(ctx, card, fields);
        }
    }

    free(text);
    talloc_free(ctx);

    return 0;
}
