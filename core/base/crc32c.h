/* SPDX-License-Identifier: Apache-2.0
 * CRC-32C (Castagnoli), the checksum of every file in a catalog. */
#ifndef BASE_CRC32C_H
#define BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* crc32c - seed 0 begins; crc32c(crc32c(0, a), b) is the value of a followed by b. thread ANY */
uint32_t crc32c(uint32_t seed, const void *data, size_t len);
/* crc32c_zeros - as crc32c over len zero bytes, in O(log len): holes need no reading. */
uint32_t crc32c_zeros(uint32_t seed, uint64_t len);

#endif
