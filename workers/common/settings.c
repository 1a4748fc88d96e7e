/* See settings.h. */

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "settings.h"

#define CX_SETTINGS_BYTES 65536 /* of the file */
#define CX_SECRET_BYTES 4096    /* of a secret's file */

/* sizeof(sun_path) with room for "/picture.sock" and its NUL. */
#define CX_RUN_DIR_MAX 94

typedef enum {
    CX_SETTING_TEXT,
    CX_SETTING_PATH,
    CX_SETTING_RUN_DIR,
    CX_SETTING_URL,
    CX_SETTING_ADDRESS,
    CX_SETTING_NUMBER,
    CX_SETTING_MODE,
    CX_SETTING_CHOICE,
    CX_SETTING_LEVEL, /* a choice, kept as its place */
    CX_SETTING_REGION
} cx_setting_kind_t;

typedef struct {
    const char *name;
    cx_setting_kind_t kind;
    size_t offset;
    const char *preset; /* NULL: must be given; "": may be left out */
    int min;
    int max;
    const char *expected; /* of a choice: the words, separated by "|" */
} cx_setting_t;

typedef struct {
    TALLOC_CTX *ctx;
    const char *path;
    const char **why;
    cx_settings_t *settings;
    int *lines; /* where each was set; 0: nowhere */
    int line;
} cx_settings_reader_t;

#define cx_at(member) offsetof(cx_settings_t, member)

static const char cx_path_expected[] = "an absolute path";
static const char cx_number_expected[] = "a number";
static const char cx_key_expected[] = "%s: expected 64 hex digits";
static const char cx_url_expected[] =
    "http:// or https:// and a host, without a closing slash";

static const cx_setting_t cx_table[] = {
    { "public_url", CX_SETTING_URL, cx_at(public_url), NULL, 0, 0,
      cx_url_expected },
    { "run_dir", CX_SETTING_RUN_DIR, cx_at(run_dir), NULL, 0, 0,
      "an absolute path of at most 94 bytes (sockets stand in it)" },
    { "pid_dir", CX_SETTING_PATH, cx_at(pid_dir), NULL, 0, 0,
      cx_path_expected },
    { "postgresql", CX_SETTING_TEXT, cx_at(postgresql), NULL, 0, 0,
      "a connection string of libpq" },
    { "postgresql_fanout", CX_SETTING_TEXT, cx_at(postgresql_fanout), NULL, 0,
      0, "a connection string of libpq" },
    { "redis", CX_SETTING_ADDRESS, cx_at(redis), NULL, 0, 0,
      "the absolute path of a socket, or host:port" },
    { "redis_cluster", CX_SETTING_LEVEL, cx_at(redis_cluster), "off", 0, 0,
      "off|on" },
    { "redis_database", CX_SETTING_NUMBER, cx_at(redis_database), "0", 0, 1023,
      cx_number_expected },
    { "postgresql_timeout", CX_SETTING_NUMBER, cx_at(postgresql_timeout),
      "15000", 1000, 25000, cx_number_expected },
    { "redis_timeout", CX_SETTING_NUMBER, cx_at(redis_timeout), "50", 1, 10000,
      cx_number_expected },
    { "redis_password_file", CX_SETTING_PATH, cx_at(redis_password_file), "", 0,
      0, cx_path_expected },
    { "id_key_file", CX_SETTING_PATH, cx_at(id_key_file), NULL, 0, 0,
      cx_path_expected },
    { "master_key_file", CX_SETTING_PATH, cx_at(master_key_file), NULL, 0, 0,
      cx_path_expected },
    { "other_master_key_file", CX_SETTING_PATH, cx_at(other_master_key_file),
      "", 0, 0, cx_path_expected },
    { "socket_group", CX_SETTING_TEXT, cx_at(socket_group), "", 0, 0,
      "the name of a group" },
    { "socket_mode", CX_SETTING_MODE, cx_at(socket_mode), "0660", 0, 0777,
      "permissions in octal, as 0660" },
    { "socket_backlog", CX_SETTING_NUMBER, cx_at(socket_backlog), "64", 1, 4096,
      cx_number_expected },
    { "workers_fast", CX_SETTING_NUMBER, cx_at(workers_fast), "4", 1, 256,
      cx_number_expected },
    { "workers_slow", CX_SETTING_NUMBER, cx_at(workers_slow), "2", 1, 256,
      cx_number_expected },
    { "workers_miss", CX_SETTING_NUMBER, cx_at(workers_miss), "2", 1, 256,
      cx_number_expected },
    { "workers_deliver", CX_SETTING_NUMBER, cx_at(workers_deliver), "4", 1, 64,
      cx_number_expected },
    { "workers_push", CX_SETTING_NUMBER, cx_at(workers_push), "2", 1, 64,
      cx_number_expected },
    { "sms_gateway", CX_SETTING_CHOICE, cx_at(sms_gateway), "log", 0, 0,
      "log|kannel" },
    { "sms_log", CX_SETTING_PATH, cx_at(sms_log), "", 0, 0, cx_path_expected },
    { "sms_kannel_url", CX_SETTING_URL, cx_at(sms_kannel_url), "", 0, 0,
      cx_url_expected },
    { "sms_kannel_user", CX_SETTING_TEXT, cx_at(sms_kannel_user), "", 0, 0,
      "a user name" },
    { "sms_kannel_password_file", CX_SETTING_PATH,
      cx_at(sms_kannel_password_file), "", 0, 0, cx_path_expected },
    { "sms_report_url", CX_SETTING_URL, cx_at(sms_report_url), "", 0, 0,
      cx_url_expected },
    { "sms_from", CX_SETTING_TEXT, cx_at(sms_from), "13013", 0, 0,
      "a number or a name" },
    { "sms_secret_file", CX_SETTING_PATH, cx_at(sms_secret_file), NULL, 0, 0,
      cx_path_expected },
    { "sms_per_address", CX_SETTING_NUMBER, cx_at(sms_per_address), "20", 1,
      1000000, cx_number_expected },
    { "push_hosts", CX_SETTING_TEXT, cx_at(push_hosts),
      "fcm.googleapis.com .push.services.mozilla.com .push.apple.com "
      ".notify.windows.com",
      0, 0, "hosts of push services, separated by blanks" },
    { "push_ca_file", CX_SETTING_PATH, cx_at(push_ca_file), "", 0, 0,
      cx_path_expected },
    { "default_region", CX_SETTING_REGION, cx_at(default_region), "", 0, 0,
      "two capital letters, as CN" },
    { "log_level", CX_SETTING_LEVEL, cx_at(log_level), "info", 0, 0,
      "alert|error|warn|info" },
};

