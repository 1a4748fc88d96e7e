/*
 * Draws users with an access token each, of whom nobody knows yet:
 *
 *     draw_tokens SETTINGS COUNT
 *
 * A line for each: "<user_id> <token> <token's name in Redis> <head's name>
 * <channel>".
 */

#include <stdio.h>
#include <stdlib.h>

#include "cx_id.h"
#include "cx_projection.h"
#include "settings.h"


int
main(int argc, char **argv)
{
    long i, count;
    char user_id[CX_ID_LEN + 1], text[CX_TOKEN_LEN + 1];
    char name[CX_NAME_MAX], head[CX_NAME_MAX], channel[CX_NAME_MAX];
    const char *why;
    cx_token_t token;
    cx_settings_t *settings;

    if (argc != 3 || (count = atol(argv[2])) < 1) {
        fprintf(stderr, "usage: draw_tokens SETTINGS COUNT\n");
        return 2;
    }

    settings = cx_settings_read(NULL, argv[1], &why);
    if (settings == NULL) {
        fprintf(stderr, "%s\n", why);
        return 2;
    }

    for (i = 0; i < count; i++) {
        if (cx_id_new(&settings->id_key, CX_ID_USER, user_id) != 0
            || cx_token_new(&settings->id_key, CX_TOKEN_ACCESS, user_id, 1,
                            NULL, text, &token)
                   != 0) {
            fprintf(stderr, "draw_tokens: no randomness\n");
            return 1;
        }

        cx_token_name(name, &token);
        cx_head_name(head, user_id);
        cx_wake_name(channel, cx_wake_channel(user_id));
        printf("%s %s %s %s %s\n", user_id, text, name, head, channel);
    }

    talloc_free(settings);

    return 0;
}
