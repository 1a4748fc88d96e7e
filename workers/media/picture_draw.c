#include "media/picture_draw.h"

#include "media/picture_pixels.h"
#include "media/picture_text.h"

#include <math.h>
#include <string.h>


#define WIDTH CX_THUMBNAIL_WIDTH
#define HEIGHT CX_THUMBNAIL_HEIGHT

#define PANEL_WIDTH 106
#define FACE_X 112
#define FACE_Y 135
#define FACE_RADIUS 74
#define RING 5

#define TEXT_X 216
#define TEXT_WIDTH 238
#define BALANCE_STEP 6
#define PARTS 3 /* name, title, organisation */
#define TEXT_TOP 22
#define TEXT_BOTTOM 248

#define BAR_WIDTH 34
#define BAR_HEIGHT 3
#define BAR_ABOVE 14
#define BAR_BELOW 17
#define SMALL_SIZE 17
#define PART_GAP 7

/* Of the size of a font, for all scripts alike: above and below the line the
 * letters stand on, and from line to line. */
#define ASCENT 0.86
#define DESCENT 0.22
#define LEADING 1.24


#define LOGO_WIDTH 96
#define LOGO_HEIGHT 32
#define LOGO_GAP 12

#define PAPER 0xfdfcfa
#define INK 0x1c2127
#define GREY 0x5b636d


/* The colours of a card: its dark one, the same in light, and one between
 * them that can be read on paper. */
typedef struct {
    unsigned dark;
    unsigned light;
    unsigned accent;
} palette_t;

typedef struct {
    TALLOC_CTX *ctx;
    cairo_t *cr;
    const palette_t *palette;
    int rtl;
} canvas_t;

static const palette_t palettes[] = {
    { 0x0d3b45, 0x2b7f8a, 0x1b6470 }, /* teal */
    { 0x16294d, 0x3f6cab, 0x2b5591 }, /* ink */
    { 0x32244f, 0x7757a6, 0x5c4089 }, /* aubergine */
    { 0x163d2d, 0x438a66, 0x2b6b4c }, /* forest */
    { 0x551426, 0xab4560, 0x8f2d47 }, /* burgundy */
    { 0x6e2b0e, 0xc8713c, 0xa14d1d }, /* terracotta */
    { 0x26323f, 0x62788d, 0x465b70 }, /* slate */
    { 0x57390a, 0xb58a3a, 0x8a6214 }, /* bronze */
    { 0x20285f, 0x5d6bc4, 0x4150a3 }, /* indigo */
    { 0x481a37, 0x9e4f80, 0x803463 }, /* plum */
    { 0x33401a, 0x7b9545, 0x566d27 }, /* olive */
    { 0x0c3a5b, 0x3d8fc0, 0x21699a }, /* sea */
};


/* The same name has the same colour everywhere (FNV-1a). */
static const palette_t *
palette_of(const char *name)
{
    uint32_t hash = 2166136261u;

    for (; *name != '\0'; name++) {
        hash = (hash ^ (unsigned char) *name) * 16777619u;
    }

    hash ^= hash >> 15;

    return &palettes[hash % (sizeof(palettes) / sizeof(palettes[0]))];
}


/* Where something `width` wide stands, whose place is x on a card that is read
 * from left to right. */
static double
place(const canvas_t *canvas, double x, double width)
{
    return canvas->rtl ? WIDTH - x - width : x;
}


static double
channel(unsigned colour, int shift)
{
    return ((colour >> shift) & 0xff) / 255.0;
}


static void
set_colour(cairo_t *cr, unsigned colour, double alpha)
{
    cairo_set_source_rgba(cr, channel(colour, 16), channel(colour, 8),
                          channel(colour, 0), alpha);
}


static void
add_stop(cairo_pattern_t *gradient, double at, unsigned colour, double alpha)
{
    cairo_pattern_add_color_stop_rgba(gradient, at, channel(colour, 16),
                                      channel(colour, 8), channel(colour, 0),
                                      alpha);
}


