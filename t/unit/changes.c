#include "unit.h"
#include "cx_changes.h"
#include "cx_id.h"

#define E "0123456789abcdef"
#define U1 "aaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define U2 "bbbbbbbbbbbbbbbbbbbbbbbbbbbb"


static int
reads(const char *text, cx_position_t *p)
{
    return cx_position_read(text, strlen(text), p) == 0;
}


static void
test_position(void **state)
{
    size_t i;
    cx_position_t p;
    static const char *const bad[] = {
        "",
        E,
        E ".",
        E ".x",
        E ".-1",
        E ".1.",
        E ".1.card",
        E ".1.card.",
        E ".1.Card.x",
        E ".1.card.x.y",
        E ".1.all",
        E ".1.all.card",
        E ".1.all.card.",
        E ".1.card.x y",
        E ".12345678901234567890123",
        "0123456789ABCDEF.1",
        "0123456789abcde.1",
        E "0.1",
        " " E ".1",
        E ".1 ",
    };

    (void) state;

    assert_true(reads(E ".42", &p));
    assert_int_equal(p.xid, 42);
    assert_int_equal(p.kind.len, 0);
    assert_memory_equal(p.epoch, E, 16);

    assert_true(reads(E ".42.card.a-_9", &p));
    assert_int_equal(p.kind.len, 4);
    assert_int_equal(p.object.len, 4);
    assert_false(p.all);

    assert_true(reads(E ".42.all.card.x", &p));
    assert_true(p.all);
    assert_memory_equal(p.kind.text, "card", 4);

    for (i = 0; i < N_OF(bad); i++) {
        assert_false(reads(bad[i], &p));
    }

    assert_int_equal(cx_position_read(E ".1\0", 19, &p), -1);
}


static void
test_new(void **state)
{
    cx_position_t p;

    (void) state;

    assert_true(reads(E ".42", &p));
    assert_true(cx_position_is_new(&p, E ".42 42", 22));
    assert_true(cx_position_is_new(&p, E ".0 50", 21));
    assert_false(cx_position_is_new(&p, E ".43 50", 22));
    assert_false(cx_position_is_new(&p, E ".40 41", 22));
    assert_false(cx_position_is_new(&p, E ".42", 19));
    assert_false(cx_position_is_new(&p, E ".42 ", 20));
    assert_false(cx_position_is_new(&p, E ".42 x", 21));
    assert_false(cx_position_is_new(&p, E ".42.card.x 50", 29));
    assert_false(cx_position_is_new(&p, "0123456789abcdee.1 50", 21));
    assert_false(cx_position_is_new(&p, "+12", 3));
    assert_false(cx_position_is_new(&p, NULL, 0));

    assert_true(reads(E ".42.card.x", &p));
    assert_false(cx_position_is_new(&p, E ".42 50", 22));
}


static void
test_wake(void **state)
{
    const char *p, *end;
    cx_wake_t w;
    cx_change_t c;
    static const char message[] =
        E "\n" U1 " 5 7 card put x 9 news delete y\n" U2 "\n" U1
          " !123456789\n" U2 " 5 7 card put\n" U2 " 5 x card put y\n"
          "short\n";

    (void) state;

    p = message;
    end = message + sizeof(message) - 1;
    assert_memory_equal(cx_wake_epoch(&p, end), E, 16);

    assert_int_equal(cx_wake_next(&p, end, &w), 1);
    assert_memory_equal(w.user_id.text, U1, CX_ID_LEN);
    assert_int_equal(w.after, 5);
    assert_int_equal(cx_wake_change(&w, &c), 1);
    assert_int_equal(c.xid, 7);
    assert_memory_equal(c.kind.text, "card", c.kind.len);
    assert_memory_equal(c.object.text, "x", c.object.len);
    assert_int_equal(cx_wake_change(&w, &c), 1);
    assert_int_equal(c.xid, 9);
    assert_memory_equal(c.op.text, "delete", c.op.len);
    assert_int_equal(cx_wake_change(&w, &c), 0);

    assert_int_equal(cx_wake_next(&p, end, &w), 1);
    assert_null(w.changes);
    assert_int_equal(w.terminal_id, 0);
    assert_int_equal(cx_wake_change(&w, &c), 0);

    assert_int_equal(cx_wake_next(&p, end, &w), 1);
    assert_int_equal(w.terminal_id, 123456789);
    assert_null(w.changes);

    assert_int_equal(cx_wake_next(&p, end, &w), 1);
    assert_int_equal(cx_wake_change(&w, &c), -1);
    assert_int_equal(cx_wake_next(&p, end, &w), 1);
    assert_int_equal(cx_wake_change(&w, &c), -1);
    assert_int_equal(cx_wake_next(&p, end, &w), 0);

    p = "x\n";
    assert_null(cx_wake_epoch(&p, p + 2));
}


/* A ticket is the access token it stands for, and nothing else is one. */
static void
test_ticket(void **state)
{
    cx_id_key_t key;
    cx_token_t access, read;
    char user_id[CX_ID_LEN + 1], text[CX_TOKEN_LEN + 1];
    char ticket[CX_TOKEN_LEN + 1];
    static const char hex[] = "000102030405060708090a0b0c0d0e0f"
                              "101112131415161718191a1b1c1d1e1f";

    (void) state;

    assert_int_equal(cx_id_key_parse(&key, hex, 64), 0);
    assert_int_equal(cx_id_new(&key, CX_ID_USER, user_id), 0);
    assert_int_equal(cx_token_new(&key, CX_TOKEN_ACCESS, user_id, 123456789,
                                  NULL, text, &access),
                     0);
    assert_int_equal(cx_ticket_new(&key, &access, ticket), 0);
    assert_int_equal(cx_ticket_parse(&key, ticket, CX_TOKEN_LEN, &read), 0);
    assert_string_equal(read.user_id, user_id);
    assert_int_equal(read.terminal_id, 123456789);
    assert_memory_equal(read.hash, access.hash, CX_SECRET_LEN);

    assert_int_equal(cx_ticket_parse(&key, text, CX_TOKEN_LEN, &read), -1);
    assert_int_equal(
        cx_token_parse(&key, CX_TOKEN_ACCESS, ticket, CX_TOKEN_LEN, &read), -1);

    ticket[40] = ticket[40] == 'A' ? 'B' : 'A';
    assert_int_equal(cx_ticket_parse(&key, ticket, CX_TOKEN_LEN, &read), -1);
}


int
main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(test_position),
        UNIT(test_new),
        UNIT(test_wake),
        UNIT(test_ticket),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);

    return cmocka_run_group_tests(tests, NULL, NULL);
}