#define CX_SETTINGS_N (sizeof(cx_table) / sizeof(cx_table[0]))


static bool cx_settings_fail(cx_settings_reader_t *reader, int line,
                             const char *format, ...)
    __attribute__((format(printf, 3, 4)));


static bool
cx_settings_fail(cx_settings_reader_t *reader, int line, const char *format,
                 ...)
{
    char *what;
    va_list args;

    va_start(args, format);
    what = talloc_vasprintf(reader->ctx, format, args);
    va_end(args);

    *reader->why = talloc_asprintf(reader->ctx, "%s:%d: %s", reader->path, line,
                                   what != NULL ? what : "no memory");
    talloc_free(what);

    if (*reader->why == NULL) {
        *reader->why = "no memory";
    }

    return false;
}


/* The whole of a small file; NULL with errno, EFBIG if it is larger. */
static char *
cx_file_read(TALLOC_CTX *ctx, const char *path, size_t max, struct stat *st)
{
    char *text;
    ssize_t n;
    size_t len;
    int fd, error;

    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd == -1) {
        return NULL;
    }

    text = talloc_size(ctx, max + 1);
    len = 0;
    n = -1;

    if (text != NULL && fstat(fd, st) == 0) {
        while ((n = read(fd, text + len, max + 1 - len)) > 0) {
            len += (size_t) n;
            if (len > max) {
                errno = EFBIG;
                n = -1;
                break;
            }
        }
    }

    error = errno;
    close(fd);

    if (n != 0) {
        talloc_free(text);
        errno = error;
        return NULL;
    }

    text[len] = '\0';
    return text;
}


static bool
cx_number(const char *text, int base, int min, int max, int *number)
{
    char *end;
    long value;

    if (*text < '0' || *text > '9') {
        return false;
    }

    errno = 0;
    value = strtol(text, &end, base);
    if (errno != 0 || *end != '\0' || value < min || value > max) {
        return false;
    }

    *number = (int) value;
    return true;
}