static void
fill_gradient(cairo_t *cr, cairo_pattern_t *gradient)
{
    cairo_set_source(cr, gradient);
    cairo_fill(cr);
    cairo_pattern_destroy(gradient);
}


static void
circle(cairo_t *cr, double x, double y, double radius)
{
    cairo_new_sub_path(cr);
    cairo_arc(cr, x, y, radius, 0, 2 * M_PI);
}


static void
rounded(cairo_t *cr, double x, double y, double w, double h, double r)
{
    cairo_new_sub_path(cr);
    cairo_arc(cr, x + w - r, y + r, r, -M_PI / 2, 0);
    cairo_arc(cr, x + w - r, y + h - r, r, 0, M_PI / 2);
    cairo_arc(cr, x + r, y + h - r, r, M_PI / 2, M_PI);
    cairo_arc(cr, x + r, y + r, r, M_PI, 3 * M_PI / 2);
    cairo_close_path(cr);
}


/* Paper, and the panel of colour at the side where reading begins, with two
 * faint arcs on it. */
static void
draw_ground(const canvas_t *canvas)
{
    double x, corner;
    cairo_t *cr = canvas->cr;
    cairo_pattern_t *gradient;

    set_colour(cr, PAPER, 1);
    cairo_paint(cr);

    x = place(canvas, 0, PANEL_WIDTH);
    corner = place(canvas, 0, 0);

    cairo_save(cr);
    cairo_rectangle(cr, x, 0, PANEL_WIDTH, HEIGHT);
    cairo_clip(cr);

    gradient = cairo_pattern_create_linear(x, 0, x + PANEL_WIDTH, HEIGHT);
    add_stop(gradient, 0, canvas->palette->light, 1);
    add_stop(gradient, 1, canvas->palette->dark, 1);
    cairo_rectangle(cr, x, 0, PANEL_WIDTH, HEIGHT);
    fill_gradient(cr, gradient);

    set_colour(cr, 0xffffff, 0.07);
    circle(cr, corner, 0, 96);
    cairo_fill(cr);
    set_colour(cr, 0xffffff, 0.05);
    circle(cr, corner, HEIGHT, 150);
    cairo_fill(cr);

    cairo_restore(cr);
}


/* The ring of paper around the face, on a soft shadow. */
static void
draw_ring(const canvas_t *canvas, double x)
{
    cairo_t *cr = canvas->cr;
    cairo_pattern_t *shadow;
    const double radius = FACE_RADIUS + RING;

    shadow = cairo_pattern_create_radial(x, FACE_Y + 3, radius - 6, x,
                                         FACE_Y + 3, radius + 12);
    add_stop(shadow, 0, 0x000000, 0.22);
    add_stop(shadow, 0.5, 0x000000, 0.07);
    add_stop(shadow, 1, 0x000000, 0);
    circle(cr, x, FACE_Y + 3, radius + 12);
    fill_gradient(cr, shadow);

    set_colour(cr, PAPER, 1);
    circle(cr, x, FACE_Y, radius);
    cairo_fill(cr);
}


static cairo_surface_t *
surface_of(const cx_pixels_t *pixels)
{
    return cairo_image_surface_create_for_data(
        pixels->bgra, CAIRO_FORMAT_ARGB32, pixels->width, pixels->height,
        4 * pixels->width);
}


/* -1: there is no photo, or none that can be read. */
static int
draw_photo(const canvas_t *canvas, double x, const cx_blob_t *photo)
{
    cairo_t *cr = canvas->cr;
    cx_pixels_t pixels;
    cairo_surface_t *surface;

    if (photo->len == 0
        || cx_pixels_load(canvas->ctx, photo, 2 * FACE_RADIUS, 2 * FACE_RADIUS,
                          1, &pixels)
               != CX_REASON_NONE) {
        return -1;
    }

    surface = surface_of(&pixels);

    set_colour(cr, 0xffffff, 1);
    circle(cr, x, FACE_Y, FACE_RADIUS);
    cairo_fill_preserve(cr);
    cairo_set_source_surface(cr, surface, x - FACE_RADIUS,
                             FACE_Y - FACE_RADIUS);
    cairo_fill_preserve(cr);

    /* A photo on white keeps an edge. */
    set_colour(cr, 0x000000, 0.10);
    cairo_set_line_width(cr, 1);
    cairo_stroke(cr);

    cairo_surface_destroy(surface);

    return 0;
}


