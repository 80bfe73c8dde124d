/* SPDX-License-Identifier: Apache-2.0
 *
 * gsp/plugin.h - what every plugin is: a descriptor, an options table, and host services.
 *
 * A plugin is one shared object `<kind>-<name>.so` that exports one symbol, gsp_plugin_entry, and
 * links nothing of gs_probackup. Rules that hold for every table in these headers:
 *  - The first field is struct_size. The core copies min(its size, yours) into a zeroed table of its
 *    own, so an older plugin has NULL where a newer table has an operation.
 *  - Tables only grow at the end. A new field, operation or flag raises the minor version; anything
 *    else raises the major, and with it the plugin directory.
 *  - A NULL operation is absent; each header says whether the core emulates it or requires it.
 *  - Unknown flag bits handed in are refused by the callee; unknown bits handed out are ignored.
 *  - Fixed-width types only; int as a return code is the one exception.
 *  - No plugin globals: load() makes the plugin's state, an open() makes instances.
 *  - A plugin does not exit, fork, change directory, umask, signals or locale, and writes nothing to
 *    stdout or stderr: it logs through the host.
 *  - Inputs are borrowed until the call returns. Strings in options live until the instance closes.
 *  - Every operation may be called after any other failed; close and free accept NULL.
 */
#ifndef GSP_PLUGIN_H
#define GSP_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#include "gsp/error.h"

#ifdef __cplusplus
extern "C" {
#endif

#define GSP_ABI_MAJOR 1
#define GSP_ABI_MINOR 0

/* Put before the definition of gsp_plugin_entry, the only symbol a plugin exports. */
#if defined(__GNUC__)
#define GSP_EXPORT __attribute__((visibility("default")))
#else
#define GSP_EXPORT
#endif

/* A WAL position: byte address in the server's WAL stream. Printed as %X/%X of its halves. */
typedef uint64_t gsp_lsn;
#define GSP_LSN_FMT "%X/%X"
#define GSP_LSN_ARGS(lsn) (uint32_t)((lsn) >> 32), (uint32_t)(lsn)

/* Kinds. A number is never used again. */
#define GSP_KIND_SERVER 1u     /* gsp/server.h */
#define GSP_KIND_MODE 2u       /* gsp/mode.h */
#define GSP_KIND_COMPRESSOR 3u /* gsp/compressor.h */
#define GSP_KIND_STORAGE 4u    /* gsp/storage.h */
#define GSP_KIND_RETENTION 5u  /* gsp/retention.h */

/* Thread models. ANY: every operation from any thread at any time. HANDLE: one thread at a time on
 * each handle that an open or ctx_new returned; different handles run in parallel. */
#define GSP_THREAD_ANY 1u
#define GSP_THREAD_HANDLE 2u

#define GSP_LOG_VERBOSE 1u
#define GSP_LOG_LOG 2u
#define GSP_LOG_INFO 3u
#define GSP_LOG_WARNING 4u

/* A store that another storage plugin opened for this one, see store_open. */
struct gsp_storage_ops;
struct gsp_store {
    const struct gsp_storage_ops *ops; /* gsp/storage.h; operations the plugin has not are NULL */
    void *store;                       /* what ops->open returned */
    void *core;                        /* the core's own, for store_close */
};

/* Services of the core, borrowed by the plugin from load() to unload(). Every function may be called
 * from any thread. ctx is passed back as it is. */
struct gsp_host {
    uint32_t struct_size;
    uint16_t abi_major, abi_minor;
    void *ctx;
    /* One event, one line, no newline at the end. Errors are returned, never logged. */
    void (*log)(void *ctx, uint32_t level, const char *fmt, ...) GSP_PRINTF(3, 4);
    /* Non-zero once the user asked to stop. An operation that blocks asks at least once a second
     * and returns GSP_E_CANCELLED. */
    int (*cancelled)(void *ctx);
    /* CRC-32C (Castagnoli), start with seed 0; crc32c(crc32c(0, a), b) == crc32c(0, a b). */
    uint32_t (*crc32c)(uint32_t seed, const void *data, size_t len);
    /* store_open - open a root in another storage plugin, found, loaded and given its options as if the
     * user had chosen it: for storages that wrap one (faults, traces, limits).
     * in     storage: the plugin's name; root: in its notation
     * thread main, not from load()   errors UNSUPPORTED (no such plugin), CONFIG (it would wrap itself
     * without end), and those of its open */
    int (*store_open)(void *ctx, const char *storage, const char *root, struct gsp_store *ret, struct gsp_error *err);
    /* store_close - close it. Every file and put of the store is closed before. */
    void (*store_close)(void *ctx, struct gsp_store *store);
};

/* Types of options, and what the core stores at `offset` of the plugin's options struct. */
#define GSP_OPT_BOOL 1u     /* int32_t 0 or 1; on/off, true/false, yes/no, 1/0 */
#define GSP_OPT_INT 2u      /* int64_t within min..max */
#define GSP_OPT_DURATION 3u /* int64_t microseconds; text with ms, s, min, h, d; bare number: seconds */
#define GSP_OPT_STRING 4u   /* const char *, never NULL unless def is NULL and nothing was set */
#define GSP_OPT_SECRET 5u   /* as STRING; never printed, shown as *** */

#define GSP_OPT_REQUIRED 1u /* flag: there is no default, somebody must set it */

/* One option of a plugin. Users reach it as kind.name.key in YAML and with --set; with legacy_key
 * also by that key of pg_probackup.conf, its environment variable and its command-line option. */
struct gsp_option {
    const char *key;  /* lower case, words joined by '-' */
    uint32_t type;    /* GSP_OPT_* */
    uint32_t flags;   /* GSP_OPT_REQUIRED */
    const char *def;  /* default as text, or NULL */
    const char *help; /* one line, no full stop */
    uint32_t offset;  /* of the field in the options struct */
    uint32_t reserved;
    int64_t min, max;       /* INT and DURATION (µs): inclusive; both 0 = not limited */
    const char *legacy_key; /* key in pg_probackup.conf, or NULL */
};

/* The descriptor. Everything it points to is constant and lives as long as the shared object. */
struct gsp_plugin {
    uint32_t struct_size;
    uint16_t abi_major, abi_minor;    /* the headers it was compiled with */
    uint32_t kind;                    /* GSP_KIND_* */
    uint32_t thread_model;            /* GSP_THREAD_* */
    const char *name;                 /* [a-z0-9_]{1,31}; file name is <kind>-<name>.so */
    const char *version;              /* of the plugin, free text */
    const char *summary;              /* one line */
    const struct gsp_option *options; /* ended by an entry with key NULL; NULL = no options */
    uint32_t options_size;            /* bytes of the options struct, <= 4096 */
    uint32_t reserved;
    const void *ops; /* the kind's table, see its header */
    /* load - make the plugin's state. host is borrowed until unload. May be NULL: state is NULL.
     * thread  main, before any worker starts */
    int (*load)(const struct gsp_host *host, void **ret_state, struct gsp_error *err);
    /* unload - free the state, after every handle is closed. May be NULL. */
    void (*unload)(void *state);
};

/* gsp_plugin_entry - the one exported symbol: returns the constant descriptor, does nothing else. */
GSP_EXPORT const struct gsp_plugin *gsp_plugin_entry(void);

#ifdef __cplusplus
}
#endif
#endif
