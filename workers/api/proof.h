/*
 * The proof of a number: by a code that is sent to it (sms-down), or by a
 * text that it sends in (sms-up).  For registrations, and for the number of
 * an account that changes (D1, D8).
 */

#ifndef CX_PROOF_H
#define CX_PROOF_H

#include "request.h"

/* The body's `method`; up: the message comes from the phone.  False:
 * answered. */
bool cx_proof_method(cx_request_t *r, bool *up);

/* Starts one for `phone` (E.164) and answers: 202, the proof's id as
 * `id_name`.  For the request's user, or for nobody yet. */
void cx_proof_start(cx_request_t *r, const char *phone, bool up,
                    const char *id_name);

/* What is stored of the body's `code`, as parameter; NULL where there is
 * none.  False: answered. */
bool cx_proof_code(cx_request_t *r, const char *id, const char **code);

/* What is stored of a text, as parameter; NULL: answered. */
const char *cx_proof_text(cx_request_t *r, const char *text);

/* Answers for a state of cardx.proof_judge() other than 'proved'. */
void cx_proof_refuse(cx_request_t *r, const char *state, int tries_left,
                     int retry_after);

#endif
