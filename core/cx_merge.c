#include "cx_merge.h"
#include "cx_buf.h"

#include <string.h>

/* One merge at work; everything belongs to `out`. */
typedef struct {
    const cx_merge_rules_t *rules;
    const cx_json_t *own;
    const cx_json_t *live;
    const cx_json_t *pinned;
    cx_json_t *out;
    cx_json_t *moved; /* "organizations/o1" of live: its id in out */
} merge_t;


bool
cx_json_same(const cx_json_t *a, const cx_json_t *b)
{
    size_t i;
    const cx_json_t *other;

    if (a == NULL || b == NULL) {
        return a == b;
    }

    if (a->type != b->type || a->n != b->n) {
        return false;
    }

    switch (a->type) {
    case CX_JSON_BOOLEAN:
        return a->boolean == b->boolean;
    case CX_JSON_NUMBER:
    case CX_JSON_STRING:
        return a->len == b->len && memcmp(a->text, b->text, a->len) == 0;
    case CX_JSON_NULL:
        return true;
    default:
        break;
    }

    for (i = 0; i < a->n; i++) {
        other = a->type == CX_JSON_OBJECT ? cx_json_get(b, a->items[i]->name)
                                          : b->items[i];

        if (!cx_json_same(a->items[i], other)) {
            return false;
        }
    }

    return true;
}


bool
cx_is_items(const cx_json_t *property)
{
    size_t i;

    if (property == NULL || property->type != CX_JSON_OBJECT
        || property->n == 0) {
        return false;
    }

    for (i = 0; i < property->n; i++) {
        if (property->items[i]->type != CX_JSON_OBJECT) {
            return false;
        }
    }

    return true;
}


/* A set: an object of trues, as keywords and members are. */
static bool
is_set(const cx_json_t *property)
{
    size_t i;

    for (i = 0; property != NULL && i < property->n; i++) {
        if (property->items[i]->type != CX_JSON_BOOLEAN) {
            return false;
        }
    }

    return property != NULL && property->type == CX_JSON_OBJECT
           && property->n > 0;
}


static bool
is_pinned(const merge_t *m, const char *property, const char *id)
{
    size_t i, len;
    const char *path;

    len = strlen(property);

    for (i = 0; m->pinned != NULL && i < m->pinned->n; i++) {
        path = m->pinned->items[i]->text;

        if (path == NULL || strncmp(path, property, len) != 0) {
            continue;
        }

        if (path[len] == '\0'
            || (id != NULL && path[len] == '/'
                && strcmp(path + len + 1, id) == 0)) {
            return true;
        }
    }

    return false;
}


static bool
same_label(const cx_json_t *a, const cx_json_t *b)
{
    bool same;
    char *x, *y;
    const char *first, *second;

    first = cx_json_text(a, "label");
    second = cx_json_text(b, "label");

    if (first == NULL || second == NULL) {
        return first == second;
    }

    x = cx_merge_text(NULL, first);
    y = cx_merge_text(NULL, second);
    same = strcmp(x, y) == 0;
    talloc_free(x);
    talloc_free(y);

    return same;
}


static bool
same_set(const cx_json_t *a, const cx_json_t *b)
{
    if ((a == NULL || a->n == 0) && (b == NULL || b->n == 0)) {
        return true;
    }

    return cx_json_same(a, b);
}


/* Fax beside voice, or a birthday beside a wedding, is another place. */
static bool
same_kind(const cx_json_t *a, const cx_json_t *b)
{
    size_t i;
    const char *x, *y;
    static const char *const names[] = { "kind", "service" };

    for (i = 0; i < 2; i++) {
        x = cx_json_text(a, names[i]);
        y = cx_json_text(b, names[i]);

        if ((x == NULL) != (y == NULL) || (x != NULL && strcmp(x, y) != 0)) {
            return false;
        }
    }

    a = cx_json_get(a, "features");
    b = cx_json_get(b, "features");

    return (cx_json_get(a, "fax") == NULL) == (cx_json_get(b, "fax") == NULL);
}


static bool
same_place(const cx_json_t *a, const cx_json_t *b)
{
    return same_set(cx_json_get(a, "contexts"), cx_json_get(b, "contexts"))
           && same_label(a, b) && same_kind(a, b);
}


