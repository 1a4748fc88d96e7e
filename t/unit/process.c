#include "unit.h"
#include "process.h"

#include <time.h>
#include <unistd.h>


static long
ms_since(const struct timespec *start)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);

    return (now.tv_sec - start->tv_sec) * 1000
           + (now.tv_nsec - start->tv_nsec) / 1000000;
}


/* Pokes wake at once, however many came; nobody there, or a queue that is
 * full, hurts nobody. */
static void
test_poke(void **state)
{
    char dir[] = "/tmp/cx.XXXXXX";
    cx_settings_t settings = { 0 };
    struct timespec start;
    char path[64];
    int fd, i;

    (void) state;

    assert_non_null(mkdtemp(dir));
    settings.run_dir = dir;

    cx_poke(&settings, "nobody");

    fd = cx_poke_listen(&settings, "fanout");
    assert_int_not_equal(fd, -1);

    for (i = 0; i < 5000; i++) {
        cx_poke(&settings, "fanout");
    }

    clock_gettime(CLOCK_MONOTONIC, &start);
    cx_poke_wait(fd, 5000);
    assert_true(ms_since(&start) < 1000);

    clock_gettime(CLOCK_MONOTONIC, &start);
    cx_poke_wait(fd, 50);
    assert_true(ms_since(&start) >= 45); /* all of them were taken */

    /* A successor takes the place of who is stopping. */
    i = cx_poke_listen(&settings, "fanout");
    assert_int_not_equal(i, -1);
    close(fd);
    cx_poke(&settings, "fanout");
    clock_gettime(CLOCK_MONOTONIC, &start);
    cx_poke_wait(i, 5000);
    assert_true(ms_since(&start) < 1000);
    close(i);

    snprintf(path, sizeof(path), "%s/fanout.sock", dir);
    unlink(path);
    rmdir(dir);
}


static void
test_long_path(void **state)
{
    cx_settings_t settings = { 0 };
    char dir[200];

    (void) state;

    memset(dir, 'x', sizeof(dir) - 1);
    dir[0] = '/';
    dir[sizeof(dir) - 1] = '\0';
    settings.run_dir = dir;

    cx_poke(&settings, "fanout");
    assert_int_equal(cx_poke_listen(&settings, "fanout"), -1);
}


int
main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(test_poke),
        UNIT(test_long_path),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);

    return cmocka_run_group_tests(tests, NULL, NULL);
}
