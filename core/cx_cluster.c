#include "cx_cluster.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

/* CRC16 as in XMODEM (polynomial 0x1021), four bits at a time. */
static const uint16_t crc_table[16] = {
    0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50a5, 0x60c6, 0x70e7,
    0x8108, 0x9129, 0xa14a, 0xb16b, 0xc18c, 0xd1ad, 0xe1ce, 0xf1ef,
};

/* A piece of the text that is read. */
typedef struct {
    const char *start;
    size_t len;
} word_t;


static unsigned
crc16(const char *text, size_t len)
{
    size_t i;
    unsigned crc, byte;

    crc = 0;

    for (i = 0; i < len; i++) {
        byte = (unsigned char) text[i];
        crc = (crc << 4 & 0xffff) ^ crc_table[crc >> 12 ^ byte >> 4];
        crc = (crc << 4 & 0xffff) ^ crc_table[crc >> 12 ^ (byte & 15)];
    }

    return crc;
}


unsigned
cx_slot(const char *name, size_t len)
{
    const char *open, *close;

    open = memchr(name, '{', len);

    if (open != NULL) {
        open++;
        close = memchr(open, '}', len - (size_t) (open - name));

        if (close != NULL && close > open) {
            return crc16(open, (size_t) (close - open)) % CX_SLOTS;
        }
    }

    return crc16(name, len) % CX_SLOTS;
}


static size_t
decimal(char *out, unsigned number)
{
    size_t n, i;
    char digits[10];

    n = 0;

    do {
        digits[n++] = (char) ('0' + number % 10);
        number /= 10;
    } while (number > 0);

    for (i = 0; i < n; i++) {
        out[i] = digits[n - 1 - i];
    }

    out[n] = '\0';

    return n;
}


size_t
cx_slot_tag(char out[CX_TAG_MAX], unsigned slot)
{
    size_t len;
    unsigned i;

    /* numbers of up to six digits reach every slot, as the unit test shows */

    for (i = 0; i < 999999; i++) {
        len = decimal(out, i);

        if (crc16(out, len) % CX_SLOTS == slot) {
            return len;
        }
    }

    out[0] = '\0';

    return 0;
}


/* The next word up to `end`, and the text moves on.  An empty one is false. */
static bool
next_word(word_t *text, char end, word_t *word)
{
    const char *p;

    p = memchr(text->start, end, text->len);
    word->start = text->start;
    word->len = p != NULL ? (size_t) (p - text->start) : text->len;

    if (p != NULL) {
        text->start = p + 1;
        text->len -= word->len + 1;

    } else {
        text->start += text->len;
        text->len = 0;
    }

    return word->len > 0;
}


/* A number of at most `max`, or -1. */
static long
number(const char *p, size_t len, long max)
{
    size_t i;
    long n;

    if (len == 0 || len > 5) {
        return -1;
    }

    n = 0;

    for (i = 0; i < len; i++) {
        if (p[i] < '0' || p[i] > '9') {
            return -1;
        }

        n = 10 * n + (p[i] - '0');
    }

    return n <= max ? n : -1;
}


static bool
is_numeric(const char *host)
{
    unsigned char bytes[sizeof(struct in6_addr)];

    return inet_pton(AF_INET, host, bytes) == 1
           || inet_pton(AF_INET6, host, bytes) == 1;
}


/* "<host>:<port>", where the host may be empty. */
static bool
read_address(const char *p, size_t len, char *host, uint16_t *port)
{
    long n;
    const char *colon;

    colon = p + len;

    while (colon > p && *--colon != ':') {
        /* void */
    }

    if (len == 0 || *colon != ':' || colon - p >= CX_HOST_MAX) {
        return false;
    }

    n = number(colon + 1, len - (size_t) (colon + 1 - p), 65535);

    if (n <= 0) {
        return false;
    }

    memcpy(host, p, (size_t) (colon - p));
    host[colon - p] = '\0';
    *port = (uint16_t) n;

    return true;
}


/* FNV-1a. */
static uint32_t
hash(const word_t *word)
{
    size_t i;
    uint32_t h;

    h = 2166136261U;

    for (i = 0; i < word->len; i++) {
        h = (h ^ (unsigned char) word->start[i]) * 16777619U;
    }

    return h;
}


/* A slot's weight for a node: the lightest of its slots is its mark. */
static uint32_t
weight(uint32_t id, unsigned slot)
{
    uint32_t x;

    x = id ^ (slot + 1) * 0x9e3779b1U;
    x = (x ^ x >> 16) * 0x85ebca6bU;
    x = (x ^ x >> 13) * 0xc2b2ae35U;

    return x ^ x >> 16;
}