/* The title's organization may stand under another id here. */
static cx_json_t *
moved_copy(merge_t *m, const cx_json_t *item)
{
    char *path;
    cx_json_t *copy;
    const char *id;

    copy = cx_json_copy(m->out, item);
    id = cx_json_text(copy, "organizationId");

    if (id != NULL) {
        path = cx_must(talloc_asprintf(m->out, "organizations/%s", id));
        id = cx_json_text(m->moved, path);

        if (id != NULL) {
            cx_json_put(copy, "organizationId", cx_json_string(copy, id));
        }

        talloc_free(path);
    }

    return copy;
}


static void
put_live(merge_t *m, cx_json_t *items, const char *property, const char *id,
         const cx_json_t *item)
{
    char *path;

    path = cx_must(talloc_asprintf(m->out, "%s/%s", property, item->name));
    cx_json_put(m->moved, path, cx_json_string(m->moved, id));
    talloc_free(path);
    cx_json_put(items, id, moved_copy(m, item));
}


/* The name of an item, or one like it that is free; ids are of 255 characters
 * at most (RFC 9553, 1.4.1). */
static char *
free_name(TALLOC_CTX *ctx, const cx_json_t *items, const cx_json_t *own,
          const char *name)
{
    unsigned n;
    char *id;
    size_t len;

    len = strlen(name);

    if (len > 240) {
        for (len = 240; ((unsigned char) name[len] & 0xC0) == 0x80; len--) {
            /* void */
        }
    }

    id = cx_must(talloc_strdup(ctx, name));

    for (n = 2; cx_json_get(items, id) != NULL || cx_json_get(own, id) != NULL;
         n++) {
        talloc_free(id);
        id = cx_must(talloc_asprintf(ctx, "%.*s-%u", (int) len, name, n));
    }

    return id;
}


static void
add_live(merge_t *m, cx_json_t *items, const char *property,
         const cx_json_t *own, const cx_json_t *item)
{
    char *id;

    id = free_name(m->out, items, own, item->name);
    put_live(m, items, property, id, item);
    talloc_free(id);
}


/* What a name says who or what it is of, as relatedTo (RFC 9553, 2.1.8): the
 * name is the place, too. */
static void
merge_named(merge_t *m, const char *property, const cx_json_t *live)
{
    size_t i;
    cx_json_t *items;

    items = cx_json_get(m->out, property);

    if (items == NULL) {
        items = cx_json_put(m->out, property, cx_json_object(m->out));
    }

    for (i = 0; i < live->n; i++) {
        if (!is_pinned(m, property, live->items[i]->name)) {
            put_live(m, items, property, live->items[i]->name, live->items[i]);
        }
    }
}


/* Which of own's items each live one is: `which` has for each item of live
 * the number of own's, or -1; `taken` for each of own's whether it is one. */
static void
match_equal(merge_t *m, const char *property, const cx_json_t *own,
            const cx_json_t *live, long *which, bool *taken)
{
    size_t i, j;
    char **values, *value;

    values = cx_must(talloc_array(m->out, char *, own->n));

    for (j = 0; j < own->n; j++) {
        values[j] = cx_merge_value(values, m->rules, property, own->items[j]);
    }

    for (i = 0; i < live->n; i++) {
        which[i] = -1;
        value = cx_merge_value(values, m->rules, property, live->items[i]);

        for (j = 0; j < own->n; j++) {
            if (!taken[j] && strcmp(value, values[j]) == 0) {
                which[i] = (long) j;
                taken[j] = true;
                break;
            }
        }
    }

    talloc_free(values);
}


static void
merge_items(merge_t *m, const char *property, const cx_json_t *own,
            const cx_json_t *live)
{
    long *which;
    bool *taken;
    size_t i, j;
    cx_json_t *items;

    which = cx_must(talloc_array(m->out, long, live->n));
    taken = cx_must(talloc_zero_array(m->out, bool, own->n));
    items = cx_json_put(m->out, property, cx_json_copy(m->out, own));
    match_equal(m, property, own, live, which, taken);

    for (i = 0; i < live->n; i++) {
        if (which[i] >= 0) {
            char *path = cx_must(talloc_asprintf(m->out, "%s/%s", property,
                                                 live->items[i]->name));

            cx_json_put(m->moved, path,
                        cx_json_string(m->moved, own->items[which[i]]->name));
            talloc_free(path);
            continue;
        }

        for (j = 0; j < own->n; j++) {
            if (!taken[j] && same_place(own->items[j], live->items[i])) {
                break;
            }
        }

        if (j == own->n) {
            add_live(m, items, property, own, live->items[i]);
            continue;
        }

        taken[j] = true;

        if (!is_pinned(m, property, own->items[j]->name)) {
            put_live(m, items, property, own->items[j]->name, live->items[i]);
        }
    }

    talloc_free(which);
    talloc_free(taken);
}


