/* SPDX-License-Identifier: Apache-2.0
 * Server "scripted": plays the server of a PostgreSQL data directory that nobody runs. The dialect is
 * server-postgresql's own; the session answers from the control file and the WAL in the directory. */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "map_file.h"
#include "postgresql.h"

#include <inttypes.h>
#include <limits.h>

enum { CONTROL_BYTES = 8192, STREAM_BYTES = 128 << 10, QUIET_MS = 5, MAP_BYTES = 4096 };

struct scripted_options {
    const char *data;
    int32_t wal_at_end;
    const char *changes; /* rows of a changed-block map */
    const char *tracked; /* how far that map goes, NULL = to the start of the backup */
    const char *probes;  /* what there is to be found: lines "state|name|found|fix" */
};

struct session {
    const struct gsp_host *host;
    const struct scripted_options *opts;
    struct gsp_cluster cluster;
    gsp_lsn end; /* of the WAL there is */
    atomic_int ended;
    char label[1024];
    char map[MAP_BYTES];
};

/* ---- files of the data directory --------------------------------------------------------------- */

static int64_t
read_at(
    const char *data, const char *dir, const char *name, uint64_t offset, void *buf, size_t len, struct gsp_error *err)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s/%s", data, dir, name) >= (int)sizeof path)
        return gsp_fail(err, GSP_E_CONFIG, 0, "server.scripted.data is too long");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? pread(fd, buf, len, (off_t)offset) : -1;
    if (got < 0)
        (void)gsp_fail(err, gsp_code_of_errno(errno), errno, "cannot read '%s'", path);
    if (fd >= 0)
        (void)close(fd);
    return got < 0 ? err->code : got;
}

static int64_t
read_wal(void *ctx, const char *segment, uint64_t offset, void *buf, uint32_t len, struct gsp_error *err)
{
    return read_at(ctx, "pg_wal", segment, offset, buf, len, err);
}

static void
name_segment(char name[25], const struct gsp_cluster *cluster, uint32_t timeline, gsp_lsn at)
{
    uint64_t number = at / cluster->wal_segment_size, per_id = (UINT64_C(1) << 32) / cluster->wal_segment_size;
    (void)snprintf(name, 25, "%08" PRIX32 "%08" PRIX32 "%08" PRIX32, timeline, (uint32_t)(number / per_id),
        (uint32_t)(number % per_id));
}

static int
read_cluster(const char *data, struct gsp_cluster *ret, struct gsp_error *err)
{
    uint8_t control[CONTROL_BYTES];
    int64_t len = read_at(data, "global", "pg_control", 0, control, sizeof control, err);
    ret->struct_size = sizeof *ret;
    return len < 0 ? (int)len : pg_control_parse(control, (uint32_t)len, ret, err);
}

/* ---- session ----------------------------------------------------------------------------------- */

