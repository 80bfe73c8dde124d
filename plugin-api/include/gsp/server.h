/* SPDX-License-Identifier: Apache-2.0
 *
 * gsp/server.h - kind "server": what a database speaks and what its files mean.
 *
 * Two tables. The dialect is pure: no connection, no I/O of its own, usable wherever the files are.
 * The session talks to a running server and exists only in the process that coordinates a backup.
 *
 * thread  dialect ANY; session MAIN, except wal_stream which runs on a thread of its own
 * Required: everything in both tables.
 */
#ifndef GSP_SERVER_H
#define GSP_SERVER_H

#include "gsp/plugin.h"
#include "gsp/storage.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- the cluster as its control file describes it ---------------------------------------------- */

struct gsp_cluster {
    uint32_t struct_size;
    uint32_t control_version;  /* format of the control file, e.g. 1300 */
    uint32_t catalog_version;  /* e.g. 202209061 */
    uint32_t page_size;        /* bytes */
    uint32_t segment_blocks;   /* blocks of a relation segment file, e.g. 131072 */
    uint32_t wal_block_size;   /* bytes */
    uint32_t wal_segment_size; /* bytes */
    uint32_t checksum_version; /* 0 = page checksums are off */
    uint32_t timeline;         /* of the last checkpoint */
    uint32_t running;          /* non-zero: the file says the server was not shut down cleanly */
    uint64_t system_id;
    gsp_lsn redo_lsn; /* of the last checkpoint */
    char version[16]; /* as in `server-version` of a catalog: "15", "9.2" */
    /* Directory of this major version in a tablespace, "PG_15_202209061". "PG_9.2_201611171" of openGauss goes on with
     * '_' and the name of the node, which the control file does not tell. */
    char tablespace_dir[64];
};

/* ---- classification ---------------------------------------------------------------------------- */

#define GSP_CLASS_SKIP 0u       /* not part of a backup */
#define GSP_CLASS_COPY 1u       /* regular file, byte for byte */
#define GSP_CLASS_PAGES 2u      /* regular file of pages, checked and compressed page by page */
#define GSP_CLASS_CONTROL 3u    /* the control file: copied last, restored last */
#define GSP_CLASS_DESCEND 4u    /* directory, its entries are classified in turn */
#define GSP_CLASS_EMPTY 5u      /* directory, kept without its content */
#define GSP_CLASS_TABLESPACE 6u /* directory reached through a link that is a user tablespace: DESCEND */

/* Flags of a class. */
#define GSP_CLASS_REBUILT                                                                      \
    1u /* PAGES: the server makes the file anew where it is missing, and trusts it against the \
        * relation's main fork where it is there (a visibility map) */
#define GSP_CLASS_SPARSE                                                                       \
    2u /* COPY: the server gives back what it does not use of the file, so its zeros are to be \
        * holes again in a restored cluster */
#define GSP_CLASS_OWN_SUMS                                                                           \
    4u /* COPY: parts of the file end with a CRC-32C of their own, so that the checksum of the whole \
        * stays the same whatever changes in them: an incremental backup takes it always */
#define GSP_CLASS_EXTENTS                                                                           \
    8u /* PAGES: the server may keep extents of the file compressed, where there are no pages then. \
        * With one such extent (see the dialect) the file is copied byte for byte */

struct gsp_class {
    uint32_t action;  /* GSP_CLASS_* */
    uint32_t db_oid;  /* database the entry belongs to, 0 = none or shared */
    uint32_t segment; /* PAGES: segment number of the file within its relation fork */
    /* PAGES: the relation whose main fork this is a segment of, as in gsp_change, when a change of any of
     * its blocks gives the page a new LSN and stands in WAL with the block's number. 0 = not so (other forks): an
     * incremental backup takes such a file whole whenever it differs. */
    uint32_t relation;
    uint32_t space_oid; /* tablespace of the relation, as in gsp_change */
    uint32_t flags;     /* GSP_CLASS_* flags */
};

/* Flags of classify. */
#define GSP_CLASSIFY_LOGS 1u  /* server log files are wanted */
#define GSP_CLASSIFY_SLOTS 2u /* replication slots are wanted */

/* ---- pages ------------------------------------------------------------------------------------- */