/* The place of a word in "one|two|three", or -1. */
static int
cx_choice(const char *words, const char *word)
{
    size_t len = strlen(word);
    int place = 0;

    for (;;) {
        if (strncmp(words, word, len) == 0
            && (words[len] == '|' || words[len] == '\0')) {
            return place;
        }

        words = strchr(words, '|');
        if (words == NULL) {
            return -1;
        }

        words++;
        place++;
    }
}


static bool
cx_url_good(const char *value)
{
    size_t len = strlen(value);
    const char *host;

    if (strncmp(value, "https://", 8) == 0) {
        host = value + 8;

    } else if (strncmp(value, "http://", 7) == 0) {
        host = value + 7;

    } else {
        return false;
    }

    return *host != '\0' && *host != '/' && value[len - 1] != '/'
           && strpbrk(value, " \t\"<>\\") == NULL;
}


/* One or, for a cluster, more; that they are many is judged later. */
static bool
cx_address_good(const char *value)
{
    const char *colon;
    char one[256];
    size_t len;
    int port;

    if (*value == '/') {
        return strpbrk(value, " \t") == NULL;
    }

    for (; *value != '\0'; value += len + strspn(value + len, " \t")) {
        len = strcspn(value, " \t");
        if (len >= sizeof(one)) {
            return false;
        }

        memcpy(one, value, len);
        one[len] = '\0';

        colon = strrchr(one, ':');
        if (*one == '/' || colon == NULL || colon == one
            || !cx_number(colon + 1, 10, 1, 65535, &port)) {
            return false;
        }
    }

    return true;
}


static bool
cx_region_good(const char *value)
{
    return strlen(value) == 2 && value[0] >= 'A' && value[0] <= 'Z'
           && value[1] >= 'A' && value[1] <= 'Z';
}


/* Checks a value and stores it; false: it is not what is expected. */
static bool
cx_setting_store(cx_settings_t *settings, const cx_setting_t *setting,
                 const char *value)
{
    void *place = (char *) settings + setting->offset;

    switch (setting->kind) {
    case CX_SETTING_NUMBER:
        return cx_number(value, 10, setting->min, setting->max, place);
    case CX_SETTING_MODE:
        return cx_number(value, 8, setting->min, setting->max, place);
    case CX_SETTING_LEVEL:
        *(int *) place = cx_choice(setting->expected, value);
        return *(int *) place != -1;
    case CX_SETTING_CHOICE:
        if (cx_choice(setting->expected, value) == -1) {
            return false;
        }
        break;
    case CX_SETTING_PATH:
        if (*value != '/') {
            return false;
        }
        break;
    case CX_SETTING_RUN_DIR:
        if (*value != '/' || strlen(value) > CX_RUN_DIR_MAX) {
            return false;
        }
        break;
    case CX_SETTING_URL:
        if (!cx_url_good(value)) {
            return false;
        }
        break;
    case CX_SETTING_ADDRESS:
        if (!cx_address_good(value)) {
            return false;
        }
        break;
    case CX_SETTING_REGION:
        if (!cx_region_good(value)) {
            return false;
        }
        break;
    case CX_SETTING_TEXT:
        break;
    }

    *(char **) place = talloc_strdup(settings, value);
    return *(char **) place != NULL;
}


static const char *
cx_setting_expected(TALLOC_CTX *ctx, const cx_setting_t *setting)
{
    const char *text;

    if (setting->kind != CX_SETTING_NUMBER) {
        return setting->expected;
    }

    text = talloc_asprintf(ctx, "a number from %d to %d", setting->min,
                           setting->max);
    return text != NULL ? text : setting->expected;
}