/* A head and shoulders, for what has no letter. */
static void
draw_nobody(const canvas_t *canvas, double x)
{
    cairo_t *cr = canvas->cr;

    cairo_save(cr);
    circle(cr, x, FACE_Y, FACE_RADIUS);
    cairo_clip(cr);
    set_colour(cr, 0xffffff, 0.92);
    circle(cr, x, FACE_Y - 16, 27);
    cairo_fill(cr);
    circle(cr, x, FACE_Y + 72, 52);
    cairo_fill(cr);
    cairo_restore(cr);
}


static void
draw_letters(const canvas_t *canvas, double x, const char *letters)
{
    double scale;
    cairo_t *cr = canvas->cr;
    PangoLayout *layout;
    PangoRectangle ink;
    const double most = 1.24 * FACE_RADIUS;

    layout = cx_text_layout(cr, letters, CX_WEIGHT_BOLD, 68, 1000, 1);
    pango_layout_set_width(layout, -1);
    pango_layout_get_pixel_extents(layout, &ink, NULL);

    scale = ink.width > most ? most / ink.width : 1;

    if (ink.height * scale > most * 0.8) {
        scale = most * 0.8 / ink.height;
    }

    cairo_save(cr);
    cairo_translate(cr, x, FACE_Y);
    cairo_scale(cr, scale, scale);
    cairo_translate(cr, -ink.x - ink.width / 2.0, -ink.y - ink.height / 2.0);
    set_colour(cr, 0xffffff, 0.97);
    pango_cairo_show_layout(cr, layout);
    cairo_restore(cr);

    g_object_unref(layout);
}


static void
draw_monogram(const canvas_t *canvas, double x, const char *name)
{
    char *letters;
    cairo_t *cr = canvas->cr;
    cairo_pattern_t *gradient;

    gradient = cairo_pattern_create_linear(
        x - FACE_RADIUS * 0.6, FACE_Y - FACE_RADIUS, x + FACE_RADIUS * 0.6,
        FACE_Y + FACE_RADIUS);
    add_stop(gradient, 0, canvas->palette->light, 1);
    add_stop(gradient, 1, canvas->palette->dark, 1);
    circle(cr, x, FACE_Y, FACE_RADIUS);
    fill_gradient(cr, gradient);

    letters = cx_text_monogram(canvas->ctx, name);

    if (letters == NULL || letters[0] == '\0') {
        draw_nobody(canvas, x);
    } else {
        draw_letters(canvas, x, letters);
    }
}


/* The foot of the card, on the side where reading ends.  Returns where the
 * text must end above it. */
static int
draw_logo(const canvas_t *canvas, const cx_blob_t *logo)
{
    double x, y;
    cairo_t *cr = canvas->cr;
    cx_pixels_t pixels;
    cairo_surface_t *surface;

    if (logo->len == 0
        || cx_pixels_load(canvas->ctx, logo, LOGO_WIDTH, LOGO_HEIGHT, 0,
                          &pixels)
               != CX_REASON_NONE) {
        return TEXT_BOTTOM;
    }

    x = place(canvas, TEXT_X + TEXT_WIDTH - pixels.width, pixels.width);
    y = TEXT_BOTTOM - pixels.height;

    surface = surface_of(&pixels);
    cairo_set_source_surface(cr, surface, x, y);
    rounded(cr, x, y, pixels.width, pixels.height,
            pixels.height < 8 || pixels.width < 8 ? 0 : 3);
    cairo_fill(cr);
    cairo_surface_destroy(surface);

    return (int) y - LOGO_GAP;
}