#define GSP_PAGE_OK 0u
#define GSP_PAGE_ZERO 1u     /* all zeros: valid, never written by the server */
#define GSP_PAGE_HEADER 2u   /* the header makes no sense */
#define GSP_PAGE_CHECKSUM 3u /* the stored checksum differs from the computed one */

/* Pages of one file. Page i starts at data + i * stride and is page_size bytes; the arrays have n
 * entries and belong to the caller. */
struct gsp_pages {
    uint32_t struct_size;
    uint32_t n;
    uint32_t page_size;
    uint32_t stride;       /* bytes from page to page, >= page_size, multiple of 8 */
    uint64_t base_block;   /* relation block number of the file's block 0 */
    const uint8_t *data;   /* aligned to 8 */
    const uint32_t *block; /* block number within the file */
    gsp_lsn *lsn;          /* out: page LSN, 0 for a zero page */
    uint16_t *sum;         /* out: computed checksum, 0 for a zero page or with checksums off */
    uint16_t *stored_sum;  /* out: checksum the page carries */
    uint8_t *state;        /* out: GSP_PAGE_* */
};

/* ---- relations that the server keeps compressed ------------------------------------------------- */

/* A part of such a file, made of the logical pages that the stock tool stores instead of the file's bytes. Every part
 * but the last one has extent_pages pages and extent_bytes bytes (see the dialect). */
struct gsp_extent {
    uint32_t struct_size;
    uint32_t n;          /* pages, at most extent_pages; 0 asks whether the file list's two values are known */
    uint32_t first;      /* logical block number of the first one within the file */
    uint32_t segment;    /* of the file within its relation */
    uint32_t chunk_size; /* compressedChunkSize and */
    uint32_t algorithm;  /* compressedAlgorithm of the file list */
    uint8_t *pages;      /* n pages of page_size, one behind the other; the call changes them */
    uint8_t *bytes;      /* out: extent_bytes bytes, all zero before */
    uint32_t hole;       /* out: offset in bytes, and */
    uint32_t hole_end;   /* end of what is to be a hole of the file */
    uint32_t tolerant;   /* non-zero: a page that the server cannot have made counts as zeros, */
    uint32_t lost;       /* out: and is counted here */
};

/* ---- WAL --------------------------------------------------------------------------------------- */

/* Where WAL segments are read from; the core implements it over a storage. */
struct gsp_wal_source {
    void *ctx;
    /* Read at offset of a segment file. Returns bytes (0 = end) or a code, NOENT without the file. */
    int64_t (*read)(void *ctx, const char *segment, uint64_t offset, void *buf, uint32_t len, struct gsp_error *err);
};

/* ---- changed blocks ---------------------------------------------------------------------------- */

#define GSP_CHANGE_BLOCKS 1u /* `count` blocks from `block` on were changed */
#define GSP_CHANGE_FROM 2u   /* every block from `block` on: the relation was made anew, or cut there */
#define GSP_CHANGE_DATABASE                                                                \
    3u /* every block of every relation of the database in this tablespace: files were put \
        * there without a word about their blocks */

/* A change of a relation's main fork. Changes of other forks are left out: nobody asks for them. */
struct gsp_change {
    uint32_t kind; /* GSP_CHANGE_* */
    uint32_t space_oid, db_oid, relation;
    uint32_t block; /* of the relation, counted over its segments */
    uint32_t count;
};

/* Takes changes in batches, in any order, the same one any number of times. Non-zero stops and is returned. */
typedef int (*gsp_change_cb)(void *arg, const struct gsp_change *changes, uint32_t n, struct gsp_error *err);

/* ---- recovery ---------------------------------------------------------------------------------- */

#define GSP_RECOVERY_NONE 0u /* as far as there is WAL */
#define GSP_RECOVERY_TIME 1u
#define GSP_RECOVERY_XID 2u
#define GSP_RECOVERY_LSN 3u
#define GSP_RECOVERY_NAME 4u      /* a restore point */
#define GSP_RECOVERY_IMMEDIATE 5u /* as soon as the cluster is consistent */

/* Flags of a recovery. */
#define GSP_RECOVERY_INCLUSIVE 1u /* what the target names is part of it; neither of the two: as the server does */
#define GSP_RECOVERY_EXCLUSIVE 2u
#define GSP_RECOVERY_LOCAL 4u /* all WAL up to the target lies in wal_dir: no command is needed to fetch any */

