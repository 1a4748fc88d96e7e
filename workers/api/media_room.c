/* Room for media, so that nobody fills the disk alone. */

#include "media_room.h"
#include "media_room.sql.h"

#define ROOM_MIB 1024


bool
cx_media_room(cx_request_t *r, size_t len)
{
    PGresult *result;

    if (!cx_query(r, &result, &SQL_MEDIA_ROOM, talloc_asprintf(r, "%zu", len),
                  talloc_asprintf(r, "%lld", ROOM_MIB * 1048576LL))) {
        return false;
    }

    if (!cx_pg_true(result, 0, 0)) {
        cx_problem(r, 413, "too_large",
                   "All media of an account have at most %d MiB; what was "
                   "replaced counts for an hour.",
                   ROOM_MIB);
        return false;
    }

    return true;
}