static void
merge_set(merge_t *m, const char *property, const cx_json_t *live)
{
    size_t i;
    cx_json_t *set;

    set = cx_json_get(m->out, property);

    for (i = 0; i < live->n; i++) {
        if (cx_json_get(set, live->items[i]->name) == NULL) {
            cx_json_put(set, live->items[i]->name,
                        cx_json_copy(set, live->items[i]));
        }
    }
}


/* A list, as vCardProps: what is not in it yet. */
static void
merge_list(merge_t *m, const char *property, const cx_json_t *live)
{
    size_t i, j;
    cx_json_t *list;

    list = cx_json_get(m->out, property);

    for (i = 0; i < live->n; i++) {
        for (j = 0; j < list->n; j++) {
            if (cx_json_same(list->items[j], live->items[i])) {
                break;
            }
        }

        if (j == list->n) {
            cx_json_append(list, cx_json_copy(list, live->items[i]));
        }
    }
}


static void
merge_single(merge_t *m, const char *property, const cx_json_t *own,
             const cx_json_t *live)
{
    bool same;
    char *a, *b;

    a = cx_merge_value(m->out, m->rules, property, own);
    b = cx_merge_value(m->out, m->rules, property, live);
    same = strcmp(a, b) == 0;
    talloc_free(a);
    talloc_free(b);

    if (!same) {
        cx_json_put(m->out, property, cx_json_copy(m->out, live));
        cx_json_put(m->moved, property, cx_json_string(m->moved, property));
    }
}


static void
merge_property(merge_t *m, const cx_json_t *live)
{
    const char *property = live->name;
    const cx_json_t *own;

    own = cx_json_get(m->own, property);

    if (is_pinned(m, property, NULL)) {
        return;
    }

    if (own == NULL && !cx_is_items(live)) {
        cx_json_put(m->out, property, cx_json_copy(m->out, live));
        cx_json_put(m->moved, property, cx_json_string(m->moved, property));

    } else if (strcmp(property, "relatedTo") == 0 && cx_is_items(live)
               && (own == NULL || own->type == CX_JSON_OBJECT)) {
        merge_named(m, property, live);

    } else if ((own == NULL || cx_is_items(own) || own->n == 0)
               && cx_is_items(live)) {
        cx_json_t *none = cx_json_object(m->out);

        merge_items(m, property,
                    own != NULL && own->type == CX_JSON_OBJECT ? own : none,
                    live);
        talloc_free(none);

    } else if (is_set(own) && is_set(live)) {
        merge_set(m, property, live);

    } else if (own->type == CX_JSON_ARRAY && live->type == CX_JSON_ARRAY) {
        merge_list(m, property, live);

    } else {
        merge_single(m, property, own, live);
    }
}


/* A translation follows what it translates (RFC 9553, 2.7.1): that must be
 * live's here, under the id that it has there. */
static bool
patch_holds(merge_t *m, const char *path)
{
    char *head;
    size_t len;
    bool holds;
    const char *id;

    len = strcspn(path, "/");
    head = cx_must(talloc_strndup(m->out, path, len));
    holds = cx_json_get(m->moved, head) != NULL;
    talloc_free(head);

    if (holds || path[len] == '\0') {
        return holds;
    }

    id = path + len + 1;
    len += 1 + strcspn(id, "/");
    head = cx_must(talloc_strndup(m->out, path, len));
    id = cx_json_text(m->moved, head);
    holds = id != NULL && strcmp(id, strchr(head, '/') + 1) == 0;
    talloc_free(head);

    return holds;
}


static void
merge_localizations(merge_t *m, const cx_json_t *live)
{
    size_t i, j;
    cx_json_t *all, *language;
    const cx_json_t *patches;

    all = cx_json_get(m->out, "localizations");

    if (is_pinned(m, "localizations", NULL) || live->type != CX_JSON_OBJECT
        || (all != NULL && all->type != CX_JSON_OBJECT)) {
        return;
    }

    for (i = 0; i < live->n; i++) {
        patches = live->items[i];

        for (j = 0; j < patches->n; j++) {
            if (patches->items[j]->name == NULL
                || !patch_holds(m, patches->items[j]->name)) {
                continue;
            }

            if (all == NULL) {
                all = cx_json_put(m->out, "localizations",
                                  cx_json_object(m->out));
            }

            language = cx_json_get(all, patches->name);

            if (language == NULL) {
                language = cx_json_put(all, patches->name, cx_json_object(all));
            }

            cx_json_put(language, patches->items[j]->name,
                        cx_json_copy(language, patches->items[j]));
        }
    }
}