/* `name value`, comment and blanks around taken off. */
static bool
cx_settings_line(cx_settings_reader_t *reader, char *line)
{
    const cx_setting_t *setting;
    char *p, *value;
    size_t i, len;

    for (p = line; *p != '\0'; p++) {
        if (*p == '#' && (p == line || p[-1] == ' ' || p[-1] == '\t')) {
            *p = '\0';
            break;
        }
    }

    line += strspn(line, " \t");
    len = strlen(line);
    while (len > 0 && strchr(" \t\r", line[len - 1]) != NULL) {
        line[--len] = '\0';
    }

    if (len == 0) {
        return true;
    }

    value = line + strcspn(line, " \t");
    if (*value != '\0') {
        *value++ = '\0';
        value += strspn(value, " \t");
    }

    for (i = 0; i < CX_SETTINGS_N; i++) {
        if (strcmp(cx_table[i].name, line) == 0) {
            break;
        }
    }

    if (i == CX_SETTINGS_N) {
        return cx_settings_fail(reader, reader->line,
                                "there is no setting \"%s\"", line);
    }

    setting = &cx_table[i];

    if (reader->lines[i] != 0) {
        return cx_settings_fail(reader, reader->line,
                                "%s was already set in line %d", setting->name,
                                reader->lines[i]);
    }

    if (*value == '\0' || !cx_setting_store(reader->settings, setting, value)) {
        return cx_settings_fail(reader, reader->line, "%s: expected %s",
                                setting->name,
                                cx_setting_expected(reader->settings, setting));
    }

    reader->lines[i] = reader->line;
    return true;
}


/* What was not given: its preset, or an error. */
static bool
cx_settings_presets(cx_settings_reader_t *reader)
{
    const cx_setting_t *setting;
    size_t i;

    for (i = 0; i < CX_SETTINGS_N; i++) {
        setting = &cx_table[i];

        if (reader->lines[i] != 0) {
            continue;
        }

        if (setting->preset == NULL) {
            return cx_settings_fail(
                reader, reader->line, "%s is missing: expected %s",
                setting->name, cx_setting_expected(reader->settings, setting));
        }

        if (*setting->preset != '\0'
            && !cx_setting_store(reader->settings, setting, setting->preset)) {
            return cx_settings_fail(reader, reader->line, "no memory");
        }
    }

    return true;
}


/* The line in which a member was set, to complain about it. */
static int
cx_settings_where(const cx_settings_reader_t *reader, size_t offset)
{
    size_t i;

    for (i = 0; i < CX_SETTINGS_N; i++) {
        if (cx_table[i].offset == offset) {
            return reader->lines[i] != 0 ? reader->lines[i] : reader->line;
        }
    }

    return reader->line;
}


/* What a file holds, without white space after it, in *secret; nothing if
 * there is no file named. */
static bool
cx_settings_secret(cx_settings_reader_t *reader, size_t offset,
                   const char *path, char **secret)
{
    struct stat st;
    size_t len;
    int line;

    *secret = NULL;
    if (path == NULL) {
        return true;
    }

    line = cx_settings_where(reader, offset);

    *secret = cx_file_read(reader->settings, path, CX_SECRET_BYTES, &st);
    if (*secret == NULL) {
        return cx_settings_fail(reader, line, "can't read %s: %s", path,
                                strerror(errno));
    }

    if (st.st_mode & S_IRWXO) {
        return cx_settings_fail(reader, line,
                                "%s is open to everybody: expected mode 0600 "
                                "or 0640",
                                path);
    }

    len = strlen(*secret);
    while (len > 0 && strchr(" \t\r\n", (*secret)[len - 1]) != NULL) {
        (*secret)[--len] = '\0';
    }

    if (len == 0) {
        return cx_settings_fail(reader, line, "%s is empty", path);
    }

    return true;
}


/* A master key's 64 hex digits; a file that is not named has none. */
static bool
cx_settings_master(cx_settings_reader_t *reader, size_t offset,
                   const char *path, unsigned char *key)
{
    bool good;
    char *text;

    if (!cx_settings_secret(reader, offset, path, &text)) {
        return false;
    }

    if (text == NULL) {
        return true;
    }

    good = strlen(text) == 2 * CX_MASTER_KEY
           && cx_hex_read(text, CX_MASTER_KEY, key) == 0;
    explicit_bzero(text, strlen(text));
    talloc_free(text);

    return good
           || cx_settings_fail(reader, cx_settings_where(reader, offset),
                               cx_key_expected, path);
}


