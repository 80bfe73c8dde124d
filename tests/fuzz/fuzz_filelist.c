/* SPDX-License-Identifier: Apache-2.0
 * backup_content.control: any bytes are read or refused; paths never leave the backup; what was read and
 * written reads the same again. */
#include "core/base/cleanup.h"
#include "core/base/path.h"
#include "core/catalog/filelist.h"
#include "tests/doubles/storage_mem.h"
#include "tests/fuzz/fuzz.h"

static void
check_entry(const struct file_entry *f)
{
    auto_free char *decoded = NULL;
    must(path_is_safe_relative(f->path) && f->size >= FILE_UNCHANGED);
    if (!f->encoded)
        return;
    must(path_decode(f->path, &decoded) && path_is_safe_relative(decoded));
}

static void
check_again(struct store *s, struct filelist *list)
{
    struct gsp_error err = {0};
    auto_filelist again = {0};
    uint32_t crc = 0;
    int rc = filelist_write(s, "out", list, &crc, &err);
    if (rc != 0) {
        must(rc == GSP_E_UNSUPPORTED);
        return;
    }
    must(filelist_read(s, "out", crc, &again, &err) == 0 && again.n == list->n);
    filelist_sort(list);
    filelist_sort(&again);
    for (size_t i = 0; i < list->n; i++) {
        must(strcmp(again.entries[i].path, list->entries[i].path) == 0);
        must(filelist_find(list, again.entries[i].path, again.entries[i].external_dir_num) != NULL);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gsp_error err = {0};
    struct store s;
    auto_filelist list = {0};
    must(store_open(&s, &storage_mem_ops, NULL, NULL, "mem", &err) == 0);
    must(store_mkdir(&s, "", 0700, GSP_MKDIR_PARENTS, &err) == 0);
    must(store_write_all(&s, "list", 0600, 0, data, size, &err) == 0);
    int rc = filelist_read(&s, "list", 0, &list, &err);
    must(rc == err.code && (rc == 0 || rc == GSP_E_CORRUPT));
    for (size_t i = 0; i < list.n; i++)
        check_entry(&list.entries[i]);
    if (rc == 0)
        check_again(&s, &list);
    store_close(&s);
    return 0;
}
