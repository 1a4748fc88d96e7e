#include "unit.h"
#include "cx_cluster.h"

#define ID_A "07c37dfeb235213a872192d90877d0cd55635b91"
#define ID_B "67ed2db8d677e59ec4a4cefb06858cf2a1a89fa1"
#define ID_C "292f8b365bb7edb5e285caf0b7e6ddc7265d2f4f"
#define ID_R "6ec23923021cf3ffec47632106199cb7f496ce01"

#define NODES                                                                  \
    ID_R " 127.0.0.1:30004@31004,host4 slave " ID_C                            \
         " 0 1426238317239 4 connected\n" ID_B                                 \
         " 127.0.0.1:30002@31002,host2 master - 0 1426238316232 2 "            \
         "connected 5461-10921 10922\n" ID_C                                   \
         " ::1:30003@31003 master,fail - 0 1426238318243 3 "                   \
         "disconnected 10923-16383 [77-<-" ID_A "]\n" ID_A                     \
         " :30001@31001 myself,master - 0 0 1 connected 0-5460 "               \
         "[93-<-" ID_B "] [77->-" ID_C "]\n"


/* Values of the specification, and of CLUSTER KEYSLOT. */
static void
test_slot(void **state)
{
    size_t i;
    static const struct {
        const char *name;
        unsigned slot;
    } cases[] = {
        { "123456789", 0x31c3 },
        { "", 0 },
        { "a", 15495 },
        { "b", 3300 },
        { "foo", 12182 },
        { "{user1000}.following", 3443 },
        { "{user1000}.followers", 3443 },
        { "user1000", 3443 },
        { "foo{}{bar}", 8363 },
        { "foo{{bar}}zap", 4015 },
        { "{bar", 4015 },
        { "foo{bar}{zap}", 5061 },
        { "bar", 5061 },
    };

    (void) state;

    for (i = 0; i < N_OF(cases); i++) {
        if (cx_slot(cases[i].name, strlen(cases[i].name)) != cases[i].slot) {
            fail_msg("%s: %u", cases[i].name,
                     cx_slot(cases[i].name, strlen(cases[i].name)));
        }
    }
}


/* Every slot has a tag. */
static void
test_tag(void **state)
{
    size_t len;
    unsigned i;
    char tag[CX_TAG_MAX], name[32];

    (void) state;

    for (i = 0; i < CX_SLOTS; i += 7) {
        len = cx_slot_tag(tag, i);
        assert_int_not_equal(len, 0);
        assert_int_equal(strlen(tag), len);

        snprintf(name, sizeof(name), "cardx:epoch:{%s}", tag);
        assert_int_equal(cx_slot(name, strlen(name)), i);
    }
}


static void
test_map(void **state)
{
    unsigned i;
    cx_cluster_t *map = talloc(*state, cx_cluster_t);
    cx_cluster_t *other = talloc(*state, cx_cluster_t);

    assert_int_equal(cx_cluster_read(map, NODES, strlen(NODES), "10.0.0.7"), 0);
    assert_int_equal(map->n, 3);

    assert_string_equal(map->nodes[0].host, "127.0.0.1");
    assert_int_equal(map->nodes[0].port, 30002);
    assert_string_equal(map->nodes[1].host, "::1");
    assert_int_equal(map->nodes[1].port, 30003);
    assert_string_equal(map->nodes[2].host, "10.0.0.7");
    assert_int_equal(map->nodes[2].port, 30001);

    for (i = 0; i < CX_SLOTS; i++) {
        assert_int_equal(map->owner[i], i <= 5460 ? 2 : i <= 10922 ? 0 : 1);
    }

    for (i = 0; i < map->n; i++) {
        assert_int_equal(map->owner[map->nodes[i].mark], i);
    }

    /* one slot less that is not the mark: the mark stays */
    assert_int_equal(
        cx_cluster_read(other, ID_A " 127.0.0.1:1@2 master - 0 0 1 c 1-5460",
                        strlen(ID_A " 127.0.0.1:1@2 master - 0 0 1 c 1-5460"),
                        "127.0.0.1"),
        0);
    assert_int_equal(other->n, 1);
    assert_int_equal(other->owner[0], CX_NO_NODE);

    if (map->nodes[2].mark != 0) {
        assert_int_equal(other->nodes[0].mark, map->nodes[2].mark);
    }
}


