/* JSON: what is read, written and read again is the same text; and merge
 * patches (cx_json.h). */

#include "cx_json.h"
#include "fuzz.h"


static void
patch(TALLOC_CTX *ctx, const cx_json_t *json)
{
    size_t len;
    char *once;
    cx_json_t *target;

    /* a patch applied twice does no more than applied once (RFC 7396) */
    target = cx_json_merge_patch(ctx, cx_json_object(ctx), json);
    once = cx_json_write(ctx, target, NULL);
    target = cx_json_merge_patch(ctx, target, json);
    HOLDS(strcmp(once, cx_json_write(ctx, target, &len)) == 0);
    HOLDS(strlen(once) == len);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text, *first, *second;
    size_t len;
    int64_t number;
    const char *why;
    cx_json_t *json, *again;
    TALLOC_CTX *ctx;

    ctx = talloc_new(NULL);
    text = fuzz_copy(data, size);
    why = NULL;
    json = cx_json_read(ctx, text, size, &why);
    HOLDS(json != NULL || why != NULL);

    if (json != NULL) {
        first = cx_json_write(ctx, json, &len);
        HOLDS(strlen(first) == len);

        again = cx_json_read(ctx, first, len, &why);
        HOLDS(again != NULL);

        second = cx_json_write(ctx, again, NULL);
        HOLDS(strcmp(first, second) == 0);

        again = cx_json_copy(ctx, json);
        HOLDS(strcmp(first, cx_json_write(ctx, again, NULL)) == 0);

        (void) cx_json_to_integer(json, &number);
        patch(ctx, json);
    }

    free(text);
    talloc_free(ctx);

    return 0;
}
