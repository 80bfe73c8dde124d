/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/contract/compressor/reference.h"

#include <string.h>

#include <zlib.h>
#ifdef HAVE_ZSTD
#include <zstd.h>
#endif

/* ---- zlib: the library's own one-shot functions, variant = level ---- */

static int
zlib_ref_decode(const uint8_t *in, uint32_t in_len, uint8_t *out, uint32_t out_len)
{
    uLongf got = out_len;
    uLong used = in_len;
    return uncompress2(out, &got, in, &used) == Z_OK && got == out_len && used == in_len;
}

static uint32_t
zlib_ref_encode(int variant, const uint8_t *in, uint32_t in_len, uint8_t *out, uint32_t cap)
{
    uLongf len = cap;
    return compress2(out, &len, in, in_len, variant) == Z_OK ? (uint32_t)len : 0;
}

/* ---- pglz: one bit, one item, one byte at a time ---- */

static int
pglz_ref_decode(const uint8_t *in, uint32_t in_len, uint8_t *out, uint32_t out_len)
{
    uint32_t i = 0, o = 0;
    while (i < in_len) {
        uint8_t control = in[i++];
        for (int item = 0; item < 8 && i < in_len; item++) {
            int is_copy = (control >> item) & 1;
            if (!is_copy) {
                if (o == out_len)
                    return 0;
                out[o++] = in[i++];
                continue;
            }
            if (i + 1 >= in_len)
                return 0;
            uint32_t back = (uint32_t)(in[i] / 16) * 256 + in[i + 1];
            uint32_t count = in[i] % 16 + 3u;
            i += 2;
            if (count == 18) {
                if (i >= in_len)
                    return 0;
                count += in[i++];
            }
            if (back < 1 || back > o)
                return 0;
            while (count-- > 0) {
                if (o == out_len)
                    return 0;
                out[o] = out[o - back];
                o++;
            }
        }
    }
    return o == out_len;
}

/* The longest match at `at`, by looking everywhere. */
static uint32_t
pglz_ref_match(const uint8_t *in, uint32_t at, uint32_t in_len, uint32_t max_back, uint32_t *ret_back)
{
    uint32_t best = 0;
    for (uint32_t back = 1; back <= at && back <= max_back; back++) {
        uint32_t len = 0;
        while (len < 273 && at + len < in_len && in[at + len] == in[at + len - back])
            len++;
        if (len > best) {
            best = len;
            *ret_back = back;
        }
    }
    return best >= 3 ? best : 0;
}

/* Variant 0: literals only; 1: overlapping copies from 1 to 7 bytes back only; 2: the best match. */
static uint32_t
pglz_ref_encode(int variant, const uint8_t *in, uint32_t in_len, uint8_t *out, uint32_t cap)
{
    static const uint32_t max_back[] = {0, 7, 4095};
    uint32_t at = 0, to = 0, control = 0;
    for (uint32_t item = 0; at < in_len; item++) {
        if (to + 4 > cap)
            return 0;
        if (item % 8 == 0) {
            control = to;
            out[to++] = 0;
        }
        uint32_t back = 0, len = pglz_ref_match(in, at, in_len, max_back[variant], &back);
        if (len == 0) {
            out[to++] = in[at++];
            continue;
        }
        out[control] = (uint8_t)(out[control] + (1 << item % 8));
        out[to++] = (uint8_t)(back / 256 * 16 + (len < 18 ? len - 3 : 15));
        out[to++] = (uint8_t)(back % 256);
        if (len >= 18)
            out[to++] = (uint8_t)(len - 18);
        at += len;
    }
    return to;
}

/* ---- lz4: one sequence at a time ---- */

/* A length that does not fit its half of the token goes on in bytes. Returns 0 behind the end. */
static int
lz4_ref_length(const uint8_t *in, uint32_t in_len, uint32_t *at, uint32_t *len)
{
    if (*len != 15)
        return 1;
    for (uint8_t more = 255; more == 255; (*at)++) {
        if (*at == in_len)
            return 0;
        more = in[*at];
        *len += more;
    }
    return 1;
}