/* "5", "0-5460", or "[77->-<id>]", which says that a slot is on its way. */
static bool
read_range(cx_cluster_t *map, const word_t *word)
{
    long first, last;
    const char *dash;

    if (word->start[0] == '[') {
        return true;
    }

    dash = memchr(word->start, '-', word->len);

    if (dash == NULL) {
        first = number(word->start, word->len, CX_SLOTS - 1);
        last = first;

    } else {
        first =
            number(word->start, (size_t) (dash - word->start), CX_SLOTS - 1);
        last = number(dash + 1, word->len - (size_t) (dash + 1 - word->start),
                      CX_SLOTS - 1);
    }

    if (first < 0 || last < first) {
        return false;
    }

    memset(map->owner + first, (int) map->n, (size_t) (last - first + 1));

    return true;
}


/* The lightest slot of the node that was read last; CX_SLOTS: it has none. */
static unsigned
mark_of(const cx_cluster_t *map, const word_t *id)
{
    unsigned i, mark;
    uint32_t h, w, least;

    h = hash(id);
    mark = CX_SLOTS;
    least = 0;

    for (i = 0; i < CX_SLOTS; i++) {
        if (map->owner[i] == map->n) {
            w = weight(h, i);

            if (mark == CX_SLOTS || w < least) {
                mark = i;
                least = w;
            }
        }
    }

    return mark;
}


/* <id> <host>:<port>@<bus>[,<name>] <flags> <master> <ping> <pong> <epoch>
 * <state> <slots> ... */
static bool
read_node(cx_cluster_t *map, word_t *line, const char *host)
{
    int i;
    unsigned mark;
    cx_node_t node;
    word_t id, address, end, word;

    if (!next_word(line, ' ', &id) || !next_word(line, ' ', &address)) {
        return false;
    }

    for (i = 0; i < 6; i++) {
        if (!next_word(line, ' ', &word)) {
            return false;
        }
    }

    while (next_word(line, ' ', &word)) {
        if (map->n == CX_NODES_MAX || !read_range(map, &word)) {
            return false;
        }
    }

    if (map->n == CX_NODES_MAX) {
        return true;
    }

    mark = mark_of(map, &id);

    if (mark == CX_SLOTS) {
        return true;
    }

    if (!next_word(&address, '@', &end)
        || !read_address(end.start, end.len, node.host, &node.port)) {
        return false;
    }

    if (node.host[0] == '\0') {
        strncpy(node.host, host, sizeof(node.host) - 1);
        node.host[sizeof(node.host) - 1] = '\0';
    }

    if (!is_numeric(node.host)) {
        return false;
    }

    node.mark = (uint16_t) mark;
    map->nodes[map->n++] = node;

    return true;
}


int
cx_cluster_read(cx_cluster_t *map, const char *text, size_t len,
                const char *host)
{
    word_t rest, line;

    map->n = 0;
    memset(map->owner, CX_NO_NODE, sizeof(map->owner));

    rest.start = text;
    rest.len = len;

    while (next_word(&rest, '\n', &line)) {
        if (line.start[line.len - 1] == '\r') {
            line.len--;
        }

        if (!read_node(map, &line, host)) {
            return -1;
        }
    }

    return map->n > 0 && rest.len == 0 ? 0 : -1;
}


void
cx_redirect_error_read(const char *text, size_t len, cx_redirect_t *out)
{
    long slot;
    word_t rest, kind, word;

    rest.start = text;
    rest.len = len;
    out->kind = CX_REDIRECT_NONE;

    if (!next_word(&rest, ' ', &kind) || !next_word(&rest, ' ', &word)) {
        return;
    }

    slot = number(word.start, word.len, CX_SLOTS - 1);

    if (slot < 0 || !next_word(&rest, ' ', &word)
        || !read_address(word.start, word.len, out->host, &out->port)) {
        return;
    }

    out->slot = (unsigned) slot;

    if (kind.len == 5 && memcmp(kind.start, "MOVED", 5) == 0) {
        out->kind = CX_REDIRECT_MOVED;

    } else if (kind.len == 3 && memcmp(kind.start, "ASK", 3) == 0) {
        out->kind = CX_REDIRECT_ASK;
    }
}


int
cx_command_key(const char *command, size_t len)
{
    size_t i;
    static const struct {
        const char *name;
        int key;
    } others[] = {
        { "EVAL", 3 },   { "EVALSHA", 3 }, { "PUBLISH", 0 },
        { "PING", 0 },   { "INFO", 0 },    { "FLUSHDB", 0 },
        { "SCRIPT", 0 }, { "CLUSTER", 0 }, { "DBSIZE", 0 },
    };

    for (i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        if (strlen(others[i].name) == len
            && strncasecmp(others[i].name, command, len) == 0) {
            return others[i].key;
        }
    }

    return 1;
}
