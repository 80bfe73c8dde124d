/* SPDX-License-Identifier: Apache-2.0
 *
 * gsp/error.h - the one error model, on both sides of the plugin wall.
 *
 * A function that can fail returns 0 or a negative GSP_E_* code (byte counts: int64_t >= 0 or the
 * code) and describes the failure in the caller's struct gsp_error, always the last parameter and
 * never NULL. The first failure wins: a filled error is not overwritten, only prefixed with context
 * on its way up. Outputs named ret_* are untouched on failure.
 *
 * thread  an error belongs to one thread; no function here has hidden state
 * owner   the caller of the failing function, usually on its stack (880 bytes)
 */
#ifndef GSP_ERROR_H
#define GSP_ERROR_H

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define GSP_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define GSP_PRINTF(fmt, args)
#endif

/* The closed set of codes. A new reason gets a message, not a code. */
#define GSP_E_CANCELLED (-1)    /* the user or a signal stopped the work */
#define GSP_E_USAGE (-2)        /* the command line asks for something impossible */
#define GSP_E_CONFIG (-3)       /* a setting is missing, malformed or contradictory */
#define GSP_E_NOENT (-4)        /* the object does not exist */
#define GSP_E_EXIST (-5)        /* the object exists already */
#define GSP_E_PERM (-6)         /* not permitted */
#define GSP_E_NOSPC (-7)        /* no room left */
#define GSP_E_IO (-8)           /* reading or writing failed */
#define GSP_E_CORRUPT (-9)      /* the bytes are not what they must be */
#define GSP_E_TORN (-10)        /* read while being written; reading again may help */
#define GSP_E_LOCKED (-11)      /* somebody else is using the object */
#define GSP_E_TIMEOUT (-12)     /* it took longer than allowed */
#define GSP_E_NET (-13)         /* a connection failed */
#define GSP_E_PROTO (-14)       /* a peer broke its protocol */
#define GSP_E_UNSUPPORTED (-15) /* nobody here can do this */
#define GSP_E_VERSION (-16)     /* made by, or meant for, another version */
#define GSP_E_NOMEM (-17)       /* out of memory */
#define GSP_E_SERVER (-18)      /* the database server refused or failed a request */
#define GSP_E_BUG (-19)         /* a rule between our own parts was broken */

struct gsp_error {
    int32_t code;      /* 0 or GSP_E_* */
    int32_t sys_errno; /* errno behind it, or 0 */
    uint32_t flags;    /* none defined yet, 0 */
    uint32_t reserved;
    char msg[512];  /* what failed, on which object, and why; starts in lower case or with a noun */
    char hint[256]; /* what to do next; "" when there is nothing to say */
    char where[96]; /* object the caller may act on (a path, a host); "" when the message has it */
};

/* gsp_error_clear - make *err say "no failure", for a caller that has dealt with one. */
static inline void
gsp_error_clear(struct gsp_error *err)
{
    err->code = 0;
    err->sys_errno = 0;
    err->flags = 0;
    err->reserved = 0;
    err->msg[0] = '\0';
    err->hint[0] = '\0';
    err->where[0] = '\0';
}

/* Internal: end err->msg with ": why". A text that is too long loses its own end, never the reason. */
static inline void
gsp_append_reason(struct gsp_error *err, const char *why)
{
    size_t used = strlen(err->msg), need = strlen(why) + 2, most = sizeof err->msg - 1;
    if (used + need > most && need + 3 <= most) {
        used = most - need;
        memcpy(err->msg + used - 3, "...", 3);
    }
    (void)snprintf(err->msg + used, sizeof err->msg - used, ": %s", why);
}

/* gsp_fail - record a failure and return its code: `return gsp_fail(err, GSP_E_IO, errno, "...")`.
 * With sys_errno != 0 the system's text is appended after ": ". A failure already recorded stays. */
static inline int GSP_PRINTF(4, 5)
    gsp_fail(struct gsp_error *err, int32_t code, int32_t sys_errno, const char *fmt, ...)
{
    if (err->code == 0) {
        va_list ap;
        err->code = code;
        err->sys_errno = sys_errno;
        va_start(ap, fmt);
        (void)vsnprintf(err->msg, sizeof err->msg, fmt, ap);
        va_end(ap);
        if (sys_errno != 0)
            gsp_append_reason(err, strerror(sys_errno));
    }
    return err->code;
}

/* gsp_hint - add the next step for the user; the first hint wins. Returns err->code. */
static inline int GSP_PRINTF(2, 3) gsp_hint(struct gsp_error *err, const char *fmt, ...)
{
    if (err->hint[0] == '\0') {
        va_list ap;
        va_start(ap, fmt);
        (void)vsnprintf(err->hint, sizeof err->hint, fmt, ap);
        va_end(ap);
    }
    return err->code;
}

/* gsp_prefix - put context before the message: "restore file 'x': " + what was there, as far as there is room.
 * Returns err->code, so that it can end a function. */
static inline int GSP_PRINTF(2, 3) gsp_prefix(struct gsp_error *err, const char *fmt, ...)
{
    char old[sizeof err->msg];
    va_list ap;
    memcpy(old, err->msg, sizeof old);
    va_start(ap, fmt);
    (void)vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    if (strlen(old) + 32 < sizeof err->msg)
        gsp_append_reason(err, old);
    else
        memcpy(err->msg, old, sizeof old); /* long enough to speak for itself */
    return err->code;
}

/* gsp_code_of_errno - the GSP_E_* code that an errno of a file operation stands for. */
static inline int
gsp_code_of_errno(int sys_errno)
{
    switch (sys_errno) {
    case ENOENT:
    case ENOTDIR:
        return GSP_E_NOENT;
    case EEXIST:
    case ENOTEMPTY:
        return GSP_E_EXIST;
    case EACCES:
    case EPERM:
    case EROFS:
        return GSP_E_PERM;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return GSP_E_NOSPC;
    case ENOMEM:
        return GSP_E_NOMEM;
    case ETIMEDOUT:
        return GSP_E_TIMEOUT;
    default:
        return GSP_E_IO;
    }
}

#ifdef __cplusplus
}
#endif
#endif