/* Whether a line ends within a word that is written with letters. */
static int
breaks_word(PangoLayout *layout)
{
    int i, at;
    const char *text, *p;

    text = pango_layout_get_text(layout);

    for (i = 1; i < pango_layout_get_line_count(layout); i++) {
        at = pango_layout_get_line_readonly(layout, i)->start_index;
        p = g_utf8_prev_char(text + at);

        if (g_unichar_isalpha(g_utf8_get_char(p))
            && g_unichar_isalpha(g_utf8_get_char(text + at))
            && !g_unichar_iswide(g_utf8_get_char(p))) {
            return 1;
        }
    }

    return 0;
}


static int
is_whole(PangoLayout *layout)
{
    return !pango_layout_is_ellipsized(layout) && !breaks_word(layout);
}


/* Makes the lines of a whole text about as long as each other. */
static void
balance(PangoLayout *layout)
{
    int width, lines;

    lines = pango_layout_get_line_count(layout);

    if (lines == 1 || !is_whole(layout)) {
        return;
    }

    for (width = TEXT_WIDTH; width > TEXT_WIDTH / 4; width -= BALANCE_STEP) {
        pango_layout_set_width(layout, width * PANGO_SCALE);

        if (pango_layout_get_line_count(layout) > lines || !is_whole(layout)) {
            break;
        }
    }

    pango_layout_set_width(layout, (width + BALANCE_STEP) * PANGO_SCALE);
}


/* The name as large as it can be: on one line, on two, and at last with an
 * ellipsis. */
static PangoLayout *
name_layout(const canvas_t *canvas, const char *name)
{
    size_t i;
    PangoLayout *layout;
    static const struct {
        int size;
        int lines;
    } tries[] = { { 38, 1 }, { 35, 1 }, { 32, 1 }, { 29, 1 }, { 31, 2 },
                  { 28, 2 }, { 25, 2 }, { 22, 2 }, { 19, 3 } };
    const size_t last = sizeof(tries) / sizeof(tries[0]) - 1;

    for (i = 0;; i++) {
        layout = cx_text_layout(canvas->cr, name, CX_WEIGHT_BOLD, tries[i].size,
                                TEXT_WIDTH, tries[i].lines);

        if (i == last || is_whole(layout)) {
            balance(layout);
            return layout;
        }

        g_object_unref(layout);
    }
}


/* The height of the letters, which does not depend on the fonts that were
 * found for them, as pango's own does. */
static double
height_of(PangoLayout *layout)
{
    int size, lines;

    lines = pango_layout_get_line_count(layout);
    size = pango_font_description_get_size(
               pango_layout_get_font_description(layout))
           / PANGO_SCALE;

    return size * (ASCENT + DESCENT + LEADING * (lines - 1));
}


/* Draws the lines one under the other, from the margin where the card's own
 * direction begins; returns where they end. */
static double
draw_lines(const canvas_t *canvas, PangoLayout *layout, double y,
           unsigned colour)
{
    int i, size;
    PangoRectangle box;
    PangoLayoutLine *line;

    size = pango_font_description_get_size(
               pango_layout_get_font_description(layout))
           / PANGO_SCALE;

    set_colour(canvas->cr, colour, 1);

    for (i = 0; i < pango_layout_get_line_count(layout); i++) {
        line = pango_layout_get_line_readonly(layout, i);
        pango_layout_line_get_pixel_extents(line, NULL, &box);

        cairo_move_to(canvas->cr, place(canvas, TEXT_X, box.width),
                      y + size * (ASCENT + LEADING * i));
        pango_cairo_show_layout_line(canvas->cr, line);
    }

    return y + height_of(layout);
}


static double
draw_bar(const canvas_t *canvas, double y)
{
    set_colour(canvas->cr, canvas->palette->light, 1);
    rounded(canvas->cr, place(canvas, TEXT_X, BAR_WIDTH), y, BAR_WIDTH,
            BAR_HEIGHT, BAR_HEIGHT / 2.0);
    cairo_fill(canvas->cr);

    return y + BAR_HEIGHT;
}


/* Lays out name, title and organisation; NULL for what is not there.  Returns
 * the height of all. */
