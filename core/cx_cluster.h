/*
 * Redis Cluster, as far as it is words: which slot a name is in, which node
 * has a slot, and where a node says that a slot has gone.
 *
 * The map is read from CLUSTER NODES: one text, whose addresses are numeric
 * whatever the cluster announces, so that nobody resolves names.
 *
 * What a node keeps of its own (CX_EPOCH, CX_READY) has a name whose tag is
 * in one of its slots, the node's mark.  Which one is told by the node's id
 * and slots alone, so that all who read the map find the same name, and it
 * seldom changes when slots move.
 */

#ifndef CX_CLUSTER_H
#define CX_CLUSTER_H

#include <stddef.h>
#include <stdint.h>

#define CX_SLOTS 16384
#define CX_NODES_MAX 255
#define CX_NO_NODE 255
#define CX_HOST_MAX 46 /* a numeric address with its NUL */
#define CX_TAG_MAX 8   /* a tag with its NUL */

typedef struct {
    char host[CX_HOST_MAX];
    uint16_t port;
    uint16_t mark; /* a slot of the node */
} cx_node_t;

typedef struct {
    unsigned n;
    cx_node_t nodes[CX_NODES_MAX]; /* those that have slots */
    uint8_t owner[CX_SLOTS];       /* place in nodes, or CX_NO_NODE */
} cx_cluster_t;

typedef enum {
    CX_REDIRECT_NONE, /* another error, or not understood */
    CX_REDIRECT_MOVED,
    CX_REDIRECT_ASK
} cx_redirect_kind_t;

typedef struct {
    cx_redirect_kind_t kind;
    unsigned slot;
    char host[CX_HOST_MAX]; /* empty: that of the node which said so */
    uint16_t port;
} cx_redirect_t;

/* The slot of a name: of its tag between { and }, if it has one. */
unsigned cx_slot(const char *name, size_t len);

/* The smallest number in decimal that is in the slot; returns its length. */
size_t cx_slot_tag(char out[CX_TAG_MAX], unsigned slot);

/* Reads the answer to CLUSTER NODES.  `host` is where it was asked, for a
 * node that does not know its own address yet.  -1: malformed, or there are
 * no slots, or too many nodes; the map is then of no use. */
int cx_cluster_read(cx_cluster_t *map, const char *text, size_t len,
                    const char *host);

/* "MOVED <slot> <host>:<port>" or "ASK ..."; else the kind is NONE. */
void cx_redirect_error_read(const char *text, size_t len, cx_redirect_t *out);

/* Which word of a command is its key, counted from 0; 0: it has none, any
 * node will do. */
int cx_command_key(const char *command, size_t len);

#endif
