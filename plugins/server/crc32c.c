/* SPDX-License-Identifier: Apache-2.0 */
#include "server/bytes.h"

#if defined(__aarch64__)
#include <sys/auxv.h>
#define HWCAP_CRC32_BIT (1ul << 7)
#endif

/* The remainders of the 16 half bytes, for machines without the instruction. */
static const uint32_t half_byte[16] = {0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
    0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a,
    0xf36e6f75};

static uint32_t
crc_portable(uint32_t crc, const uint8_t *p, size_t len)
{
    for (; len > 0; len--) {
        crc ^= *p++;
        crc = half_byte[crc & 15] ^ (crc >> 4);
        crc = half_byte[crc & 15] ^ (crc >> 4);
    }
    return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t
crc_hardware(uint32_t crc, const uint8_t *p, size_t len)
{
    uint64_t wide = crc;
    for (; len >= 8; len -= 8, p += 8)
        wide = __builtin_ia32_crc32di(wide, pg_le64(p));
    crc = (uint32_t)wide;
    for (; len > 0; len--)
        crc = __builtin_ia32_crc32qi(crc, *p++);
    return crc;
}

static int
have_hardware(void)
{
    return __builtin_cpu_supports("sse4.2");
}
#elif defined(__aarch64__) && defined(__GNUC__)
/* The instructions are written out: their intrinsics differ between compilers when the base target lacks them. */
static uint32_t
crc_hardware(uint32_t crc, const uint8_t *p, size_t len)
{
    for (; len >= 8; len -= 8, p += 8)
        __asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %x1" : "+r"(crc) : "r"(pg_le64(p)));
    for (; len > 0; len--)
        __asm__(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1" : "+r"(crc) : "r"((uint32_t)*p++));
    return crc;
}

static int
have_hardware(void)
{
    return (getauxval(AT_HWCAP) & HWCAP_CRC32_BIT) != 0;
}
#else
#define crc_hardware crc_portable
static int
have_hardware(void)
{
    return 0;
}
#endif

uint32_t
pg_crc32c(uint32_t seed, const void *data, size_t len)
{
    uint32_t crc = ~seed;
    crc = have_hardware() ? crc_hardware(crc, data, len) : crc_portable(crc, data, len);
    return ~crc;
}