static double
lay_out(const canvas_t *canvas, char *const *texts, int lines,
        PangoLayout **parts)
{
    int i;
    double height = 0;

    for (i = 0; i < PARTS; i++) {
        parts[i] = NULL;

        if (texts[i][0] == '\0') {
            continue;
        }

        parts[i] =
            i == 0 ? name_layout(canvas, texts[i])
                   : cx_text_layout(canvas->cr, texts[i],
                                    i == 2 ? CX_WEIGHT_BOLD : CX_WEIGHT_REGULAR,
                                    SMALL_SIZE, TEXT_WIDTH, lines);
        height += height_of(parts[i]);
    }

    if (parts[0] != NULL) {
        height += BAR_ABOVE + BAR_HEIGHT;
        height += parts[1] != NULL || parts[2] != NULL ? BAR_BELOW : 0;
    }

    return parts[1] != NULL && parts[2] != NULL ? height + PART_GAP : height;
}


/* Name, bar, title, organisation: a block in the middle between the top and
 * `bottom`.  When it is too high, title and organisation get one line. */
static void
draw_text(const canvas_t *canvas, char *const *texts, int bottom)
{
    double y, height;
    PangoLayout *parts[PARTS];

    height = lay_out(canvas, texts, 2, parts);

    if (height > bottom - TEXT_TOP) {
        height = lay_out(canvas, texts, 1, parts);
    }

    y = TEXT_TOP + (bottom - TEXT_TOP - height) / 2;

    if (parts[0] != NULL) {
        y = draw_lines(canvas, parts[0], y, INK);
        y = draw_bar(canvas, y + BAR_ABOVE) + BAR_BELOW;
    }

    if (parts[1] != NULL) {
        y = draw_lines(canvas, parts[1], y, GREY) + PART_GAP;
    }

    if (parts[2] != NULL) {
        (void) draw_lines(canvas, parts[2], y, canvas->palette->accent);
    }
}


static void
draw_all(const canvas_t *canvas, char *const *texts, const cx_blob_t *photo,
         const cx_blob_t *logo)
{
    double x;

    x = place(canvas, FACE_X, 0);

    draw_ground(canvas);
    draw_ring(canvas, x);

    if (draw_photo(canvas, x, photo) == -1) {
        draw_monogram(canvas, x, texts[0]);
    }

    draw_text(canvas, texts, draw_logo(canvas, logo));
}


cx_reason_t
cx_draw_card(TALLOC_CTX *ctx, const cx_blob_t *name, const cx_blob_t *title,
             const cx_blob_t *organisation, const cx_blob_t *photo,
             const cx_blob_t *logo, cx_blob_t *webp)
{
    int i;
    char *all, *texts[PARTS];
    canvas_t canvas = { .ctx = ctx };
    cx_pixels_t pixels = { .width = WIDTH, .height = HEIGHT };
    cairo_surface_t *surface;
    const cx_blob_t *const blobs[PARTS] = { name, title, organisation };

    for (i = 0; i < PARTS; i++) {
        texts[i] =
            cx_text_clean(ctx, (const char *) blobs[i]->bytes, blobs[i]->len);
        if (texts[i] == NULL) {
            return CX_REASON_BROKEN;
        }
    }

    /* An organisation's card has no name but its own. */
    if (texts[0][0] == '\0') {
        texts[0] = texts[2];
        texts[2] = talloc_strdup(ctx, "");
    }

    pixels.bgra = talloc_zero_size(ctx, 4 * WIDTH * HEIGHT);
    if (texts[2] == NULL || pixels.bgra == NULL) {
        return CX_REASON_BROKEN;
    }

    all = talloc_asprintf(ctx, "%s %s %s", texts[0], texts[1], texts[2]);
    cx_text_language(all != NULL ? all : "");

    surface = surface_of(&pixels);
    canvas.cr = cairo_create(surface);
    canvas.palette = palette_of(texts[0]);
    canvas.rtl = cx_text_is_rtl(texts[0]);

    draw_all(&canvas, texts, photo, logo);

    cairo_destroy(canvas.cr);
    cairo_surface_flush(surface);

    return cx_pixels_webp(ctx, &pixels, webp);
}
