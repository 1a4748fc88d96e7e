#include "media/picture_text.h"

#include "media/picture_sandbox.h"

#include <fontconfig/fontconfig.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>


#define CHARACTERS_MAX 160
#define MARKS_MAX 5   /* on one letter; Tibetan and Thai need a few */
#define ACCENTS_MAX 2 /* of those that stack without end on any letter */
#define VIRAMA 9      /* the combining class of signs that join two letters */
#define THREADS_WAIT 200
#define ZWNJ 0x200c
#define ZWJ 0x200d


/* The fonts, and nothing else of what the machine has: a few are searched
 * faster than all, and the same everywhere. */
static const char *const families[] = {
    "Noto Sans",           "Noto Sans CJK SC",
    "Noto Sans CJK TC",    "Noto Sans CJK JP",
    "Noto Sans CJK KR",    "Noto Sans Arabic",
    "Noto Sans Hebrew",    "Noto Sans Devanagari",
    "Noto Sans Bengali",   "Noto Sans Gurmukhi",
    "Noto Sans Gujarati",  "Noto Sans Oriya",
    "Noto Sans Tamil",     "Noto Sans Telugu",
    "Noto Sans Kannada",   "Noto Sans Malayalam",
    "Noto Sans Sinhala",   "Noto Sans Thai",
    "Noto Sans Lao",       "Noto Sans Myanmar",
    "Noto Sans Khmer",     "Noto Serif Tibetan",
    "Noto Sans Georgian",  "Noto Sans Armenian",
    "Noto Sans Ethiopic",  "Noto Sans Cherokee",
    "Noto Sans Mongolian", "Noto Sans Canadian Aboriginal",
    "Noto Sans Syriac",    "Noto Sans Thaana",
    "Noto Sans NKo",       "Noto Sans Tifinagh",
    "Noto Sans Adlam",     "Noto Sans Ol Chiki",
    "Noto Sans Symbols",   "Noto Sans Symbols2",
    "Noto Sans Math",      "Noto Color Emoji",
};

/* One word for each script that is common on cards, drawn before the first
 * request, so that the children find those fonts in memory. */
static const char *const samples[] = {
    "Zoë Šírová Ångström",
    "Ελένη",
    "Юлия",
    "张伟",
    "مريم",
    "דוד",
    "प्रिया",
    "สมชาย",
    "田中さくら",
    "김민준",
};

/* Families with a name of two characters; else it is the first one. */
static const char long_families[] =
    " 欧阳 歐陽 司马 司馬 诸葛 諸葛 上官 夏侯 皇甫"
    " 尉迟 尉遲 公孙 公孫 慕容 令狐 司徒 东方 東方"
    " 端木 南宫 南宮 长孙 長孫 宇文 轩辕 軒轅 司空"
    " 남궁 황보 제갈 사공 선우 독고 ";

static struct {
    PangoFontMap *map;
    PangoContext *context;
    FcCharSet *covered;
    const char *language;
    const char *families;
} fonts;


/* Keeps those families and rejects every other font. */
static char *
selection(void)
{
    size_t i;
    GString *xml;

    xml = g_string_new("<fontconfig><selectfont>");

    for (i = 0; i < G_N_ELEMENTS(families); i++) {
        g_string_append_printf(xml,
                               "<acceptfont><pattern>"
                               "<patelt name=\"family\"><string>%s</string>"
                               "</patelt><patelt name=\"slant\"><const>roman"
                               "</const></patelt></pattern></acceptfont>",
                               families[i]);
    }

    g_string_append(xml,
                    "<rejectfont><pattern><patelt name=\"scalable\"><bool>true"
                    "</bool></patelt></pattern></rejectfont>"
                    "<rejectfont><pattern><patelt name=\"scalable\"><bool>false"
                    "</bool></patelt></pattern></rejectfont>"
                    "</selectfont></fontconfig>");

    return g_string_free(xml, FALSE);
}


static FcConfig *
read_config(int selected)
{
    char *xml;
    FcBool ok;
    FcConfig *config;

    config = FcConfigCreate();
    if (config == NULL) {
        return NULL;
    }

    ok = FcConfigParseAndLoad(config, NULL, FcTrue);

    if (ok && selected) {
        xml = selection();
        ok = FcConfigParseAndLoadFromMemory(config, (const FcChar8 *) xml,
                                            FcTrue);
        g_free(xml);
    }

    if (!ok || !FcConfigBuildFonts(config)) {
        FcConfigDestroy(config);
        return NULL;
    }

    /* Children can't see whether the fonts of the machine changed. */
    FcConfigSetRescanInterval(config, 0);

    return config;
}


