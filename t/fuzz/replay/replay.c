/*
 * Runs a fuzzer of t/fuzz/ without libFuzzer: every file that is named, and
 * then as many changed ones as the first argument says, the same every time.
 * What is left is small: ci/fuzz finds more, this shows that what was found
 * is mended.
 */

#include "../fuzz.h"

#define SIZE_MAX_INPUT 8192

typedef struct {
    uint8_t bytes[SIZE_MAX_INPUT];
    size_t size;
} input_t;

static uint64_t state = 0x9e3779b97f4a7c15u;


/* xorshift64 */
static size_t
below(size_t n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;

    return n > 0 ? (size_t) (state % n) : 0;
}


static void
read_input(const char *path, input_t *input)
{
    FILE *in;

    in = fopen(path, "rb");

    if (in == NULL) {
        perror(path);
        exit(2);
    }

    input->size = fread(input->bytes, 1, sizeof(input->bytes), in);
    fclose(in);
}


/* A run of bytes of another input in place of one of this. */
static void
splice(input_t *input, const input_t *other)
{
    size_t at, from, len, rest;

    at = below(input->size + 1);
    from = below(other->size + 1);
    len = below(other->size - from + 1);
    rest = below(input->size - at + 1);

    if (at + len + rest > SIZE_MAX_INPUT) {
        return;
    }

    memmove(input->bytes + at + len, input->bytes + input->size - rest, rest);
    memcpy(input->bytes + at, other->bytes + from, len);
    input->size = at + len + rest;
}


static void
change(input_t *input, const input_t *other)
{
    static const char telling[] = "\0\n\r\t \"%&,-.:;<=>?[\\]{|}~\x80\xff";
    size_t n;

    for (n = 1 + below(4); n > 0; n--) {
        switch (below(4)) {
        case 0:
            splice(input, other);
            break;

        case 1:
            input->size -= below(input->size + 1) / 2;
            break;

        default:
            if (input->size > 0) {
                input->bytes[below(input->size)] =
                    below(2) ? (uint8_t) telling[below(sizeof(telling))]
                             : (uint8_t) below(256);
            }
        }
    }
}


int
main(int argc, char **argv)
{
    int i;
    long n;
    input_t *seeds, input;

    if (argc < 3) {
        fprintf(stderr, "usage: %s CHANGED FILE...\n", argv[0]);
        return 2;
    }

    seeds = calloc((size_t) argc, sizeof(*seeds));
    HOLDS(seeds != NULL);

    for (i = 2; i < argc; i++) {
        read_input(argv[i], &seeds[i]);
        LLVMFuzzerTestOneInput(seeds[i].bytes, seeds[i].size);
    }

    for (n = strtol(argv[1], NULL, 10); n > 0; n--) {
        input = seeds[2 + below((size_t) argc - 2)];
        change(&input, &seeds[2 + below((size_t) argc - 2)]);
        LLVMFuzzerTestOneInput(input.bytes, input.size);
    }

    free(seeds);
    printf("%d files\n", argc - 2);

    return 0;
}
