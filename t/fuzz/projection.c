/* What the module reads out of Redis' values (cx_projection.h).  The first
 * byte says how much of the input is the mark beside a token. */

#include "cx_projection.h"
#include "fuzz.h"

#define NOW 1700000000


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *value, *mark;
    size_t mark_len, view_len, type_len;
    uint64_t bytes;
    const char *view, *card_id, *media_id, *type;

    if (size < 1) {
        return 0;
    }

    mark_len = data[0] < size - 1 ? data[0] : size - 1;
    mark = fuzz_copy(data + 1, mark_len);
    size -= 1 + mark_len;
    value = fuzz_copy(data + 1 + mark_len, size);

    if (cx_verdict_read(value, size, NOW, &view, &view_len)
        == CX_VERDICT_GRANTED) {
        HOLDS(view_len == 0 || view_len == CX_VIEW_LEN);
        HOLDS(fuzz_within(view, view_len, value, size));
    }

    if (cx_redirect_read(value, size, NOW, &card_id) == CX_VERDICT_GRANTED) {
        HOLDS(fuzz_within(card_id, CX_ID_LEN, value, size));
    }

    if (cx_media_read(value, size, &media_id, &bytes, &type, &type_len) == 0) {
        HOLDS(fuzz_within(media_id, CX_ID_LEN, value, size));
        HOLDS(fuzz_within(type, type_len, value, size));
        /* it becomes a header */
        HOLDS(memchr(type, '\r', type_len) == NULL);
        HOLDS(memchr(type, '\n', type_len) == NULL);
    }

    /* a token with a mark beside it is never simply good */
    HOLDS(mark_len == 0
          || cx_token_verdict_read(value, size, mark, mark_len, NOW)
                 != CX_VERDICT_GRANTED);
    (void) cx_token_verdict_read(value, size, NULL, 0, NOW);

    free(value);
    free(mark);

    return 0;
}
