/* SPDX-License-Identifier: Apache-2.0
 * The control file of PostgreSQL and openGauss: any bytes are read or refused; the bid, the checksum and the parser
 * agree, and no file is of both. Input: flags (1 byte), then the file. Flag 1 makes its checksum right, for inputs that
 * shall get past it. */
#include "core/base/bytes.h"
#include "core/base/crc32c.h"
#include "gsp/server.h"
#include "tests/fuzz/fuzz.h"

enum { AT_VERSION = 8, CRC_AT = 288, CRC_AT_18 = 292, CRC_AT_OPENGAUSS = 224 };

static int
is_power_of_two(uint32_t v)
{
    return v != 0 && (v & (v - 1)) == 0;
}

static void
make_right(uint8_t *control, size_t len)
{
    uint32_t version = len >= 12 ? load_le32(control + AT_VERSION) : 0;
    size_t at = version == 1800 ? CRC_AT_18 : version == 923 ? CRC_AT_OPENGAUSS : CRC_AT;
    if (at + 4 <= len)
        store_le32(control + at, crc32c(0, control, at));
}

static void
check_cluster(const struct gsp_cluster *c)
{
    must(is_power_of_two(c->page_size) && c->page_size >= 512 && c->page_size <= 65536);
    must(is_power_of_two(c->wal_block_size) && is_power_of_two(c->wal_segment_size));
    must(c->wal_block_size <= c->wal_segment_size && c->segment_blocks > 0);
    must(memchr(c->version, '\0', sizeof c->version) != NULL && c->version[0] != '\0');
    must(memchr(c->tablespace_dir, '\0', sizeof c->tablespace_dir) != NULL);
}

/* Returns 1 when it is one of this dialect's. */
static int
check_dialect(const struct gsp_plugin *plugin, const uint8_t *control, uint32_t len)
{
    const struct gsp_server_ops *server = plugin->ops;
    const struct gsp_dialect_ops *dialect = server->dialect;
    struct gsp_error err = {0}, crc_err = {0};
    struct gsp_cluster cluster, untouched;
    uint32_t crc = 0;
    memset(&cluster, 0xA5, sizeof cluster);
    cluster.struct_size = sizeof cluster;
    untouched = cluster;

    int bid = dialect->bid(control, len);
    int rc = dialect->control_parse(control, len, &cluster, &err);
    int crc_rc = dialect->control_crc(control, len, &crc, &crc_err);
    must(bid == 0 || bid == 50 || bid == 100);
    must(rc == err.code && (rc == 0 || rc == GSP_E_CORRUPT || rc == GSP_E_VERSION));
    must(crc_rc == crc_err.code);
    if (rc == 0) {
        must(bid == 100 && crc_rc == 0);
        check_cluster(&cluster);
    } else {
        must(memcmp(&cluster, &untouched, sizeof cluster) == 0);
    }
    return bid > 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    size_t len = size - 1;
    uint8_t *control = malloc(len > 0 ? len : 1);
    if (control == NULL)
        return 0;
    memcpy(control, data + 1, len);
    if (data[0] & 1)
        make_right(control, len);
    int postgresql = check_dialect(server_postgresql_entry(), control, (uint32_t)len);
    int opengauss = check_dialect(server_opengauss_entry(), control, (uint32_t)len);
    must(!postgresql || !opengauss);
    free(control);
    return 0;
}
