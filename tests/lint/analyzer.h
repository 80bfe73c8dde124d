/* SPDX-License-Identifier: Apache-2.0
 * Included first by the static analyzer: it does not look into variadic functions, so it is told that
 * a recorded failure is negative. */
#ifndef LINT_ANALYZER_H
#define LINT_ANALYZER_H

#include "gsp/error.h"

static inline int
analyzer_failed(int code)
{
    return code < 0 ? code : -1;
}

#define gsp_fail(...) analyzer_failed(gsp_fail(__VA_ARGS__))
#define gsp_hint(...) analyzer_failed(gsp_hint(__VA_ARGS__))
#define gsp_prefix(...) analyzer_failed(gsp_prefix(__VA_ARGS__))

#endif
