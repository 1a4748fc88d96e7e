/*
 * The settings file: one for all workers, conf/cardx.conf documents it.
 *
 * Lines are `name value`; # starts a comment.  Everything is checked when the
 * file is read: a bad line is an error that names file, line and what is
 * expected, and nothing starts.
 */

#ifndef CX_SETTINGS_H
#define CX_SETTINGS_H

#include <stdbool.h>
#include <talloc.h>

#include "cx_id.h"

#define CX_MASTER_KEY 32 /* bytes: AES-256 */

typedef struct {
    /* as the file says */
    char *public_url;        /* https://host[:port], without a closing slash */
    char *run_dir;           /* sockets: fast.sock slow.sock miss.sock
                          * picture.sock, and the pokes */
    char *pid_dir;           /* one file per process, <name>.pid */
    char *postgresql;        /* libpq connection string of role cardx_api */
    char *postgresql_fanout; /* the same for role cardx_fanout */
    char *redis;             /* /path/to/socket or host:port; of a cluster
                          * several host:port, with blanks between */
    int redis_cluster;
    int redis_database;
    int postgresql_timeout;    /* ms until an answer is given up */
    int redis_timeout;         /* ms to connect, and to answer */
    char *redis_password_file; /* or NULL */
    char *id_key_file;
    char *master_key_file;
    char *other_master_key_file; /* NULL: there is none */
    char *socket_group;          /* of the FastCGI sockets: nginx's; or NULL */
    int socket_mode;             /* their permissions */
    int socket_backlog; /* connections that wait; more are refused: 503 */
    int workers_fast;
    int workers_slow;
    int workers_miss;
    int workers_deliver;
    int workers_push;
    char *sms_gateway;    /* "log" or "kannel" */
    char *sms_log;        /* JSON Lines, for "log" */
    char *sms_kannel_url; /* http://host:port/cgi-bin/sendsms */
    char *sms_kannel_user;
    char *sms_kannel_password_file;
    char *sms_report_url;  /* /sms/report, as the gateway reaches it; or NULL */
    char *sms_from;        /* sender; a number to answer to */
    char *sms_secret_file; /* for the gateway's own calls (/sms/...) */
    int sms_per_address;   /* registrations an hour from one address */
    char *push_hosts;      /* words: hosts of push services, see cardx.conf */
    char *push_ca_file;    /* or NULL: the system's */
    char *default_region;  /* ISO 3166-1, for numbers without + */
    int log_level;

    /* made from them when the file is read */
    cx_id_key_t id_key;
    unsigned char master_key[CX_MASTER_KEY]; /* see crypto.h */
    unsigned char other_key[CX_MASTER_KEY];  /* if there is such a file */
    char *redis_password;                    /* or NULL */
    char *sms_kannel_password;
    char *sms_secret;
} cx_settings_t;

/* NULL: *why says what is wrong, "FILE:LINE: ...", owned by ctx. */
cx_settings_t *cx_settings_read(TALLOC_CTX *ctx, const char *path,
                                const char **why);

#endif
