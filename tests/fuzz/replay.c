/* SPDX-License-Identifier: Apache-2.0
 * Runs a fuzz target over a corpus: the same entry as libFuzzer's, in every build. Arguments: files and
 * directories of files. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_BYTES_MAX = 4 * 1024 * 1024 };

static int
replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data = malloc(INPUT_BYTES_MAX);
    if (file == NULL || data == NULL) {
        perror(path);
        if (file != NULL)
            (void)fclose(file);
        free(data);
        return -1;
    }
    size_t n = fread(data, 1, INPUT_BYTES_MAX, file);
    (void)fclose(file);
    /* Exactly as long as the input, so that a sanitizer sees one byte too many. */
    uint8_t *exact = malloc(n > 0 ? n : 1);
    for (size_t i = 0; exact != NULL && i < n; i++)
        exact[i] = data[i];
    free(data);
    if (exact == NULL)
        return -1;
    (void)LLVMFuzzerTestOneInput(exact, n);
    free(exact);
    return 1;
}

static int
replay_dir(const char *path)
{
    struct dirent **names;
    int n = scandir(path, &names, NULL, alphasort), done = 0, failed = n < 0;
    for (int i = 0; i < n; i++) {
        char file[4096];
        int len = snprintf(file, sizeof file, "%s/%s", path, names[i]->d_name);
        if (names[i]->d_name[0] != '.' && len > 0 && (size_t)len < sizeof file) {
            int rc = replay_file(file);
            failed |= rc < 0;
            done += rc > 0;
        }
        free(names[i]);
    }
    if (n >= 0)
        free(names);
    return failed ? -1 : done;
}

int
main(int argc, char **argv)
{
    int total = 0;
    for (int i = 1; i < argc; i++) {
        struct stat st;
        int n = stat(argv[i], &st) != 0 ? -1 : S_ISDIR(st.st_mode) ? replay_dir(argv[i]) : replay_file(argv[i]);
        if (n < 0) {
            (void)fprintf(stderr, "cannot replay %s\n", argv[i]);
            return 1;
        }
        total += n;
    }
    (void)printf("%d inputs\n", total);
    return total > 0 ? 0 : 1;
}
