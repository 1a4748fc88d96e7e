/*
 * Tells matching what is in a user's book, as the api worker does.
 *
 *     match_try <settings> <user_id>  < lines
 *
 * A line: a contact's id, then its numbers, all separated by tabs; without
 * numbers the contact is gone.  Empty line: one call ends, another begins.
 * Prints the milliseconds that each call took.
 */

#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "api/match.h"


static cx_json_t *
card_of(cx_request_t *r, char *numbers)
{
    int n;
    char id[16], *number;
    cx_json_t *card, *phones, *phone;

    card = cx_json_object(r);
    phones = cx_json_put(card, "phones", cx_json_object(card));

    for (n = 0; (number = strsep(&numbers, "\t")) != NULL; n++) {
        snprintf(id, sizeof(id), "p%d", n);
        phone = cx_json_put(phones, id, cx_json_object(phones));
        cx_json_put(phone, "number", cx_json_string(phone, number));
    }

    return card;
}


/* One call; false: there are no more lines. */
static bool
call(cx_api_t *api, const char *user_id)
{
    char line[65536], *rest;
    bool more;
    int64_t began;
    cx_match_t *match;
    cx_request_t *r;

    r = talloc_zero(NULL, cx_request_t);
    r->api = api;
    r->user_id = user_id;
    r->scratch = r;
    cx_pg_user(api->pg, user_id);

    began = cx_monotonic_ms();
    match = cx_match_open(r);

    if (match == NULL) {
        printf("refused: %d\n", r->status);
        talloc_free(r);
        return false;
    }

    while ((more = fgets(line, sizeof(line), stdin) != NULL)
           && line[0] != '\n') {
        line[strcspn(line, "\n")] = '\0';
        rest = strchr(line, '\t');

        if (rest != NULL) {
            *rest++ = '\0';
        }

        cx_match_put(match, line, rest != NULL ? card_of(r, rest) : NULL);
    }

    if (!cx_match_close(match)) {
        printf("refused: %d\n", r->status);
        more = false;
    }

    printf("%lld\n", (long long) (cx_monotonic_ms() - began));
    talloc_free(r);

    return more;
}


int
main(int argc, char **argv)
{
    cx_api_t api = { 0 };
    const char *why;
    cx_settings_t *settings;

    if (argc != 3) {
        fprintf(stderr, "usage: match_try SETTINGS USER_ID\n");
        return 2;
    }

    settings = cx_settings_read(NULL, argv[1], &why);
    if (settings == NULL) {
        fprintf(stderr, "%s\n", why);
        return 2;
    }

    api.settings = settings;
    api.pg = cx_pg_open(settings, settings->postgresql);

    while (call(&api, argv[2])) {
        /* void */
    }

    talloc_free(settings);

    return 0;
}
