/*
 * Loads users with a card and a key each, straight into PostgreSQL by COPY:
 *
 *     load_cards SETTINGS CONNINFO COUNT KEYS-FILE
 *
 * CONNINFO is of a role that may write every table.  Appends a line
 * "<card_id> <key>" per card to KEYS-FILE, and shows a progress line.  All
 * or nothing: one transaction.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <libpq-fe.h>
#include <openssl/rand.h>

#include "crypto.h"
#include "cx_id.h"
#include "settings.h"

#define TTL_DAYS 30
#define STEP 1000 /* users whose rows are sent together */

typedef struct {
    char user_id[CX_ID_LEN + 1];
    char card_id[CX_ID_LEN + 1];
    char key_id[CX_ID_LEN + 1];
    char thumbnail_id[CX_ID_LEN + 1];
    char key[CX_KEY_LEN + 1];
    unsigned char hash[CX_SECRET_LEN];
    long number;
} person_t;

static const char *const families[] = { "Ångström", "Müller", "Zhang",
                                        "García",   "Nguyen", "Smith",
                                        "Kowalski", "Haddad", "Okafor",
                                        "Ito" };
static const char *const givens[] = {
    "José",  "Anna", "Wei",  "Fatima", "Liam",
    "Chloé", "Ravi", "Yuki", "Olga",   "Ada"
};


static void
fail(const char *what, PGconn *conn)
{
    fprintf(stderr, "\nload: %s: %s\n", what,
            conn != NULL ? PQerrorMessage(conn) : "");
    exit(1);
}


static void
run(PGconn *conn, const char *sql)
{
    PGresult *result;
    ExecStatusType status;

    result = PQexec(conn, sql);
    status = PQresultStatus(result);

    if (status != PGRES_COMMAND_OK && status != PGRES_COPY_IN
        && status != PGRES_TUPLES_OK) {
        fail(sql, conn);
    }

    PQclear(result);
}


/* Sends rows and ends the COPY. */
static void
copy(PGconn *conn, const char *sql, const char *rows)
{
    PGresult *result;

    run(conn, sql);

    if (PQputCopyData(conn, rows, (int) strlen(rows)) != 1
        || PQputCopyEnd(conn, NULL) != 1) {
        fail(sql, conn);
    }

    while ((result = PQgetResult(conn)) != NULL) {
        if (PQresultStatus(result) != PGRES_COMMAND_OK) {
            fail(sql, conn);
        }

        PQclear(result);
    }
}


static void
draw(const cx_settings_t *settings, person_t *person, long number)
{
    if (cx_id_new(&settings->id_key, CX_ID_USER, person->user_id) != 0
        || cx_id_new(&settings->id_key, CX_ID_CARD, person->card_id) != 0
        || cx_id_new(&settings->id_key, CX_ID_KEY, person->key_id) != 0
        || cx_id_new(&settings->id_key, CX_ID_THUMBNAIL, person->thumbnail_id)
               != 0
        || cx_card_key_new(person->key, person->hash) != 0) {
        fail("no randomness", NULL);
    }

    person->number = number;
}


/* A user's data key, sealed as registration does it. */
static char *
data_key(TALLOC_CTX *ctx, const unsigned char *wrap, const person_t *person)
{
    size_t len;
    char *hex;
    unsigned char key[32], *sealed;

    if (RAND_bytes(key, sizeof(key)) != 1) {
        fail("no randomness", NULL);
    }

    sealed = cx_seal(ctx, wrap, person->user_id, key, sizeof(key), &len);
    hex = talloc_array(ctx, char, 2 * len + 1);
    cx_hex(sealed, len, hex);

    return hex;
}


static char *
users(TALLOC_CTX *ctx, const person_t *people, int n, const unsigned char *wrap,
      const char *password)
{
    int i;
    char *rows;

    rows = talloc_strdup(ctx, "");

    for (i = 0; i < n; i++) {
        rows = talloc_asprintf_append_buffer(
            rows, "%s\t+86139%08ld\t%s\tload %ld\t\\\\x%s\n", people[i].user_id,
            people[i].number % 100000000, password, people[i].number,
            data_key(ctx, wrap, &people[i]));
    }

    return rows;
}


/* About 2 KB of JSContact. */
static char *
cards(TALLOC_CTX *ctx, const person_t *people, int n)
{
    int i;
    long k;
    char *rows, note[1201];

    memset(note, 'n', sizeof(note) - 1);
    note[sizeof(note) - 1] = '\0';

    for (i = 40; i < (int) sizeof(note) - 1; i += 9) {
        note[i] = ' ';
    }

    rows = talloc_strdup(ctx, "");

    for (i = 0; i < n; i++) {
        k = people[i].number;
        rows = talloc_asprintf_append_buffer(
            rows,
            "%s\t%s\t{\"@type\":\"Card\",\"version\":\"1.0\",\"uid\":"
            "\"urn:cardx:load:%ld\",\"name\":{\"components\":["
            "{\"kind\":\"given\",\"value\":\"%s\"},"
            "{\"kind\":\"surname\",\"value\":\"%s\"}],\"full\":\"%s %s\"},"
            "\"titles\":{\"t\":{\"name\":\"Engineer %ld\"}},"
            "\"organizations\":{\"o\":{\"name\":\"Company %ld\"}},"
            "\"phones\":{\"work\":{\"number\":\"+86 21 %08ld\","
            "\"contexts\":{\"work\":true}}},"
            "\"emails\":{\"e\":{\"address\":\"person%ld@example.org\"}},"
            "\"addresses\":{\"a\":{\"full\":\"%ld Century Avenue, Shanghai\"}},"
            "\"notes\":{\"n\":{\"note\":\"%s\"}}}\n",
            people[i].card_id, people[i].user_id, k, givens[k % 10],
            families[k / 10 % 10], givens[k % 10], families[k / 10 % 10],
            k % 97, k % 1009, k % 100000000, k, k % 4000, note);
    }

    return rows;
}


