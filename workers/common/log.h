/*
 * Log lines on stderr: `time name[pid] level: message`.  The supervisor gives
 * each worker a log file as stderr.  Never log a key, token, code, password,
 * phone number, nor an address that carries one.
 */

#ifndef CX_LOG_H
#define CX_LOG_H

typedef enum {
    CX_LOG_ALERT, /* a bug or lost integrity: tests fail on these */
    CX_LOG_ERROR, /* something did not work that should have */
    CX_LOG_WARN,
    CX_LOG_INFO
} cx_log_level_t;

/* The process's name in every line, and the level from which it is silent. */
void cx_log_open(const char *name, cx_log_level_t level);

void cx_log(cx_log_level_t level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#define cx_alert(...) cx_log(CX_LOG_ALERT, __VA_ARGS__)
#define cx_error(...) cx_log(CX_LOG_ERROR, __VA_ARGS__)
#define cx_warn(...) cx_log(CX_LOG_WARN, __VA_ARGS__)
#define cx_info(...) cx_log(CX_LOG_INFO, __VA_ARGS__)

#endif
