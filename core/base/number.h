/* SPDX-License-Identifier: Apache-2.0
 * Numbers from and to text: strict, no locale, no surprise. Parsers return 1 for a good value that
 * ends where the text ends, else 0 with the output untouched. */
#ifndef BASE_NUMBER_H
#define BASE_NUMBER_H

#include <stddef.h>
#include <stdint.h>

/* Decimal digits only (a leading '-' for the signed one). */
int parse_u64(const char *text, uint64_t max, uint64_t *ret);
int parse_i64(const char *text, int64_t min, int64_t max, int64_t *ret);
int parse_u64n(const char *text, size_t len, uint64_t max, uint64_t *ret);
/* As the stock tool reads numbers: 0x hex, leading 0 octal, INFINITE = max. */
int parse_u64_c(const char *text, uint64_t max, uint64_t *ret);
/* Any unambiguous beginning of true/false/yes/no, on/off (two letters), 1/0, in any case. */
int parse_bool(const char *text, int *ret);
/* A number and a unit ms s min h d with optional blanks between; a bare number counts base_us. */
int parse_duration_us(const char *text, int64_t base_us, int64_t *ret_us);
/* A number and a unit B KB kB MB GB TB; a bare number counts base_bytes. */
int parse_size(const char *text, uint64_t base_bytes, uint64_t *ret_bytes);

/* The largest unit that divides evenly: 300 s -> "5min". 0 -> "0d" and "0TB", as the stock tool. */
void format_duration_exact(int64_t us, char *buf, size_t size);
void format_size_exact(uint64_t bytes, char *buf, size_t size);
/* For people, in the stock tool's rounding: "8961kB", "16MB", "12B"; 0 -> "0". */
void format_size_pretty(int64_t bytes, char *buf, size_t size);
/* For people: "10s", "2m:5s", "1h:4m", "2d:3h", "250ms"; <= 0 -> "0". */
void format_interval_pretty(int64_t us, char *buf, size_t size);

#endif
