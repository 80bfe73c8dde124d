/* SPDX-License-Identifier: Apache-2.0 */
#include "core/plugin/loader.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <ltdl.h>

#include "core/base/cleanup.h"

/* Sanitizers symbolise stacks at exit: a module that was unmapped would show as bare addresses. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define KEEP_MODULES 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define KEEP_MODULES 1
#endif
#ifndef KEEP_MODULES
#define KEEP_MODULES 0
#endif

enum { PROGRAM_HEADERS_MAX = 256 };

static const char *
ltdl_error(void)
{
    const char *text = lt_dlerror();
    return text != NULL ? text : "unknown reason";
}

int
loader_init(struct gsp_error *err)
{
    if (lt_dlinit() != 0)
        return gsp_fail(err, GSP_E_UNSUPPORTED, 0, "cannot start libltdl: %s", ltdl_error());
    return 0;
}

void
loader_exit(void)
{
    (void)lt_dlexit();
}

int
loader_check_owner(const char *path, const struct stat *st, struct gsp_error *err)
{
    if (st->st_uid != 0 && st->st_uid != geteuid()) {
        (void)gsp_fail(err, GSP_E_PERM, 0, "'%s' belongs to user id %u, neither root nor the user running this program",
            path, st->st_uid);
        return gsp_hint(err, "give it to root: chown root '%s'", path);
    }
    if ((st->st_mode & (S_IWGRP | S_IWOTH)) != 0) {
        (void)gsp_fail(err, GSP_E_PERM, 0, "'%s' can be written by its %s, so the code in it cannot be trusted", path,
            (st->st_mode & S_IWOTH) != 0 ? "group or everybody" : "group");
        return gsp_hint(err, "chmod go-w '%s'", path);
    }
    return 0;
}

/* Is [offset, offset + n * size) inside the file? */
static int
table_fits(uint64_t file_size, uint64_t offset, uint64_t n, uint64_t size)
{
    return offset <= file_size && n * size <= file_size - offset;
}

static int
read_header(int fd, Elf64_Ehdr *ret)
{
    return pread(fd, ret, sizeof *ret, 0) == (ssize_t)sizeof *ret && memcmp(ret->e_ident, ELFMAG, SELFMAG) == 0;
}

/* The dynamic loader maps segments without looking at the file's size: a truncated file would end the
 * program with SIGBUS later on, not with an error. */
static int
check_not_truncated(int fd, const Elf64_Ehdr *h, uint64_t file_size, struct gsp_error *err)
{
    Elf64_Phdr segments[PROGRAM_HEADERS_MAX];
    size_t bytes = h->e_phnum * sizeof segments[0];
    int whole = h->e_phentsize == sizeof segments[0] && h->e_phnum <= PROGRAM_HEADERS_MAX &&
                table_fits(file_size, h->e_phoff, h->e_phnum, h->e_phentsize) &&
                (h->e_shoff == 0 || table_fits(file_size, h->e_shoff, h->e_shnum, h->e_shentsize)) &&
                pread(fd, segments, bytes, (off_t)h->e_phoff) == (ssize_t)bytes;
    for (size_t i = 0; whole && i < h->e_phnum; i++)
        whole = table_fits(file_size, segments[i].p_offset, 1, segments[i].p_filesz) || segments[i].p_type != PT_LOAD;
    if (whole)
        return 0;
    (void)gsp_fail(err, GSP_E_CORRUPT, 0, "it is truncated or damaged: its tables go beyond its %llu bytes",
        (unsigned long long)file_size);
    return gsp_hint(err, "install the plugin again");
}

static int
check_elf(int fd, uint64_t file_size, struct gsp_error *err)
{
    Elf64_Ehdr own, h;
    auto_fd int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (self < 0 || !read_header(self, &own))
        return gsp_fail(err, GSP_E_IO, self < 0 ? errno : 0, "cannot read the program file /proc/self/exe");
    if (file_size < sizeof h || !read_header(fd, &h))
        return gsp_fail(err, GSP_E_CORRUPT, 0, "it is not a shared object (no ELF header)");
    if (h.e_ident[EI_CLASS] != own.e_ident[EI_CLASS])
        return gsp_fail(err, GSP_E_UNSUPPORTED, 0, "it is not a 64-bit shared object");
    if (h.e_ident[EI_DATA] != own.e_ident[EI_DATA] || h.e_machine != own.e_machine)
        return gsp_fail(err, GSP_E_UNSUPPORTED, 0, "it was built for another machine (ELF machine %u, here %u)",
            h.e_machine, own.e_machine);
    if (h.e_type != ET_DYN)
        return gsp_fail(err, GSP_E_CORRUPT, 0, "it is not a shared object (ELF type %u)", h.e_type);
    return check_not_truncated(fd, &h, file_size, err);
}

