/*
 * vCards (cx_vcard.h): from a vCard, or from a Card that was checked, to
 * vCard 4.0 and back.  What was written is read as what it was written from,
 * and from then on nothing changes any more.
 */

#include "cx_jscontact.h"
#include "cx_vcard.h"
#include "fuzz.h"


static cx_json_t *
read_back(TALLOC_CTX *ctx, const char *text, size_t len)
{
    const char *why;

    return cx_vcard_read(ctx, &text, &len, &why);
}


static char *
written(TALLOC_CTX *ctx, const cx_json_t *card, cx_vcard_version_t version)
{
    char *text;
    size_t len;

    text = cx_vcard_write(ctx, card, version, NULL, 0, &len);
    HOLDS(text != NULL && strlen(text) == len);
    HOLDS(len > 30 && strncmp(text, "BEGIN:VCARD\r\n", 13) == 0);
    HOLDS(strcmp(text + len - 11, "END:VCARD\r\n") == 0);

    return text;
}


static void
round_trip(TALLOC_CTX *ctx, const cx_json_t *card)
{
    char *text, *short_text;
    size_t len;
    cx_json_t *again;

    text = written(ctx, card, CX_VCARD_4);
    again = read_back(ctx, text, strlen(text));
    HOLDS(again != NULL);
    HOLDS(cx_jscontact_check(ctx, again) == NULL);

    /* the second time, it is the same to the letter */
    HOLDS(
        strcmp(cx_json_write(ctx, again, NULL),
               cx_json_write(ctx,
                             read_back(ctx, written(ctx, again, CX_VCARD_4),
                                       strlen(written(ctx, again, CX_VCARD_4))),
                             NULL))
        == 0);

    text = written(ctx, card, CX_VCARD_3);
    HOLDS(read_back(ctx, text, strlen(text)) != NULL);

    short_text = cx_vcard_write_short(ctx, card, &len);
    HOLDS(strlen(short_text) == len);
    HOLDS(read_back(ctx, short_text, len) != NULL);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int n;
    char *copy;
    size_t len;
    const char *text, *why, *before;
    cx_json_t *card;
    TALLOC_CTX *ctx;

    ctx = talloc_new(NULL);
    copy = fuzz_copy(data, size);

    if (size > 0 && data[0] == '{') {
        card = cx_json_read(ctx, copy, size, &why);

        if (card != NULL && cx_jscontact_check(ctx, card) == NULL) {
            round_trip(ctx, card);
        }
    }

    text = copy;
    len = size;

    for (n = 0; len > 0 && n < 4; n++) {
        before = text;
        card = cx_vcard_read(ctx, &text, &len, &why);
        HOLDS(text > before && text + len == copy + size);

        /* media are data: URIs; a client's import takes them out */
        if (card != NULL) {
            (void) cx_json_write(ctx, card, NULL);

            if (cx_jscontact_check(ctx, card) == NULL) {
                round_trip(ctx, card);
            }
        }
    }

    free(copy);
    talloc_free(ctx);

    return 0;
}