/* Where the server is to end recovery, and where it gets WAL from. */
struct gsp_recovery {
    uint32_t struct_size;
    uint32_t kind;               /* GSP_RECOVERY_* */
    uint32_t flags;              /* GSP_RECOVERY_* flags */
    uint32_t timeline;           /* to follow; 0 = as the server does */
    const char *text;            /* the target; a time is "2026-05-01 10:20:30.5+02". NULL for NONE and IMMEDIATE */
    const char *restore_command; /* NULL = none */
    int64_t time_us;             /* TIME: the same */
    uint64_t xid;                /* XID: the same */
    gsp_lsn lsn;                 /* LSN: the same */
};

#define GSP_RECOVERY_FILE_APPEND                                                                  \
    1u /* the text goes to the end of what the file holds, where it takes the place of that of an \
        * earlier restore; the core marks it with comment lines ("# ..."). Empty: only that */

/* A file that has to do with recovery. */
struct gsp_recovery_file {
    const char *path; /* below the data directory */
    const char *text; /* NULL = the file must not be there */
    uint32_t mode;    /* of a file that is not there yet */
    uint32_t flags;   /* GSP_RECOVERY_FILE_* */
};

/* Takes the files one by one; they are borrowed. Non-zero stops and is returned. */
typedef int (*gsp_recovery_cb)(void *arg, const struct gsp_recovery_file *file, struct gsp_error *err);

/* How far a search in WAL came. */
struct gsp_wal_reach {
    uint32_t struct_size;
    uint32_t reached; /* non-zero: recovery would end at the target */
    gsp_lsn end;      /* behind the last record that was read */
    uint64_t xid;     /* the last transaction that ended; 0 = none did. Only the low 32 bits count */
    int64_t time_us;  /* and when */
};

struct gsp_dialect_ops {
    uint32_t struct_size;
    uint32_t reserved;

    const char *control_path;    /* "global/pg_control" */
    const char *wal_dir;         /* "pg_wal"; segments are named TTTTTTTTXXXXXXXXYYYYYYYY */
    const char *label_file;      /* "backup_label" */
    const char *map_file;        /* "tablespace_map" */
    const char *pid_file;        /* "postmaster.pid": first line is the server's pid while it runs */
    const char *tablespace_root; /* "pg_tblspc" */

    /* bid - how sure is this dialect that the control file is its own? 0 (not mine) to 100. */
    int (*bid)(const void *control, uint32_t len);

    /* control_parse - read a control file. ret->struct_size is set by the caller.
     * errors CORRUPT (checksum, length) VERSION (newer than known: names the newest known) */
    int (*control_parse)(const void *control, uint32_t len, struct gsp_cluster *ret, struct gsp_error *err);

    /* control_crc - the checksum field inside the control file, as `crc` of its line in a file list. */
    int (*control_crc)(const void *control, uint32_t len, uint32_t *ret, struct gsp_error *err);

    /* classify - what to do with the entries of one directory. All entries of the directory are given
     * at once, because a fork can decide about its siblings (unlogged relations).
     * in     dir: relative path, "" = data directory; entries[n] in any order
     * out    ret[n], caller's array */
    int (*classify)(const struct gsp_cluster *cluster, uint32_t flags, const char *dir,
        const struct gsp_dirent *entries, uint32_t n, struct gsp_class *ret, struct gsp_error *err);

    /* pages_check - header sanity, LSN and checksum of every page of a batch. Cannot fail: the verdict
     * is per page. Cost: one pass over the bytes. */
    void (*pages_check)(const struct gsp_cluster *cluster, struct gsp_pages *pages);

    /* wal_verify - decode every record from `from` up to the record that ends at or after `to`.
     * out    ret_end: LSN behind the last decoded record (set on failure too: how far it went)
     * errors CORRUPT NOENT, naming LSN and segment */
    int (*wal_verify)(const struct gsp_cluster *cluster, const struct gsp_wal_source *source, uint32_t timeline,
        gsp_lsn from, gsp_lsn to, gsp_lsn *ret_end, struct gsp_error *err);