static bool
cx_settings_keys(cx_settings_reader_t *reader)
{
    bool good;
    char *text;
    cx_settings_t *settings = reader->settings;

    if (!cx_settings_secret(reader, cx_at(id_key_file), settings->id_key_file,
                            &text)) {
        return false;
    }

    good = cx_id_key_parse(&settings->id_key, text, strlen(text)) == 0;
    explicit_bzero(text, strlen(text));
    talloc_free(text);
    if (!good) {
        return cx_settings_fail(reader,
                                cx_settings_where(reader, cx_at(id_key_file)),
                                cx_key_expected, settings->id_key_file);
    }

    return cx_settings_master(reader, cx_at(master_key_file),
                              settings->master_key_file, settings->master_key)
           && cx_settings_master(reader, cx_at(other_master_key_file),
                                 settings->other_master_key_file,
                                 settings->other_key);
}


static bool
cx_settings_redis(cx_settings_reader_t *reader)
{
    cx_settings_t *s = reader->settings;
    int line = cx_settings_where(reader, cx_at(redis));

    if (!s->redis_cluster) {
        return strpbrk(s->redis, " \t") == NULL
               || cx_settings_fail(reader, line,
                                   "redis: several addresses need "
                                   "redis_cluster on");
    }

    if (*s->redis == '/') {
        return cx_settings_fail(reader, line,
                                "redis: a cluster needs host:port");
    }

    return s->redis_database == 0
           || cx_settings_fail(reader,
                               cx_settings_where(reader, cx_at(redis_database)),
                               "redis_database: a cluster has no other than 0");
}


/* What depends on more than one line. */
static bool
cx_settings_whole(cx_settings_reader_t *reader)
{
    cx_settings_t *s = reader->settings;
    int line = cx_settings_where(reader, cx_at(sms_gateway));

    if (strcmp(s->sms_gateway, "log") == 0 && s->sms_log == NULL) {
        return cx_settings_fail(reader, line, "sms_gateway log needs sms_log");
    }

    if (strcmp(s->sms_gateway, "kannel") == 0
        && (s->sms_kannel_url == NULL || s->sms_kannel_user == NULL
            || s->sms_kannel_password_file == NULL)) {
        return cx_settings_fail(reader, line,
                                "sms_gateway kannel needs sms_kannel_url, "
                                "sms_kannel_user and "
                                "sms_kannel_password_file");
    }

    return cx_settings_redis(reader) && cx_settings_keys(reader)
           && cx_settings_secret(reader, cx_at(redis_password_file),
                                 s->redis_password_file, &s->redis_password)
           && cx_settings_secret(reader, cx_at(sms_kannel_password_file),
                                 s->sms_kannel_password_file,
                                 &s->sms_kannel_password)
           && cx_settings_secret(reader, cx_at(sms_secret_file),
                                 s->sms_secret_file, &s->sms_secret);
}


static bool
cx_settings_lines(cx_settings_reader_t *reader, char *text)
{
    char *line, *next;

    for (line = text; line != NULL; line = next) {
        next = strchr(line, '\n');
        if (next != NULL) {
            *next++ = '\0';
        }

        if (next == NULL && *line == '\0') {
            break;
        }

        reader->line++;
        if (!cx_settings_line(reader, line)) {
            return false;
        }
    }

    return true;
}


cx_settings_t *
cx_settings_read(TALLOC_CTX *ctx, const char *path, const char **why)
{
    cx_settings_reader_t reader = { .ctx = ctx, .path = path, .why = why };
    int lines[CX_SETTINGS_N] = { 0 };
    struct stat st;
    char *text;

    *why = "no memory";
    reader.lines = lines;
    reader.settings = talloc_zero(ctx, cx_settings_t);
    if (reader.settings == NULL) {
        return NULL;
    }

    text = cx_file_read(reader.settings, path, CX_SETTINGS_BYTES, &st);
    if (text == NULL) {
        cx_settings_fail(&reader, 0, "can't read it: %s", strerror(errno));
        talloc_free(reader.settings);
        return NULL;
    }

    if (!cx_settings_lines(&reader, text) || !cx_settings_presets(&reader)
        || !cx_settings_whole(&reader)) {
        explicit_bzero(reader.settings->master_key, CX_MASTER_KEY);
        explicit_bzero(reader.settings->other_key, CX_MASTER_KEY);
        talloc_free(reader.settings);
        return NULL;
    }

    talloc_free(text);
    return reader.settings;
}