/* The later one is when what is shown was changed. */
static void
merge_updated(merge_t *m)
{
    const char *own, *live;

    own = cx_json_text(m->own, "updated");
    live = cx_json_text(m->live, "updated");

    if (live != NULL && (own == NULL || strcmp(live, own) > 0)) {
        cx_json_put(m->out, "updated", cx_json_string(m->out, live));
    }
}


static bool
is_entry(const char *name)
{
    return strcmp(name, "@type") == 0 || strcmp(name, "version") == 0
           || strcmp(name, "uid") == 0 || strcmp(name, "updated") == 0
           || strcmp(name, "localizations") == 0;
}


cx_json_t *
cx_merge(TALLOC_CTX *ctx, const cx_merge_rules_t *rules, const cx_json_t *own,
         const cx_json_t *live, const cx_json_t *pinned)
{
    size_t i;
    merge_t m;
    const cx_json_t *uid;

    m.rules = rules;
    m.own = own;
    m.live = live;
    m.pinned = pinned;
    m.out = cx_json_copy(ctx, own);

    if (live == NULL) {
        return m.out;
    }

    m.moved = cx_json_object(m.out);
    uid = cx_json_get(live, "uid");

    if (cx_json_get(own, "uid") == NULL && uid != NULL) {
        cx_json_put(m.out, "uid", cx_json_copy(m.out, uid));
    }

    /* titles name organizations, which are to be known by then */
    if (cx_json_get(live, "organizations") != NULL) {
        merge_property(&m, cx_json_get(live, "organizations"));
    }

    for (i = 0; i < live->n; i++) {
        if (!is_entry(live->items[i]->name)
            && strcmp(live->items[i]->name, "organizations") != 0) {
            merge_property(&m, live->items[i]);
        }
    }

    merge_updated(&m);

    if (cx_json_get(live, "localizations") != NULL) {
        merge_localizations(&m, cx_json_get(live, "localizations"));
    }

    talloc_free(m.moved);

    return m.out;
}


static void
add_change(cx_json_t *changes, const char *property, const char *id,
           const cx_json_t *old, const cx_json_t *new)
{
    char *path;
    cx_json_t *change;

    if (cx_json_same(old, new)) {
        return;
    }

    change = cx_json_append(changes, cx_json_object(changes));
    path =
        cx_must(talloc_asprintf(change, "%s%s%s", property,
                                id != NULL ? "/" : "", id != NULL ? id : ""));
    cx_json_put(change, "path", cx_json_string(change, path));
    talloc_free(path);

    if (old != NULL) {
        cx_json_put(change, "old", cx_json_copy(change, old));
    }

    if (new != NULL) {
        cx_json_put(change, "new", cx_json_copy(change, new));
    }
}


static void
property_changes(cx_json_t *changes, const char *property, const cx_json_t *old,
                 const cx_json_t *new)
{
    size_t i;

    if ((old != NULL && !cx_is_items(old))
        || (new != NULL && !cx_is_items(new))) {
        add_change(changes, property, NULL, old, new);
        return;
    }

    for (i = 0; old != NULL && i < old->n; i++) {
        add_change(changes, property, old->items[i]->name, old->items[i],
                   cx_json_get(new, old->items[i]->name));
    }

    for (i = 0; new != NULL &&i < new->n; i++) {
        if (cx_json_get(old, new->items[i]->name) == NULL) {
            add_change(changes, property, new->items[i]->name, NULL,
                       new->items[i]);
        }
    }
}


cx_json_t *
cx_merge_changes(TALLOC_CTX *ctx, const cx_json_t *before,
                 const cx_json_t *after)
{
    size_t i;
    cx_json_t *changes;

    changes = cx_json_array(ctx);

    for (i = 0; before != NULL && i < before->n; i++) {
        if (strcmp(before->items[i]->name, "updated") != 0) {
            property_changes(changes, before->items[i]->name, before->items[i],
                             cx_json_get(after, before->items[i]->name));
        }
    }

    for (i = 0; after != NULL && i < after->n; i++) {
        if (strcmp(after->items[i]->name, "updated") != 0
            && cx_json_get(before, after->items[i]->name) == NULL) {
            property_changes(changes, after->items[i]->name, NULL,
                             after->items[i]);
        }
    }

    return changes;
}