static int
scripted_open(void *state, const void *opts, void **ret_srv, struct gsp_error *err)
{
    const struct scripted_options *o = opts;
    struct session *s = calloc(1, sizeof *s);
    if (s == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    s->host = state;
    s->opts = o;
    int rc = read_cluster(o->data, &s->cluster, err);
    if (rc == 0) {
        /* To the last record that is whole: the failure behind it is what we look for. */
        struct gsp_error end_of_wal = {0};
        struct gsp_wal_source source = {.ctx = (void *)(uintptr_t)o->data, .read = read_wal};
        (void)pg_wal_verify(
            &s->cluster, &source, s->cluster.timeline, s->cluster.redo_lsn, UINT64_MAX, &s->end, &end_of_wal);
        if (s->end <= s->cluster.redo_lsn)
            rc = gsp_fail(err, GSP_E_CORRUPT, 0, "'%s/pg_wal' has no WAL from the last checkpoint on: %s", o->data,
                end_of_wal.msg);
    }
    if (rc != 0) {
        free(s);
        return rc;
    }
    *ret_srv = s;
    return 0;
}

static void
scripted_close(void *srv)
{
    free(srv);
}

static int
scripted_identify(void *srv, struct gsp_identity *ret, struct gsp_error *err)
{
    const struct session *s = srv;
    (void)err;
    ret->version_num = (uint32_t)strtoul(s->cluster.version, NULL, 10) * 10000;
    ret->system_id = s->cluster.system_id;
    ret->page_size = s->cluster.page_size;
    ret->wal_block_size = s->cluster.wal_block_size;
    ret->checksums = s->cluster.checksum_version != 0;
    (void)snprintf(ret->version, sizeof ret->version, "scripted PostgreSQL %s", s->cluster.version);
    (void)snprintf(ret->data_directory, sizeof ret->data_directory, "%s", s->opts->data);
    return 0;
}

static int
scripted_begin(void *srv, const char *label, uint32_t flags, struct gsp_begin *ret, struct gsp_error *err)
{
    struct session *s = srv;
    char segment[25];
    (void)flags;
    (void)err;
    gsp_lsn start = s->cluster.redo_lsn;
    name_segment(segment, &s->cluster, s->cluster.timeline, start);
    (void)snprintf(s->label, sizeof s->label,
        "START WAL LOCATION: " GSP_LSN_FMT " (file %s)\nCHECKPOINT LOCATION: " GSP_LSN_FMT
        "\nBACKUP METHOD: streamed\nBACKUP FROM: primary\nSTART TIME: 2000-01-01 00:00:00 UTC\nLABEL: %.200s\n"
        "START TIMELINE: %" PRIu32 "\n",
        GSP_LSN_ARGS(start), segment, GSP_LSN_ARGS(start), label, s->cluster.timeline);
    ret->timeline = s->cluster.timeline;
    ret->start_lsn = start;
    return 0;
}

/* One line per link: its name is the OID, its target the place. */
static int
map_tablespaces(struct session *s, struct gsp_error *err)
{
    char path[PATH_MAX], target[PATH_MAX];
    size_t used = 0;
    (void)snprintf(path, sizeof path, "%s/pg_tblspc", s->opts->data);
    DIR *dir = opendir(path);
    s->map[0] = '\0';
    if (dir == NULL)
        return gsp_fail(err, gsp_code_of_errno(errno), errno, "cannot list '%s'", path);
    for (const struct dirent *e; used < sizeof s->map && (e = readdir(dir)) != NULL;) {
        ssize_t len = readlinkat(dirfd(dir), e->d_name, target, sizeof target);
        if (len > 0)
            used += (size_t)snprintf(s->map + used, sizeof s->map - used, "%s %.*s\n", e->d_name, (int)len, target);
    }
    (void)closedir(dir);
    return used < sizeof s->map ? 0 : gsp_fail(err, GSP_E_UNSUPPORTED, 0, "too many tablespaces in '%s'", path);
}

static int
scripted_end(void *srv, const char *restore_point, int64_t timeout_us, struct gsp_end *ret, struct gsp_error *err)
{
    struct session *s = srv;
    (void)restore_point;
    (void)timeout_us;
    int rc = map_tablespaces(s, err);
    if (rc != 0)
        return rc;
    ret->stop_lsn = s->end;
    ret->recovery_xid = 1000;
    ret->recovery_time_us = INT64_C(946684800000000);
    ret->label = s->label;
    ret->map = s->map;
    atomic_store(&s->ended, 1);
    return 0;
}

static int
scripted_databases(void *srv, int (*cb)(void *arg, uint32_t oid, const char *name), void *arg, struct gsp_error *err)
{
    (void)srv;
    (void)err;
    return cb(arg, 5, "postgres");
}

/* ---- WAL --------------------------------------------------------------------------------------- */

static int
scripted_wal_open(void *srv, const char *slot, uint32_t flags, void **ret_wal, struct gsp_error *err)
{
    (void)slot;
    (void)flags;
    (void)err;
    *ret_wal = srv;
    return 0;
}

/* Bytes to send next, at most to the end of the segment and of the WAL. */
static uint32_t
next_piece(const struct session *s, gsp_lsn at)
{
    uint64_t left = s->end > at ? s->end - at : 0;
    uint64_t segment = s->cluster.wal_segment_size - at % s->cluster.wal_segment_size;
    if (s->opts->wal_at_end && !atomic_load(&s->ended))
        return 0;
    left = left < segment ? left : segment;
    return left < STREAM_BYTES ? (uint32_t)left : STREAM_BYTES;
}

static int
scripted_wal_stream(void *wal, gsp_lsn from, uint32_t timeline, gsp_wal_cb cb, void *arg, struct gsp_error *err)
{
    const struct session *s = wal;
    uint8_t *piece = malloc(STREAM_BYTES);
    int rc = piece != NULL ? 0 : gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    while (rc == 0) {
        char segment[25];
        uint32_t n = next_piece(s, from);
        name_segment(segment, &s->cluster, timeline, from);
        int64_t got =
            n > 0 ? read_at(s->opts->data, "pg_wal", segment, from % s->cluster.wal_segment_size, piece, n, err) : 0;
        if (got >= 0)
            rc = cb(arg, from, piece, (uint32_t)got, err);
        else
            rc = (int)got;
        from += got > 0 ? (uint64_t)got : 0;
        if (rc == 0 && s->host->cancelled(s->host->ctx))
            rc = gsp_fail(err, GSP_E_CANCELLED, 0, "streaming was cancelled");
        if (rc == 0 && got == 0)
            (void)poll(NULL, 0, QUIET_MS);
    }
    free(piece);
    return rc > 0 ? 0 : rc;
}

static void
scripted_wal_close(void *wal)
{
    (void)wal;
}

/* ---- changed blocks ---------------------------------------------------------------------------- */

static int
scripted_changed_blocks(void *srv, uint32_t timeline, gsp_lsn from, gsp_lsn to, int64_t timeout_us, gsp_change_cb cb,
    void *arg, struct gsp_error *err)
{
    const struct session *s = srv;
    char start[32];
    struct map_file map = {.host = s->host, .path = s->opts->changes, .tracked = s->opts->tracked};
    (void)timeline;
    if (map.path == NULL) {
        (void)gsp_fail(err, GSP_E_UNSUPPORTED, 0, "the scripted server keeps no map of changed blocks");
        return gsp_hint(err, "Use -b DELTA or -b PAGE.");
    }
    (void)snprintf(start, sizeof start, "%08X/%08X", GSP_LSN_ARGS(s->cluster.redo_lsn));
    if (map.tracked == NULL)
        map.tracked = start;
    return map_file_changed_blocks(&map, from, to, timeout_us, cb, arg, err);
}

/* ---- probes ------------------------------------------------------------------------------------ */

static int
give_probe(char *line, gsp_probe_cb cb, void *arg, struct gsp_error *err)
{
    char *cell[4];
    for (size_t i = 0; i < 4; i++)
        if ((cell[i] = strsep(&line, "|")) == NULL)
            return gsp_fail(err, GSP_E_CONFIG, 0, "server.scripted.probes: a line has not four parts");
    struct gsp_probe probe = {.struct_size = sizeof probe, .name = cell[1], .found = cell[2], .fix = cell[3]};
    probe.state = strcmp(cell[0], "OK") == 0        ? GSP_PROBE_OK
                  : strcmp(cell[0], "WARNING") == 0 ? GSP_PROBE_WARNING
                                                    : GSP_PROBE_ERROR;
    return cb(arg, &probe, err);
}

static int
scripted_check(void *srv, uint32_t flags, struct gsp_identity *ret, gsp_probe_cb cb, void *arg, struct gsp_error *err)
{
    const struct session *s = srv;
    char *line = NULL;
    size_t size = 0;
    (void)flags;
    int rc = scripted_identify(srv, ret, err);
    FILE *file = s->opts->probes != NULL ? fopen(s->opts->probes, "re") : NULL;
    if (rc == 0 && s->opts->probes != NULL && file == NULL)
        rc = gsp_fail(err, gsp_code_of_errno(errno), errno, "cannot open '%s'", s->opts->probes);
    while (rc == 0 && file != NULL && getline(&line, &size, file) >= 0) {
        line[strcspn(line, "\n")] = '\0';
        rc = give_probe(line, cb, arg, err);
    }
    free(line);
    if (file != NULL)
        (void)fclose(file);
    return rc;
}

/* ---- the plugin -------------------------------------------------------------------------------- */

/* Only server.plugin chooses it: nobody is to back up a cluster with it by accident. */
static int
scripted_bid(const void *control, uint32_t len)
{
    (void)control;
    (void)len;
    return 0;
}

static const struct gsp_dialect_ops dialect = {
    .struct_size = sizeof dialect,
    .control_path = "global/pg_control",
    .wal_dir = "pg_wal",
    .label_file = "backup_label",
    .map_file = "tablespace_map",
    .pid_file = "postmaster.pid",
    .tablespace_root = "pg_tblspc",
    .bid = scripted_bid,
    .control_parse = pg_control_parse,
    .control_crc = pg_control_crc,
    .classify = pg_classify,
    .pages_check = pg_pages_check,
    .wal_verify = pg_wal_verify,
    .wal_changes = pg_wal_changes,
    .recovery_files = pg_recovery_files,
    .wal_find_target = pg_wal_find_target,
};

static const struct gsp_server_ops ops = {
    .struct_size = sizeof ops,
    .dialect = &dialect,
    .open = scripted_open,
    .close = scripted_close,
    .identify = scripted_identify,
    .backup_begin = scripted_begin,
    .backup_end = scripted_end,
    .databases = scripted_databases,
    .wal_open = scripted_wal_open,
    .wal_stream = scripted_wal_stream,
    .wal_close = scripted_wal_close,
    .changed_blocks = scripted_changed_blocks,
    .check = scripted_check,
};

static const struct gsp_option options[] = {
    {.key = "data",
        .type = GSP_OPT_STRING,
        .flags = GSP_OPT_REQUIRED,
        .help = "data directory of the cluster whose server is played",
        .offset = (uint32_t)offsetof(struct scripted_options, data)},
    {.key = "wal-at-end",
        .type = GSP_OPT_BOOL,
        .def = "off",
        .help = "send WAL only once the backup has been ended, so that files and WAL are not written at the same time",
        .offset = (uint32_t)offsetof(struct scripted_options, wal_at_end)},
    {.key = "changes",
        .type = GSP_OPT_STRING,
        .help = "file with the rows of a changed-block map of openGauss; without it the server knows no changed blocks",
        .offset = (uint32_t)offsetof(struct scripted_options, changes)},
    {.key = "tracked",
        .type = GSP_OPT_STRING,
        .help = "WAL position that the changed-block map has come to; not set: the start of the backup",
        .offset = (uint32_t)offsetof(struct scripted_options, tracked)},
    {.key = "probes",
        .type = GSP_OPT_STRING,
        .help = "file with what the command check finds, a line each: STATE|NAME|FOUND|FIX",
        .offset = (uint32_t)offsetof(struct scripted_options, probes)},
    {.key = NULL},
};

static int
load(const struct gsp_host *host, void **ret_state, struct gsp_error *err)
{
    (void)err;
    *ret_state = (void *)(uintptr_t)host;
    return 0;
}

static const struct gsp_plugin plugin = {
    .struct_size = sizeof plugin,
    .abi_major = GSP_ABI_MAJOR,
    .abi_minor = GSP_ABI_MINOR,
    .kind = GSP_KIND_SERVER,
    .thread_model = GSP_THREAD_HANDLE,
    .name = "scripted",
    .version = "1.0",
    .summary = "plays the server of a data directory that nobody runs, for tests",
    .options = options,
    .options_size = sizeof(struct scripted_options),
    .ops = &ops,
    .load = load,
};

GSP_EXPORT const struct gsp_plugin *
gsp_plugin_entry(void)
{
    return &plugin;
}
