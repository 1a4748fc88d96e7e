/*
 * What reading (cx_json_read.c) and the rest (cx_json.c) share.
 */

#ifndef CX_JSON_NODE_H
#define CX_JSON_NODE_H

#include "cx_buf.h"
#include "cx_json.h"

/* A node and its texts in one piece of memory: most of a tree's nodes are
 * strings, and talloc's own header is large.  `name` and `text` may be NULL. */
cx_json_t *cx_json_node(TALLOC_CTX *ctx, cx_json_type_t type, const char *name,
                        size_t name_len, const char *text, size_t len);

/* Puts a node, which has its owner and name already, at the end. */
void cx_json_attach(cx_json_t *container, cx_json_t *value);

/* For qsort() and bsearch() of nodes. */
int cx_json_by_name(const void *a, const void *b);

/* The members sorted by name, owned by the object; NULL if there are none. */
cx_json_t **cx_json_sorted(const cx_json_t *object);

#endif
