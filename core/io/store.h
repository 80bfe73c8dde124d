/* SPDX-License-Identifier: Apache-2.0
 * An opened storage: the plugin's table, its handle and its limits in one value, with the few
 * compound operations everybody needs. thread ANY, as the storage itself. */
#ifndef IO_STORE_H
#define IO_STORE_H

#include "core/base/strbuf.h"
#include "gsp/storage.h"

/* Of a file above this size that holds no pages, holes are passed over and stay holes, in the catalog and in a restored
 * cluster. No server reserves room in such a file; in smaller ones (WAL segments) it does. */
enum { SPARSE_FILE_MIN = 1024 * 1024 * 1024 };

struct store {
    const struct gsp_storage_ops *ops;
    void *handle;
    const char *root; /* as given to open; owned */
    struct gsp_limits limits;
};

/* store_open - state, opts: the plugin's. opts must live until store_close. */
int store_open(struct store *s, const struct gsp_storage_ops *ops, void *state, const void *opts, const char *root,
    struct gsp_error *err);
void store_close(struct store *s);

/* store_stat - as the operation. store_exists - 1, 0, or a code. */
int store_stat(struct store *s, const char *path, struct gsp_stat *ret, struct gsp_error *err);
int store_exists(struct store *s, const char *path, struct gsp_error *err);
/* store_dir_is_empty - 1 for an empty or missing directory, 0, or a code. */
int store_dir_is_empty(struct store *s, const char *path, struct gsp_error *err);

/* store_read_all - append a whole file to sb. errors NOENT; CORRUPT when it is longer than max_bytes */
int store_read_all(struct store *s, const char *path, size_t max_bytes, struct strbuf *sb, struct gsp_error *err);
/* store_write_all - create or replace a file; flags GSP_PUT_*. */
int store_write_all(struct store *s, const char *path, uint32_t mode, uint32_t flags, const void *data, size_t len,
    struct gsp_error *err);
int store_mkdir(struct store *s, const char *path, uint32_t mode, uint32_t flags, struct gsp_error *err);
int store_remove(struct store *s, const char *path, struct gsp_error *err);
int store_rename(struct store *s, const char *from, const char *to, struct gsp_error *err);
/* store_link - as the operation. errors UNSUPPORTED: the caller copies instead */
int store_link(struct store *s, const char *from, const char *to, struct gsp_error *err);
int store_sync(struct store *s, const char *path, struct gsp_error *err);
/* store_remove_tree - a directory and all below it; links are removed, never followed. A missing one is success.
 * errors UNSUPPORTED something is mounted in it */
int store_remove_tree(struct store *s, const char *path, struct gsp_error *err);

/* An entry of a listing, collected. */
struct store_entry {
    char *name;
    struct gsp_stat st;
};
struct store_listing {
    struct store_entry *entries;
    size_t n, cap;
};
/* store_list - all entries of a directory, sorted by name. Free with store_listing_free. */
int store_list(struct store *s, const char *dir, struct store_listing *ret, struct gsp_error *err);
void store_listing_free(struct store_listing *list);
#define auto_listing __attribute__((cleanup(store_listing_free))) struct store_listing

/* A file being read, or being written in ascending order through the core's own buffer. */
struct store_file {
    struct store *store;
    void *handle;
};
int store_file_open(struct store *s, const char *path, struct store_file *ret, struct gsp_error *err);
/* store_file_pread - fill buf as far as the file goes. Returns bytes. */
int64_t store_file_pread(struct store_file *f, void *buf, size_t len, uint64_t offset, struct gsp_error *err);
/* store_file_preadv - the operation itself, for at most limits.io_max bytes and limits.iov_max parts. */
int64_t store_file_preadv(
    struct store_file *f, const struct iovec *iov, uint32_t n, uint64_t offset, struct gsp_error *err);
/* store_file_next_data - as the operation; offset itself where the storage cannot tell. */
int store_file_next_data(struct store_file *f, uint64_t offset, uint64_t *ret_offset, struct gsp_error *err);
void store_file_close(struct store_file *f);
#define auto_store_file __attribute__((cleanup(store_file_close))) struct store_file

struct store_put {
    struct store *store;
    void *handle; /* NULL when closed */
};
int store_put_begin(
    struct store *s, const char *path, uint32_t mode, uint32_t flags, struct store_put *ret, struct gsp_error *err);
int store_put_pwrite(struct store_put *p, const void *buf, size_t len, uint64_t offset, struct gsp_error *err);
/* store_put_sparse - the same without the zeros: whole blocks of them, aligned in the file, become holes of a file that
 * is made anew. */
int store_put_sparse(struct store_put *p, const void *buf, size_t len, uint64_t offset, struct gsp_error *err);
/* store_put_pwritev - all bytes of the parts; limits as store_file_preadv. */
int store_put_pwritev(struct store_put *p, const struct iovec *iov, uint32_t n, uint64_t offset, struct gsp_error *err);
int store_put_commit(struct store_put *p, uint64_t size, struct gsp_error *err);
/* store_put_abort - nothing after a commit: fit for scope cleanup. */
void store_put_abort(struct store_put *p);
#define auto_store_put __attribute__((cleanup(store_put_abort))) struct store_put

#endif
