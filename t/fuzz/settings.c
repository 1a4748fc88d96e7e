/* The settings file (settings.h).  Files that it names are asked for by their
 * names, so those are only such as this makes. */

#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"
#include "settings.h"


/* Devices and pipes are not for a fuzzer to open. */
static bool
harmless(const char *text, size_t size)
{
    return memmem(text, size, "/dev", 4) == NULL
           && memmem(text, size, "/proc", 5) == NULL
           && memmem(text, size, "/sys", 4) == NULL;
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int fd;
    char path[64];
    const char *why;
    TALLOC_CTX *ctx;
    cx_settings_t *settings;

    if (!harmless((const char *) data, size)) {
        return 0;
    }

    fd = memfd_create("settings", MFD_CLOEXEC);
    HOLDS(fd != -1 && write(fd, data, size) == (ssize_t) size);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);

    ctx = talloc_new(NULL);
    why = NULL;
    settings = cx_settings_read(ctx, path, &why);
    HOLDS((settings != NULL) == (why == NULL));
    HOLDS(why == NULL || *why != '\0');

    talloc_free(ctx);
    close(fd);

    return 0;
}
