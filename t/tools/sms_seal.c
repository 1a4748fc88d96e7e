/*
 * Seals a text as the api worker does for an SMS, for t/deliver.t.
 *
 *     sms_seal <settings> <sms_id> <text>
 *
 * Prints it as a value of type bytea.
 */

#include <stdio.h>
#include <string.h>

#include "crypto.h"
#include "pg.h"


int
main(int argc, char **argv)
{
    size_t len;
    const char *why;
    unsigned char *sealed;
    cx_settings_t *settings;

    if (argc != 4) {
        fprintf(stderr, "usage: sms_seal SETTINGS SMS_ID TEXT\n");
        return 2;
    }

    settings = cx_settings_read(NULL, argv[1], &why);
    if (settings == NULL) {
        fprintf(stderr, "%s\n", why);
        return 2;
    }

    sealed = cx_master_seal(settings, settings, "sms", argv[2], argv[3],
                            strlen(argv[3]), &len);
    if (sealed == NULL) {
        fprintf(stderr, "it can't be sealed\n");
        return 1;
    }

    printf("%s\n", cx_pg_bytea(settings, sealed, len));
    talloc_free(settings);

    return 0;
}
