#include "media_type.h"

#include <string.h>

typedef bool (*looks_t)(const unsigned char *bytes);

typedef struct {
    const char *kind;
    const char *claimed;
    const char *kept;
    looks_t looks;
} media_type_t;


static bool
at(const unsigned char *bytes, size_t offset, const char *magic)
{
    return memcmp(bytes + offset, magic, strlen(magic)) == 0;
}


/* A frame of MPEG audio: 11 bits of sync, and a layer. */
static bool
looks_mpeg(const unsigned char *bytes)
{
    return at(bytes, 0, "ID3")
           || (bytes[0] == 0xff && (bytes[1] & 0xe0) == 0xe0
               && (bytes[1] & 0x06) != 0);
}


/* ADTS: 12 bits of sync, layer 0. */
static bool
looks_aac(const unsigned char *bytes)
{
    return bytes[0] == 0xff && (bytes[1] & 0xf6) == 0xf0;
}


static bool
looks_mp4(const unsigned char *bytes)
{
    return at(bytes, 4, "ftyp");
}


/* Older films start with any of these atoms. */
static bool
looks_quicktime(const unsigned char *bytes)
{
    return at(bytes, 4, "ftyp") || at(bytes, 4, "moov") || at(bytes, 4, "mdat")
           || at(bytes, 4, "wide") || at(bytes, 4, "free")
           || at(bytes, 4, "skip") || at(bytes, 4, "pnot");
}


static bool
looks_ogg(const unsigned char *bytes)
{
    return at(bytes, 0, "OggS");
}


static bool
looks_wav(const unsigned char *bytes)
{
    return at(bytes, 0, "RIFF") && at(bytes, 8, "WAVE");
}


/* EBML, of which WebM is one kind. */
static bool
looks_webm(const unsigned char *bytes)
{
    return at(bytes, 0, "\x1a\x45\xdf\xa3");
}


static const media_type_t types[] = {
    { "sound", "audio/mpeg", "audio/mpeg", looks_mpeg },
    { "sound", "audio/mp3", "audio/mpeg", looks_mpeg },
    { "sound", "audio/mp4", "audio/mp4", looks_mp4 },
    { "sound", "audio/x-m4a", "audio/mp4", looks_mp4 },
    { "sound", "audio/m4a", "audio/mp4", looks_mp4 },
    { "sound", "audio/aac", "audio/aac", looks_aac },
    { "sound", "audio/ogg", "audio/ogg", looks_ogg },
    { "sound", "audio/wav", "audio/wav", looks_wav },
    { "sound", "audio/x-wav", "audio/wav", looks_wav },
    { "sound", "audio/wave", "audio/wav", looks_wav },
    { "sound", "audio/vnd.wave", "audio/wav", looks_wav },
    { "sound", "audio/webm", "audio/webm", looks_webm },
    { "video", "video/mp4", "video/mp4", looks_mp4 },
    { "video", "video/webm", "video/webm", looks_webm },
    { "video", "video/quicktime", "video/quicktime", looks_quicktime },
};


bool
cx_is_picture_type(const char *claimed)
{
    size_t i;
    static const char *const pictures[] = { "image/jpeg", "image/png",
                                            "image/webp", "image/heic",
                                            "image/heif", "image/avif" };

    for (i = 0; i < sizeof(pictures) / sizeof(pictures[0]); i++) {
        if (strcmp(claimed, pictures[i]) == 0) {
            return true;
        }
    }

    return false;
}


const char *
cx_media_type(const char *kind, const char *claimed, const unsigned char *bytes,
              size_t len)
{
    size_t i;
    unsigned char start[12] = { 0 };

    memcpy(start, bytes, len < sizeof(start) ? len : sizeof(start));

    for (i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (strcmp(kind, types[i].kind) == 0
            && strcmp(claimed, types[i].claimed) == 0) {
            return types[i].looks(start) ? types[i].kept : NULL;
        }
    }

    return NULL;
}