    /* wal_changes - every change in the records that start in [from, to), for mode PAGE. One call is given a part of
     * the WAL that is to be read, others run beside it on other parts.
     * in     from: the start of a record, or of a segment: the rest of a record that began before is passed over;
     *        timeline: of the segment files to read
     * errors CORRUPT NOENT, naming LSN and segment; UNSUPPORTED when the WAL does not name every change, with the way
     *        out as hint. NULL = not known for this database: mode PAGE is refused */
    int (*wal_changes)(const struct gsp_cluster *cluster, const struct gsp_wal_source *source, uint32_t timeline,
        gsp_lsn from, gsp_lsn to, gsp_change_cb cb, void *arg, struct gsp_error *err);

    /* recovery_files - what makes the server recover so when it is started for the first time, and afterwards open the
     * cluster for use. NONE without a command means no recovery but that of the backup: then, too, what asks for one is
     * told to go.
     * errors CONFIG: a value that the server's settings cannot hold. NULL = not known for this database: targets are
     * refused */
    int (*recovery_files)(const struct gsp_cluster *cluster, const struct gsp_recovery *recovery, gsp_recovery_cb cb,
        void *arg, struct gsp_error *err);

    /* wal_find_target - would recovery that reads all WAL from `from` on end at the target?
     * in     from: the start of a record; after: what begins before cannot be the target; target: TIME, XID, LSN or
     *        NAME; timeline: of the segment files to read
     * out    ret: also after a failure; struct_size is set by the caller
     * errors the WAL ends before the target: NOENT CORRUPT, naming LSN and segment. NULL = not known for this database
     */
    int (*wal_find_target)(const struct gsp_cluster *cluster, const struct gsp_wal_source *source, uint32_t timeline,
        gsp_lsn from, gsp_lsn after, const struct gsp_recovery *target, struct gsp_wal_reach *ret,
        struct gsp_error *err);

    uint32_t extent_pages; /* of struct gsp_extent; 0 = the server compresses no files */
    uint32_t extent_bytes;
    /* extent_build - the bytes of a part of a compressed relation's file. Every page is checked first.
     * errors CORRUPT (a page that the server cannot have made: names the block) UNSUPPORTED (chunk size or algorithm).
     * NULL = not known for this database: such files of a backup are not restored */
    int (*extent_build)(const struct gsp_cluster *cluster, struct gsp_extent *extent, struct gsp_error *err);
    /* extent_is_compressed - is what ends with this page, the last one of extent_bytes bytes, kept compressed? Asked of
     * files with GSP_CLASS_EXTENTS. NULL = no file has that flag */
    int (*extent_is_compressed)(const struct gsp_cluster *cluster, const void *last_page);
};

/* ---- session ----------------------------------------------------------------------------------- */

struct gsp_identity {
    uint32_t struct_size;
    uint32_t version_num; /* e.g. 150018 */
    uint64_t system_id;
    uint32_t in_recovery; /* non-zero: a standby */
    uint32_t page_size, wal_block_size;
    uint32_t checksums;        /* non-zero: on */
    char version[64];          /* for people */
    char data_directory[1024]; /* as the server names it; "" when the role may not see it */
};

#define GSP_BEGIN_SMOOTH 1u /* flag of backup_begin: spread the checkpoint */

struct gsp_begin {
    uint32_t struct_size;
    uint32_t timeline;
    gsp_lsn start_lsn;
};

struct gsp_end {
    uint32_t struct_size;
    uint32_t reserved;
    gsp_lsn stop_lsn;
    uint64_t recovery_xid;    /* next transaction id at the stop */
    int64_t recovery_time_us; /* earliest time target that is reachable */
    const char *label;        /* content of label_file; owned by the session until close */
    const char *map;          /* content of map_file, "" = no tablespaces; the same */
};

#define GSP_WAL_TEMP_SLOT 1u /* flag of wal_open: make a slot that goes at the latest with wal_close */

/* A callback of wal_stream. n bytes of WAL at `at`; n == 0 on a quiet stream, several times a second.
 * Returns 0 to go on, 1 to end the stream cleanly, or a code. */
typedef int (*gsp_wal_cb)(void *arg, gsp_lsn at, const void *data, uint32_t n, struct gsp_error *err);

/* ---- probes ------------------------------------------------------------------------------------ */

#define GSP_PROBE_OK 0u
#define GSP_PROBE_WARNING 1u /* backups work, but not as well or as long as they should */
#define GSP_PROBE_ERROR 2u   /* the next backup would fail */