/* Opens the fonts' files for the children and notes which characters they
 * have.  Returns the number of fonts. */
static int
take_fonts(FcConfig *config)
{
    int i, n;
    FcChar8 *file;
    FcCharSet *set;
    FcFontSet *list;

    n = 0;
    list = FcConfigGetFonts(config, FcSetSystem);
    fonts.covered = FcCharSetCreate();

    for (i = 0; list != NULL && i < list->nfont; i++) {
        if (FcPatternGetString(list->fonts[i], FC_FILE, 0, &file)
                != FcResultMatch
            || FcPatternGetCharSet(list->fonts[i], FC_CHARSET, 0, &set)
                   != FcResultMatch
            || cx_sandbox_keep((const char *) file) == -1) {
            continue;
        }

        FcCharSetMerge(fonts.covered, set, NULL);
        n++;
    }

    return n;
}


/* Pango looks for fonts in threads of its own.  They end when they have
 * found them; a process that forks must be alone. */
static void
wait_for_threads(void)
{
    int i;
    struct stat st;

    for (i = 0; i < THREADS_WAIT; i++) {
        if (stat("/proc/self/task", &st) == -1 || st.st_nlink <= 3) {
            return;
        }

        usleep(10000);
    }
}


/* Lays out and draws each script in the common sizes, and forgets it. */
static void
warm_up(void)
{
    size_t i, k;
    cairo_t *cr;
    PangoLayout *layout;
    cairo_surface_t *surface;
    static const struct {
        cx_weight_t weight;
        int size;
    } kinds[] = { { CX_WEIGHT_BOLD, 38 },
                  { CX_WEIGHT_REGULAR, 17 },
                  { CX_WEIGHT_BOLD, 17 },
                  { CX_WEIGHT_BOLD, 68 } };

    surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, 480, 64);
    cr = cairo_create(surface);

    for (i = 0; i < G_N_ELEMENTS(samples); i++) {
        cx_text_language(samples[i]);

        for (k = 0; k < G_N_ELEMENTS(kinds); k++) {
            layout = cx_text_layout(cr, samples[i], kinds[k].weight,
                                    kinds[k].size, 480, 1);
            pango_cairo_show_layout(cr, layout);
            g_object_unref(layout);
        }
    }

    cairo_destroy(cr);
    cairo_surface_destroy(surface);
}


int
cx_text_init(void)
{
    FcConfig *config;
    cairo_font_options_t *options;

    config = read_config(1);

    if (config != NULL && take_fonts(config) == 0) {
        FcConfigDestroy(config);
        config = read_config(0);

        if (config != NULL && take_fonts(config) == 0) {
            return -1;
        }
    }

    if (config == NULL || !FcConfigSetCurrent(config)) {
        return -1;
    }

    fonts.map = pango_cairo_font_map_new_for_font_type(CAIRO_FONT_TYPE_FT);
    if (fonts.map == NULL) {
        return -1;
    }

    fonts.context = pango_font_map_create_context(fonts.map);

    options = cairo_font_options_create();
    cairo_font_options_set_antialias(options, CAIRO_ANTIALIAS_GRAY);
    cairo_font_options_set_hint_style(options, CAIRO_HINT_STYLE_NONE);
    cairo_font_options_set_hint_metrics(options, CAIRO_HINT_METRICS_OFF);
    pango_cairo_context_set_font_options(fonts.context, options);
    cairo_font_options_destroy(options);

    warm_up();
    wait_for_threads();

    return 0;
}


/* Characters that order or hide text could make one name look like another,
 * and those without a glyph look broken. */
static int
is_shown(gunichar c)
{
    switch (g_unichar_type(c)) {
    case G_UNICODE_CONTROL:
    case G_UNICODE_FORMAT:
    case G_UNICODE_SURROGATE:
    case G_UNICODE_PRIVATE_USE:
    case G_UNICODE_UNASSIGNED:
        return 0;

    default:
        return c != 0xfffd && FcCharSetHasChar(fonts.covered, c);
    }
}


/* Counts the marks since the last letter; 0 if `c` is one too many. */
static int
marks_fit(gunichar c, int *marks, int *accents)
{
    if (!g_unichar_ismark(c)) {
        *marks = *accents = 0;
        return 1;
    }

    if (c >= 0x300 && c <= 0x36f && ++*accents > ACCENTS_MAX) {
        return 0;
    }

    return ++*marks <= MARKS_MAX;
}