static int
check_file(const char *file, struct gsp_error *err)
{
    /* O_NONBLOCK: a pipe in the plugin directory must not hang the program. */
    auto_fd int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0)
        return gsp_fail(err, gsp_code_of_errno(errno), errno, "cannot open it");
    if (!S_ISREG(st.st_mode))
        return gsp_fail(err, GSP_E_CORRUPT, 0, "it is not a regular file");
    int rc = loader_check_owner(file, &st, err);
    return rc != 0 ? rc : check_elf(fd, (uint64_t)st.st_size, err);
}

/* libltdl binds lazily and answers every failure with "file not found". Opening with the system's own
 * call first, all symbols resolved, finds an unresolved symbol now instead of in the middle of a
 * backup, and knows its name. */
static int
open_module(const char *file, lt_dlhandle *ret, struct gsp_error *err)
{
    void *probe = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (probe == NULL) {
        const char *reason = dlerror();
        (void)gsp_fail(err, GSP_E_UNSUPPORTED, 0, "cannot load it: %s", reason != NULL ? reason : "unknown reason");
        return gsp_hint(err, "a missing library must be installed; an undefined symbol means that the plugin was "
                             "built wrongly or for other libraries");
    }
    lt_dladvise advise;
    lt_dlhandle module = NULL;
    if (lt_dladvise_init(&advise) == 0) {
        if (lt_dladvise_local(&advise) == 0)
            module = lt_dlopenadvise(file, advise);
        (void)lt_dladvise_destroy(&advise);
    }
    if (module == NULL)
        (void)gsp_fail(err, GSP_E_UNSUPPORTED, 0, "cannot load it: %s", ltdl_error());
    if (!KEEP_MODULES)
        (void)dlclose(probe);
    *ret = module;
    return err->code;
}

static int
adopt_module(struct plugin_entry *entry, uint32_t kind, const char *name, struct gsp_error *err)
{
    const struct gsp_plugin *(*get)(void);
    void *symbol = lt_dlsym(entry->module, "gsp_plugin_entry");
    if (symbol == NULL)
        return gsp_fail(err, GSP_E_UNSUPPORTED, 0, "it is not a plugin: it does not export gsp_plugin_entry");
    memcpy(&get, &symbol, sizeof get);
    int rc = descriptor_adopt(entry, get(), err);
    if (rc != 0)
        return rc;
    if (entry->pub.kind != kind)
        return gsp_fail(err, GSP_E_CONFIG, 0, "its kind is %s, its file name says %s",
            plugin_kind_name(entry->pub.kind), plugin_kind_name(kind));
    if (strcmp(entry->pub.name, name) != 0)
        return gsp_fail(err, GSP_E_CONFIG, 0, "its name is '%s', its file name says '%s'", entry->pub.name, name);
    return 0;
}

int
plugin_entry_open(const char *file, uint32_t kind, const char *name, struct plugin_entry **ret, struct gsp_error *err)
{
    int rc = check_file(file, err);
    if (rc != 0)
        return gsp_prefix(err, "plugin '%s'", file);
    struct plugin_entry *entry = calloc(1, sizeof *entry);
    if (entry == NULL || (entry->file = strdup(file)) == NULL) {
        free(entry);
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    }
    lt_dlhandle module = NULL;
    rc = open_module(file, &module, err);
    entry->module = module;
    if (rc == 0)
        rc = adopt_module(entry, kind, name, err);
    if (rc != 0) {
        plugin_entry_free(entry);
        return gsp_prefix(err, "plugin '%s'", file);
    }
    entry->pub.file = entry->file;
    *ret = entry;
    return 0;
}

int
plugin_entry_wrap(const struct gsp_plugin *desc, struct plugin_entry **ret, struct gsp_error *err)
{
    struct plugin_entry *entry = calloc(1, sizeof *entry);
    if (entry == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    int rc = descriptor_adopt(entry, desc, err);
    if (rc != 0) {
        plugin_entry_free(entry);
        return gsp_prefix(err, "plugin in memory");
    }
    *ret = entry;
    return 0;
}

void
plugin_entry_free(struct plugin_entry *entry)
{
    if (entry == NULL)
        return;
    if (entry->loaded && entry->desc.unload != NULL)
        entry->desc.unload(entry->pub.state);
    if (entry->module != NULL)
        (void)lt_dlclose(entry->module);
    free(entry->file);
    free(entry);
}