static void
test_bad_map(void **state)
{
    size_t i;
    cx_cluster_t *map = talloc(*state, cx_cluster_t);
    static const char *const cases[] = {
        "",
        "\n",
        "ERR This instance has cluster support disabled",
        ID_A " 127.0.0.1:30001@31001 myself,master - 0 0 1 connected",
        ID_A " 127.0.0.1:30001@31001 myself,master - 0 0 1",
        ID_A " 127.0.0.1:30001@31001 myself,master - 0 0 1 connected 0-16384",
        ID_A " 127.0.0.1:30001@31001 myself,master - 0 0 1 connected 9-8",
        ID_A " 127.0.0.1:30001@31001 myself,master - 0 0 1 connected 1-x",
        ID_A " 127.0.0.1:30001@31001 myself,master - 0 0 1 connected -",
        ID_A " 127.0.0.1:99999@31001 myself,master - 0 0 1 connected 1-2",
        ID_A " 127.0.0.1@31001 myself,master - 0 0 1 connected 1-2",
        ID_A " redis.example:1@31001 myself,master - 0 0 1 connected 1-2",
    };

    for (i = 0; i < N_OF(cases); i++) {
        if (cx_cluster_read(map, cases[i], strlen(cases[i]), "127.0.0.1")
            != -1) {
            fail_msg("%s", cases[i]);
        }
    }
}


static void
test_many_nodes(void **state)
{
    int i;
    char *text = talloc_strdup(*state, "");
    cx_cluster_t *map = talloc(*state, cx_cluster_t);

    for (i = 0; i <= CX_NODES_MAX; i++) {
        assert_int_equal(cx_cluster_read(map, text, strlen(text), "::1"),
                         i == 0 ? -1 : 0);
        text = talloc_asprintf_append(
            text, "%040d 10.0.0.1:%d@1 master - 0 0 1 connected %d\n", i,
            1000 + i, i);
    }

    assert_int_equal(cx_cluster_read(map, text, strlen(text), "::1"), -1);
}


static void
test_redirect(void **state)
{
    size_t i;
    cx_redirect_t r;
    static const struct {
        const char *text;
        cx_redirect_kind_t kind;
        unsigned slot;
        const char *host;
        int port;
    } cases[] = {
        { "MOVED 3999 127.0.0.1:6381", CX_REDIRECT_MOVED, 3999, "127.0.0.1",
          6381 },
        { "ASK 0 ::1:6381", CX_REDIRECT_ASK, 0, "::1", 6381 },
        { "MOVED 16383 :6381", CX_REDIRECT_MOVED, 16383, "", 6381 },
        { "MOVED 16384 127.0.0.1:6381", CX_REDIRECT_NONE, 0, "", 0 },
        { "MOVED 1 127.0.0.1:0", CX_REDIRECT_NONE, 0, "", 0 },
        { "MOVED 1 127.0.0.1", CX_REDIRECT_NONE, 0, "", 0 },
        { "MOVED 1", CX_REDIRECT_NONE, 0, "", 0 },
        { "MOVED  1 127.0.0.1:6381", CX_REDIRECT_NONE, 0, "", 0 },
        { "MOVED", CX_REDIRECT_NONE, 0, "", 0 },
        { "", CX_REDIRECT_NONE, 0, "", 0 },
        { "LOADING Redis is loading", CX_REDIRECT_NONE, 0, "", 0 },
        { "TRYAGAIN 1 127.0.0.1:6381", CX_REDIRECT_NONE, 0, "", 0 },
    };

    (void) state;

    for (i = 0; i < N_OF(cases); i++) {
        cx_redirect_error_read(cases[i].text, strlen(cases[i].text), &r);

        if (r.kind != cases[i].kind) {
            fail_msg("%s", cases[i].text);
        }

        if (r.kind != CX_REDIRECT_NONE) {
            assert_int_equal(r.slot, cases[i].slot);
            assert_string_equal(r.host, cases[i].host);
            assert_int_equal(r.port, cases[i].port);
        }
    }
}


static void
test_command(void **state)
{
    (void) state;

    assert_int_equal(cx_command_key("GET", 3), 1);
    assert_int_equal(cx_command_key("EVAL", 4), 3);
    assert_int_equal(cx_command_key("evalsha", 7), 3);
    assert_int_equal(cx_command_key("PUBLISH", 7), 0);
    assert_int_equal(cx_command_key("PUB", 3), 1);
}


int
main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(test_slot),    UNIT(test_tag),        UNIT(test_map),
        UNIT(test_bad_map), UNIT(test_many_nodes), UNIT(test_redirect),
        UNIT(test_command),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);

    return cmocka_run_group_tests(tests, NULL, NULL);
}