/* Joiners stay between letters, since several scripts are written with them,
 * and between symbols; spaces become one, and none at the ends. */
static void
append_clean(GString *s, gunichar c, gunichar *joiner, int *space)
{
    if (*space && s->len > 0) {
        g_string_append_c(s, ' ');

    } else if (*joiner != 0 && s->len > 0
               && (g_unichar_isalpha(c) || g_unichar_ismark(c)
                   || g_unichar_type(c) == G_UNICODE_OTHER_SYMBOL)) {
        g_string_append_unichar(s, *joiner);
    }

    g_string_append_unichar(s, c);
    *joiner = 0;
    *space = 0;
}


char *
cx_text_clean(TALLOC_CTX *ctx, const char *bytes, size_t len)
{
    int n, space, marks, accents;
    char *valid, *composed, *p, *out;
    GString *s;
    gunichar c, joiner;

    valid = g_utf8_make_valid(bytes != NULL ? bytes : "", (gssize) len);
    composed = g_utf8_normalize(valid, -1, G_NORMALIZE_DEFAULT_COMPOSE);
    s = g_string_new(NULL);
    n = space = marks = accents = 0;
    joiner = 0;

    for (p = composed; *p != '\0' && n < CHARACTERS_MAX;
         p = g_utf8_next_char(p)) {
        c = g_utf8_get_char(p);

        if (g_unichar_isspace(c)) {
            space = 1;

        } else if (c == ZWNJ || c == ZWJ) {
            joiner = c;

        } else if (is_shown(c) && marks_fit(c, &marks, &accents)) {
            append_clean(s, c, &joiner, &space);
            n++;
        }
    }

    out = talloc_strdup(ctx, s->str);

    g_string_free(s, TRUE);
    g_free(composed);
    g_free(valid);

    return out;
}


int
cx_text_is_rtl(const char *text)
{
    gunichar c;

    for (; *text != '\0'; text = g_utf8_next_char(text)) {
        c = g_utf8_get_char(text);

        if (!g_unichar_isalpha(c)) {
            continue;
        }

        switch (g_unichar_get_script(c)) {
        case G_UNICODE_SCRIPT_ARABIC:
        case G_UNICODE_SCRIPT_HEBREW:
        case G_UNICODE_SCRIPT_SYRIAC:
        case G_UNICODE_SCRIPT_THAANA:
        case G_UNICODE_SCRIPT_NKO:
        case G_UNICODE_SCRIPT_ADLAM:
            return 1;

        default:
            return 0;
        }
    }

    return 0;
}


static int
is_east_asian(gunichar c)
{
    switch (g_unichar_get_script(c)) {
    case G_UNICODE_SCRIPT_HAN:
    case G_UNICODE_SCRIPT_HANGUL:
    case G_UNICODE_SCRIPT_HIRAGANA:
    case G_UNICODE_SCRIPT_KATAKANA:
    case G_UNICODE_SCRIPT_BOPOMOFO:
        return 1;

    default:
        return 0;
    }
}


/* The end of the letter that starts at p, with its marks, and with the letters
 * that are joined to it; Thai and Lao write some vowels before theirs. */
static const char *
letter_end(const char *p)
{
    int joined;
    gunichar c;

    c = g_utf8_get_char(p);
    joined = (c >= 0xe40 && c <= 0xe44) || (c >= 0xec0 && c <= 0xec4);

    for (p = g_utf8_next_char(p); *p != '\0'; p = g_utf8_next_char(p)) {
        c = g_utf8_get_char(p);

        if (g_unichar_ismark(c)) {
            joined = g_unichar_combining_class(c) == VIRAMA;
            continue;
        }

        if (c != ZWJ && c != ZWNJ && !(joined && g_unichar_isalpha(c))) {
            break;
        }

        joined = c == ZWJ;
    }

    return p;
}


static void
append_letter(GString *s, const char *p)
{
    const char *rest;

    if (p == NULL) {
        return;
    }

    rest = g_utf8_next_char(p);
    g_string_append_unichar(s, g_unichar_totitle(g_utf8_get_char(p)));
    g_string_append_len(s, rest, letter_end(p) - rest);
}


/* Finds the first letters of the first and the last word.  Words with a full
 * stop are titles (Dr., Jr.) if there are others; what follows a comma or a
 * bracket is no part of the name. */
