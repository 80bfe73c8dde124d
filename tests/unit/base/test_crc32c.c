/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/crc32c.h"

/* Bit by bit, straight from the definition of the checksum. */
static uint32_t
reference(const unsigned char *p, size_t len)
{
    uint32_t crc = 0xFFFFFFFFu;
    for (size_t i = 0; i < len; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82F63B78u : 0);
    }
    return ~crc;
}

static void
known_values(void **state)
{
    (void)state;
    assert_true(crc32c(0, "123456789", 9) == 3808858755u);
    assert_true(crc32c(0, "", 0) == 0);
}

static void
every_length_and_alignment_equals_the_definition(void **state)
{
    (void)state;
    enum { MOST = 60000 };
    unsigned char *data = malloc(MOST + 16);
    assert_non_null(data);
    for (size_t i = 0; i < MOST + 16; i++)
        data[i] = (unsigned char)(i * 131 + (i >> 7));
    static const size_t lengths[] = {1, 7, 8, 9, 63, 4079, 4080, 4081, 8192, 8200, 49151, 49152, 49153, MOST};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
        for (size_t shift = 0; shift < 9; shift += 4)
            assert_true(crc32c(0, data + shift, lengths[i]) == reference(data + shift, lengths[i]));
    assert_true(crc32c(crc32c(0, data, 12345), data + 12345, MOST - 12345) == crc32c(0, data, MOST));
    free(data);
}

static void
zeros_without_reading(void **state)
{
    (void)state;
    static const unsigned char zeros[5000];
    assert_true(crc32c_zeros(77, 0) == 77);
    assert_true(crc32c_zeros(77, 1) == crc32c(77, zeros, 1));
    assert_true(crc32c_zeros(0, 5000) == crc32c(0, zeros, 5000));
    assert_true(crc32c_zeros(crc32c_zeros(5, 3000000000u), 7) == crc32c_zeros(5, 3000000007u));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_values),
        cmocka_unit_test(every_length_and_alignment_equals_the_definition),
        cmocka_unit_test(zeros_without_reading),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