static int
lz4_ref_decode(const uint8_t *in, uint32_t in_len, uint8_t *out, uint32_t out_len)
{
    uint32_t i = 0, o = 0;
    while (i < in_len) {
        uint32_t literals = in[i] / 16, match = in[i] % 16;
        i++;
        if (!lz4_ref_length(in, in_len, &i, &literals) || literals > in_len - i || literals > out_len - o)
            return 0;
        memcpy(out + o, in + i, literals);
        o += literals;
        i += literals;
        if (i == in_len)
            return o == out_len;
        if (in_len - i < 2)
            return 0;
        uint32_t back = in[i] + 256u * in[i + 1];
        i += 2;
        if (!lz4_ref_length(in, in_len, &i, &match))
            return 0;
        match += 4;
        if (back < 1 || back > o || match > out_len - o)
            return 0;
        for (; match > 0; match--, o++)
            out[o] = out[o - back];
    }
    return 0;
}

static uint32_t
lz4_ref_put_length(uint32_t len, uint8_t *out, uint32_t to)
{
    if (len < 15)
        return to;
    for (len -= 15; len >= 255; len -= 255)
        out[to++] = 255;
    out[to++] = (uint8_t)len;
    return to;
}

/* A token, its literals and, unless match is 0, a copy. */
static uint32_t
lz4_ref_put(const uint8_t *in, uint32_t literals, uint32_t back, uint32_t match, uint8_t *out, uint32_t to)
{
    uint32_t rest = match > 0 ? match - 4 : 0;
    out[to++] = (uint8_t)((literals < 15 ? literals : 15) * 16 + (rest < 15 ? rest : 15));
    to = lz4_ref_put_length(literals, out, to);
    memcpy(out + to, in, literals);
    to += literals;
    if (match == 0)
        return to;
    out[to++] = (uint8_t)back;
    out[to++] = (uint8_t)(back / 256);
    return lz4_ref_put_length(rest, out, to);
}

/* The longest match, but none in the last 12 bytes and none that reaches into the last 5, as the format wants it. */
static uint32_t
lz4_ref_match(const uint8_t *in, uint32_t at, uint32_t in_len, uint32_t max_back, uint32_t *ret_back)
{
    uint32_t best = 0;
    for (uint32_t back = 1; at + 12 < in_len && back <= at && back <= max_back; back++) {
        uint32_t len = 0;
        while (at + len + 5 < in_len && in[at + len] == in[at + len - back])
            len++;
        if (len > best) {
            best = len;
            *ret_back = back;
        }
    }
    return best >= 4 ? best : 0;
}

/* Variant 0: literals only; 1: overlapping copies from 1 to 7 bytes back only; 2: the best match. */
static uint32_t
lz4_ref_encode(int variant, const uint8_t *in, uint32_t in_len, uint8_t *out, uint32_t cap)
{
    static const uint32_t max_back[] = {0, 7, 65535};
    uint32_t at = 0, to = 0, first = 0;
    if (in_len + in_len / 255 + 16 > cap)
        return 0;
    while (at < in_len) {
        uint32_t back = 0, match = lz4_ref_match(in, at, in_len, max_back[variant], &back);
        if (match == 0) {
            at++;
            continue;
        }
        to = lz4_ref_put(in + first, at - first, back, match, out, to);
        at += match;
        first = at;
    }
    return lz4_ref_put(in + first, in_len - first, 0, 0, out, to);
}

/* ---- zstd: the library's own one-shot functions, variant = level, 0 stands for its default ---- */

#ifdef HAVE_ZSTD
static int
zstd_ref_decode(const uint8_t *in, uint32_t in_len, uint8_t *out, uint32_t out_len)
{
    return ZSTD_getFrameContentSize(in, in_len) == out_len && ZSTD_findFrameCompressedSize(in, in_len) == in_len &&
           ZSTD_decompress(out, out_len, in, in_len) == out_len;
}

static uint32_t
zstd_ref_encode(int variant, const uint8_t *in, uint32_t in_len, uint8_t *out, uint32_t cap)
{
    size_t len = ZSTD_compress(out, cap, in, in_len, variant);
    return ZSTD_isError(len) ? 0 : (uint32_t)len;
}
#endif

const struct reference *
reference_find(const char *name)
{
    static const struct reference all[] = {
        {"zlib", zlib_ref_decode, zlib_ref_encode, 10},
        {"pglz", pglz_ref_decode, pglz_ref_encode, 3},
        {"lz4", lz4_ref_decode, lz4_ref_encode, 3},
#ifdef HAVE_ZSTD
        {"zstd", zstd_ref_decode, zstd_ref_encode, 10},
#endif
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (strcmp(all[i].name, name) == 0)
            return &all[i];
    return NULL;
}