static void
find_initials(const char *name, int dotted, const char **first,
              const char **last)
{
    const char *p, *end;

    *first = *last = NULL;

    for (p = name; *p != '\0'; p = *end == ' ' ? end + 1 : end) {
        end = p + strcspn(p, " ");

        if (strchr("([,/|", *p) != NULL && *first != NULL) {
            return;
        }

        while (p < end && !g_unichar_isalpha(g_utf8_get_char(p))) {
            p = g_utf8_next_char(p);
        }

        if (p < end && (dotted || end[-1] != '.' || end - p <= 2)) {
            *last = *first != NULL ? p : NULL;
            *first = *first != NULL ? *first : p;
        }

        if (*first != NULL && end[-1] == ',') {
            return;
        }
    }
}


/* Appends the family name if it is one of the long ones; else returns 0. */
static int
append_family(GString *s, const char *name)
{
    int found;
    char *family;

    if (g_utf8_strlen(name, -1) < 3) {
        return 0;
    }

    family = g_strdup_printf(
        " %.*s ", (int) (g_utf8_offset_to_pointer(name, 2) - name), name);
    found = strchr(family + 1, ' ') == family + strlen(family) - 1
            && strstr(long_families, family) != NULL;

    if (found) {
        g_string_append_len(s, family + 1, (gssize) strlen(family) - 2);
    }

    g_free(family);

    return found;
}


char *
cx_text_monogram(TALLOC_CTX *ctx, const char *name)
{
    char *out;
    GString *s;
    gunichar c;
    const char *first, *last;

    find_initials(name, 0, &first, &last);

    if (first == NULL) {
        find_initials(name, 1, &first, &last);
    }

    if (first == NULL) {
        return talloc_strdup(ctx, "");
    }

    s = g_string_new(NULL);
    c = g_utf8_get_char(first);

    if (is_east_asian(c)) {
        if (!append_family(s, first)) {
            g_string_append_unichar(s, c);
        }

    } else {
        append_letter(s, first);

        /* Letters that join, and those with marks around them, are read
         * best alone. */
        if (g_unichar_isupper(g_unichar_totitle(c)) || last == NULL
            || g_unichar_get_script(c) == G_UNICODE_SCRIPT_HEBREW) {
            append_letter(s, last);
        }
    }

    out = talloc_strdup(ctx, s->str);
    g_string_free(s, TRUE);

    return out;
}


void
cx_text_language(const char *text)
{
    fonts.language = "zh-cn";
    fonts.families = "Noto Sans, Noto Sans CJK SC, sans-serif";

    for (; *text != '\0'; text = g_utf8_next_char(text)) {
        switch (g_unichar_get_script(g_utf8_get_char(text))) {
        case G_UNICODE_SCRIPT_HIRAGANA:
        case G_UNICODE_SCRIPT_KATAKANA:
            fonts.language = "ja";
            fonts.families = "Noto Sans, Noto Sans CJK JP, sans-serif";
            return;

        case G_UNICODE_SCRIPT_HANGUL:
            fonts.language = "ko";
            fonts.families = "Noto Sans, Noto Sans CJK KR, sans-serif";
            return;

        case G_UNICODE_SCRIPT_BOPOMOFO:
            fonts.language = "zh-tw";
            fonts.families = "Noto Sans, Noto Sans CJK TC, sans-serif";
            return;

        default:
            break;
        }
    }
}


PangoLayout *
cx_text_layout(cairo_t *cr, const char *text, cx_weight_t weight, int size,
               int width, int lines)
{
    PangoLayout *layout;
    PangoFontDescription *font;

    pango_cairo_update_context(cr, fonts.context);
    pango_context_set_language(fonts.context,
                               pango_language_from_string(fonts.language));

    font = pango_font_description_new();
    pango_font_description_set_family_static(font, fonts.families);
    pango_font_description_set_absolute_size(font, size * PANGO_SCALE);
    pango_font_description_set_weight(font, weight == CX_WEIGHT_BOLD
                                                ? PANGO_WEIGHT_BOLD
                                                : PANGO_WEIGHT_NORMAL);

    layout = pango_layout_new(fonts.context);
    pango_layout_set_font_description(layout, font);
    pango_layout_set_text(layout, text, -1);
    pango_layout_set_width(layout, width * PANGO_SCALE);
    pango_layout_set_height(layout, -lines);
    pango_layout_set_wrap(layout, PANGO_WRAP_WORD_CHAR);
    pango_layout_set_ellipsize(layout, PANGO_ELLIPSIZE_END);
    pango_layout_set_auto_dir(layout, TRUE);
    pango_font_description_free(font);

    return layout;
}