static char *
keys(TALLOC_CTX *ctx, const person_t *people, int n)
{
    int i;
    char *rows, hex[2 * CX_SECRET_LEN + 1];

    rows = talloc_strdup(ctx, "");

    for (i = 0; i < n; i++) {
        cx_hex(people[i].hash, CX_SECRET_LEN, hex);
        rows = talloc_asprintf_append_buffer(
            rows, "%s\t%s\t%s\t\\\\x%s\t\t%lld\n", people[i].key_id,
            people[i].card_id, people[i].user_id, hex,
            (long long) time(NULL) + TTL_DAYS * 86400L);
    }

    return rows;
}


static char *
thumbnails(TALLOC_CTX *ctx, const person_t *people, int n)
{
    int i;
    char *rows;

    rows = talloc_strdup(ctx, "");

    for (i = 0; i < n; i++) {
        rows = talloc_asprintf_append_buffer(
            rows, "%s\t%s\t%s\t\t1\n", people[i].thumbnail_id,
            people[i].card_id, people[i].user_id);
    }

    return rows;
}


static void
load(PGconn *conn, const cx_settings_t *settings, long count, FILE *file)
{
    int i, n;
    long done, base;
    char *password;
    struct timespec start, now;
    double seconds;
    person_t people[STEP];
    TALLOC_CTX *step;
    unsigned char wrap[32];

    password = cx_password_hash(NULL, "bench password");

    if (password == NULL || !cx_derive(settings, "data-key", wrap)) {
        fail("no password or data key", NULL);
    }

    base = (long) time(NULL) % 90000000;
    clock_gettime(CLOCK_MONOTONIC, &start);

    for (done = 0; done < count; done += n) {
        n = count - done < STEP ? (int) (count - done) : STEP;
        step = talloc_new(NULL);

        for (i = 0; i < n; i++) {
            draw(settings, &people[i], base + done + i);
            fprintf(file, "%s %s\n", people[i].card_id, people[i].key);
        }

        copy(conn,
             "copy cardx.users (user_id, phone, password, nickname, data_key)"
             " from stdin",
             users(step, people, n, wrap, password));
        copy(conn, "copy cardx.cards (card_id, user_id, card) from stdin",
             cards(step, people, n));
        copy(conn,
             "copy load_keys (key_id, card_id, user_id, key_hash, view, at)"
             " from stdin",
             keys(step, people, n));
        copy(conn,
             "copy cardx.thumbnails (thumbnail_id, card_id, user_id, view,"
             " picture_version) from stdin",
             thumbnails(step, people, n));
        talloc_free(step);

        clock_gettime(CLOCK_MONOTONIC, &now);
        seconds = (double) (now.tv_sec - start.tv_sec)
                  + (double) (now.tv_nsec - start.tv_nsec) / 1e9;
        fprintf(stderr, "\rload: %ld of %ld cards, %.0f a second", done + n,
                count, (double) (done + n) / seconds);
    }

    fprintf(stderr, "\n");
    talloc_free(password);
}


int
main(int argc, char **argv)
{
    long count;
    FILE *file;
    PGconn *conn;
    const char *why;
    cx_settings_t *settings;

    if (argc != 5 || (count = atol(argv[3])) < 1) {
        fprintf(stderr,
                "usage: load_cards SETTINGS CONNINFO COUNT KEYS-FILE\n");
        return 2;
    }

    settings = cx_settings_read(NULL, argv[1], &why);
    if (settings == NULL) {
        fprintf(stderr, "%s\n", why);
        return 2;
    }

    conn = PQconnectdb(argv[2]);
    if (PQstatus(conn) != CONNECTION_OK) {
        fail("can't connect", conn);
    }

    file = fopen(argv[4], "a");
    if (file == NULL) {
        fail("the file of keys can't be written", NULL);
    }

    run(conn, "begin");
    run(conn,
        "create temporary table load_keys (key_id text, card_id text, "
        "user_id text, key_hash bytea, view text, at bigint) on commit drop");
    load(conn, settings, count, file);
    run(conn,
        "insert into cardx.card_keys (key_id, card_id, user_id, key_hash, "
        "view, expires_at) select key_id, card_id, user_id, key_hash, view, "
        "to_timestamp(at) from load_keys");
    /* nothing is known yet of what this transaction has brought */
    run(conn, "analyze cardx.users");
    run(conn, "analyze cardx.cards");
    /* nobody has an address book yet: there is nothing to match, and a lock
       for each of them would be more than PostgreSQL has room for */
    run(conn, "set local session_replication_role = replica");
    run(conn, "update cardx.users u set own_card_id = c.card_id "
              "from cardx.cards c where c.user_id = u.user_id "
              "and u.own_card_id is null");
    run(conn, "commit");

    if (fclose(file) != 0) {
        fail("the file of keys can't be written", NULL);
    }

    run(conn, "analyze");
    PQfinish(conn);
    talloc_free(settings);

    return 0;
}
