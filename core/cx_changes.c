#include "cx_changes.h"

#include <string.h>

#include "cx_id.h"


/* A decimal number; the characters read, 0: none, or too large for an xid8. */
static size_t
number(const char *text, size_t len, uint64_t *value)
{
    size_t i;

    *value = 0;

    for (i = 0; i < len && text[i] >= '0' && text[i] <= '9'; i++) {
        if (i == 19) {
            return 0;
        }

        *value = *value * 10 + (uint64_t) (text[i] - '0');
    }

    return i;
}


/* What stands before the next `stop`, or before the end of the text. */
static cx_piece_t
piece(const char **text, const char *end, char stop)
{
    cx_piece_t p;
    const char *found;

    found = memchr(*text, stop, (size_t) (end - *text));
    p.text = *text;
    p.len = (size_t) ((found != NULL ? found : end) - *text);
    *text = found != NULL ? found + 1 : end;

    return p;
}


static int
is_word(cx_piece_t p, const char *alphabet)
{
    size_t i;

    for (i = 0; i < p.len; i++) {
        if (p.text[i] == '\0' || strchr(alphabet, p.text[i]) == NULL) {
            return 0;
        }
    }

    return p.len > 0;
}


#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

#define is_kind(p) is_word(p, LOWER)
#define is_object(p) is_word(p, LOWER UPPER DIGITS "-_")


int
cx_position_read(const char *text, size_t len, cx_position_t *position)
{
    const char *end;
    cx_piece_t epoch, xid;

    if (len > CX_POSITION_MAX) {
        return -1;
    }

    memset(position, 0, sizeof(*position));
    end = text + len;
    epoch = piece(&text, end, '.');
    xid = piece(&text, end, '.');

    if (epoch.len != CX_LOG_EPOCH_LEN || !is_word(epoch, DIGITS "abcdef")
        || number(xid.text, xid.len, &position->xid) != xid.len
        || xid.len == 0) {
        return -1;
    }

    memcpy(position->epoch, epoch.text, CX_LOG_EPOCH_LEN);
    position->xid_text = xid;

    if (xid.text + xid.len == end) {
        return 0;
    }

    position->kind = piece(&text, end, '.');

    if (position->kind.len == 3 && memcmp(position->kind.text, "all", 3) == 0) {
        position->all = 1;
        position->kind = piece(&text, end, '.');
    }

    position->object.text = text;
    position->object.len = (size_t) (end - text);

    return is_kind(position->kind) && is_object(position->object) ? 0 : -1;
}


int
cx_head_read(const char *text, size_t len, cx_position_t *position,
             uint64_t *bound)
{
    const char *end;
    cx_piece_t first;

    end = text + len;
    first = piece(&text, end, ' ');

    return cx_position_read(first.text, first.len, position) == 0
                   && position->kind.len == 0 && text != end
                   && number(text, (size_t) (end - text), bound)
                          == (size_t) (end - text)
               ? 0
               : -1;
}


int
cx_position_is_new(const cx_position_t *position, const char *head, size_t len)
{
    uint64_t bound;
    cx_position_t h;

    return head != NULL && position->kind.len == 0
           && cx_head_read(head, len, &h, &bound) == 0
           && memcmp(h.epoch, position->epoch, CX_LOG_EPOCH_LEN) == 0
           && position->xid >= h.xid && position->xid <= bound;
}


const char *
cx_wake_epoch(const char **message, const char *end)
{
    cx_piece_t epoch;

    epoch = piece(message, end, '\n');

    return epoch.len == CX_LOG_EPOCH_LEN ? epoch.text : NULL;
}


int
cx_wake_next(const char **message, const char *end, cx_wake_t *wake)
{
    uint64_t terminal;
    cx_piece_t line, after;

    line = piece(message, end, '\n');
    wake->end = line.text + line.len;
    wake->user_id = piece(&line.text, wake->end, ' ');
    wake->terminal_id = 0;
    wake->changes = NULL;
    wake->after = 0;

    if (wake->user_id.len != CX_ID_LEN) {
        return 0;
    }

    after = piece(&line.text, wake->end, ' ');

    if (after.len > 1 && after.text[0] == '!'
        && number(after.text + 1, after.len - 1, &terminal) == after.len - 1
        && terminal <= CX_TERMINAL_MAX) {
        wake->terminal_id = (uint32_t) terminal;

    } else if (after.len > 0
               && number(after.text, after.len, &wake->after) == after.len) {
        wake->changes = line.text;
    }

    return 1;
}


int
cx_wake_change(cx_wake_t *wake, cx_change_t *change)
{
    cx_piece_t xid;

    if (wake->changes == NULL || wake->changes == wake->end) {
        return 0;
    }

    xid = piece(&wake->changes, wake->end, ' ');
    change->kind = piece(&wake->changes, wake->end, ' ');
    change->op = piece(&wake->changes, wake->end, ' ');
    change->object = piece(&wake->changes, wake->end, ' ');

    return xid.len > 0 && number(xid.text, xid.len, &change->xid) == xid.len
                   && is_kind(change->kind) && is_kind(change->op)
                   && is_object(change->object)
               ? 1
               : -1;
}