/* One thing that was looked at. Strings are borrowed until the callback returns, and one line each. */
struct gsp_probe {
    uint32_t struct_size;
    uint32_t state;    /* GSP_PROBE_* */
    const char *name;  /* lower case, words joined by '-'; several probes may share it */
    const char *found; /* for people */
    const char *fix;   /* what to do about it, best a statement to run; NULL with OK */
};

/* Takes the probes one by one. Non-zero stops and is returned. */
typedef int (*gsp_probe_cb)(void *arg, const struct gsp_probe *probe, struct gsp_error *err);

#define GSP_CHECK_CHANGED_BLOCKS 1u /* flag of check: backups of mode PTRACK are taken of this server */

struct gsp_server_ops {
    uint32_t struct_size;
    uint32_t reserved;
    const struct gsp_dialect_ops *dialect;

    /* open - connect. Asks for nothing interactively. opts: the bound options struct.
     * errors NET (no server, with what to check) PERM (login) SERVER VERSION
     *        PERM with err->where "password": the server wants a password and none was given; the caller may
     *        ask for one, set it in opts and open again */
    int (*open)(void *state, const void *opts, void **ret_srv, struct gsp_error *err);
    /* close - end the session; a backup that was begun and not ended is over with it, on the server too. */
    void (*close)(void *srv);
    /* identify - who is at the other end. ret->struct_size is set by the caller. */
    int (*identify)(void *srv, struct gsp_identity *ret, struct gsp_error *err);

    /* backup_begin - put the server into backup mode and wait for its checkpoint.
     * errors CANCELLED SERVER PERM (naming the missing right) */
    int (*backup_begin)(void *srv, const char *label, uint32_t flags, struct gsp_begin *ret, struct gsp_error *err);
    /* backup_end - leave backup mode. restore_point: name to create first where the server is not a
     * standby. timeout_us bounds the wait. errors TIMEOUT CANCELLED SERVER */
    int (*backup_end)(
        void *srv, const char *restore_point, int64_t timeout_us, struct gsp_end *ret, struct gsp_error *err);

    /* databases - every database but the templates. */
    int (*databases)(void *srv, int (*cb)(void *arg, uint32_t oid, const char *name), void *arg, struct gsp_error *err);

    /* wal_open - a replication connection of its own, before backup_begin, so that a slot holds the WAL.
     * in     slot: name of an existing slot, or of the temporary one to make; NULL = none (or, with
     *        TEMP_SLOT, a name of the plugin's choice; none where a slot could outlive a killed backup)
     * out    ret_wal: closed by wal_close, which also drops the temporary slot
     * errors SERVER when no slot can be had: the core then asks again without one, unless the user named one
     *        NET PERM */
    int (*wal_open)(void *srv, const char *slot, uint32_t flags, void **ret_wal, struct gsp_error *err);
    /* wal_stream - receive WAL from `from` (start of a segment) on until the callback ends it.
     * thread own      errors NET SERVER TIMEOUT CANCELLED */
    int (*wal_stream)(void *wal, gsp_lsn from, uint32_t timeline, gsp_wal_cb cb, void *arg, struct gsp_error *err);
    void (*wal_close)(void *wal);

    /* changed_blocks - what the server itself knows of the changes on one timeline in [from, to), for mode PTRACK.
     * Waits until it has looked at its WAL up to `to`, at most timeout_us. Rows are handed on as they come.
     * errors UNSUPPORTED (no such map in this version, or switched off: the hint says what to do) NOENT (it does not
     *        reach back to `from`: the hint says why that happens) TIMEOUT CANCELLED SERVER NET PERM
     * NULL = this database has none: mode PTRACK is refused */
    int (*changed_blocks)(void *srv, uint32_t timeline, gsp_lsn from, gsp_lsn to, int64_t timeout_us, gsp_change_cb cb,
        void *arg, struct gsp_error *err);

    /* check - look at what backups need of this server: rights, settings, what is left behind. Changes nothing. What
     * cannot be looked at is a probe of its own, and keeps no other from being one.
     * in     flags: GSP_CHECK_*
     * out    ret: as of identify, but whatever rights are missing; struct_size is set by the caller
     * errors NET CANCELLED TIMEOUT: the session is lost, and those of the callback. NULL = nothing is looked at */
    int (*check)(
        void *srv, uint32_t flags, struct gsp_identity *ret, gsp_probe_cb cb, void *arg, struct gsp_error *err);
};

#ifdef __cplusplus
}
#endif
#endif
