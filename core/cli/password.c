/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "core/base/cancel.h"
#include "core/base/cleanup.h"
#include "core/cli/cli.h"

enum { PASSWORD_MAX = 1024 };

/* A line without its newline. -1 on end of file, a signal or when it is too long. */
static int
read_line(int fd, char *buf, size_t size)
{
    size_t len = 0;
    while (len + 1 < size) {
        ssize_t n = read(fd, buf + len, 1);
        if (n != 1)
            return -1;
        if (buf[len] == '\n') {
            buf[len] = '\0';
            return 0;
        }
        len++;
    }
    return -1;
}

char *
ask_password(void *arg, struct gsp_error *err)
{
    static const char prompt[] = "Password: ";
    (void)arg;
    char line[PASSWORD_MAX];
    struct termios before, silent;
    auto_fd int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (fd < 0 || tcgetattr(fd, &before) != 0) {
        (void)gsp_fail(err, GSP_E_PERM, 0, "the server asks for a password, and there is no terminal to ask on");
        (void)gsp_hint(err, "put the password into ~/.pgpass of this user, or give it with -W");
        return NULL;
    }
    silent = before;
    silent.c_lflag &= ~(tcflag_t)ECHO;
    (void)tcsetattr(fd, TCSAFLUSH, &silent);
    (void)!write(fd, prompt, sizeof prompt - 1);
    int got = read_line(fd, line, sizeof line);
    (void)tcsetattr(fd, TCSAFLUSH, &before);
    (void)!write(fd, "\n", 1);
    char *password = got == 0 ? strdup(line) : NULL;
    explicit_bzero(line, sizeof line);
    if (password == NULL && cancel_check(err) == 0)
        (void)gsp_fail(err, GSP_E_PERM, 0, "no password was given");
    return password;
}
