/*
 * What registrations and sessions have in common: a terminal that is signed
 * in, its tokens, and what is said of a password.
 */

#ifndef CX_SIGN_IN_H
#define CX_SIGN_IN_H

#include "request.h"

#define CX_ACCESS_SECONDS 900
#define CX_PASSWORD_MIN 8 /* bytes */
#define CX_PASSWORD_MAX 128
#define CX_SIGN_IN_DRAWS 5 /* of a terminal number, until one is free */

/* The state of every call of the database that signs in. */
#define CX_SIGN_IN_OPEN "open"
#define CX_SIGN_IN_TAKEN "taken"

typedef struct {
    const char *user_id;
    uint32_t terminal_id;
    char access[CX_TOKEN_LEN + 1];
    char refresh[CX_TOKEN_LEN + 1];
    cx_token_t token; /* the access token */

    /* as parameters */
    const char *terminal;
    const char *access_hash;
    const char *refresh_hash;
} cx_sign_in_t;

/* The name in `terminal: {name}`; false: answered 422 invalid_terminal. */
bool cx_body_terminal(cx_request_t *r, const char **name);

/* The number in `phone`, in E.164; false: answered 422 invalid_phone. */
bool cx_body_phone(cx_request_t *r, const char **phone);

/* Compares a password with that of an account: user_id, or phone where that
 * is NULL.  Each try counts: for the terminal that asks; else for the account,
 * of which the caller has proved the number; else for the number.  Five wrong
 * ones lock for 15 minutes, whether or not there is such an account, and it
 * takes the same time.  hash: what it was compared with, for the call that
 * goes on.  False: answered 429, or `refused` wrong_password. */
bool cx_password_right(cx_request_t *r, const char *user_id, const char *phone,
                       const char *password, int refused, const char **account,
                       const char **hash);

/* 401 or 403 wrong_password. */
void cx_password_wrong(cx_request_t *r, int status);

/* The terminal that asks, as parameter; NULL: nobody is signed in. */
const char *cx_own_terminal(cx_request_t *r);

/* Draws a terminal number and its first tokens, owned by r.  user_id must
 * live as long as r.  NULL: answered 503. */
cx_sign_in_t *cx_sign_in_draw(cx_request_t *r, const char *user_id);

/* Draws only a new access token for a terminal that is known; `refresh` is
 * the secret of the refresh token. */
cx_sign_in_t *cx_sign_in_again(cx_request_t *r, const char *user_id,
                               uint32_t terminal_id,
                               const unsigned char *refresh);

/* Answers 200, and lets the edge know the token once it is committed.
 * expires: unix time.  initial_password: NULL if there is none. */
void cx_sign_in_answer(cx_request_t *r, const cx_sign_in_t *s, int64_t expires,
                       bool new_account, const char *initial_password);

/* Answers what a state other than open and taken means. */
void cx_sign_in_refuse(cx_request_t *r, const char *state);

/* Answers with the account of who asks, as GET /v1/me does. */
void cx_me_answer(cx_request_t *r);

/* The same as JSON, owned by r; NULL: answered. */
const char *cx_me_text(cx_request_t *r);

/* 429 with Retry-After. */
void cx_too_many(cx_request_t *r, const char *code, long long seconds,
                 const char *detail);

#endif
