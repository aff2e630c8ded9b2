/* include/zephyr/sys/util.h and util_macro.h: IS_ENABLED is 1 for an option that is y, 0 for one that is not set. */
#ifndef ZEPHYR_API_UTIL_H
#define ZEPHYR_API_UTIL_H

#include <stddef.h>
#include <stdint.h>

#define ARG_UNUSED(argument) (void)(argument)
#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))
#define BIT(n) (1UL << (n))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define ROUND_UP(value, unit) (((value) + (unit) - 1) / (unit) * (unit))
#define DIV_ROUND_UP(value, unit) (((value) + (unit) - 1) / (unit))

#define IS_ENABLED(option) ZEPHYR_API_VALUE(option)
#define ZEPHYR_API_VALUE(value) ZEPHYR_API_SECOND(ZEPHYR_API_SET_##value)
#define ZEPHYR_API_SET_1 ignored,
#define ZEPHYR_API_SECOND(one_or_two) ZEPHYR_API_PICK(one_or_two 1, 0)
#define ZEPHYR_API_PICK(first, second, ...) second

size_t bin2hex(const uint8_t *buf, size_t buflen, char *hex, size_t hexlen);
size_t hex2bin(const char *hex, size_t hexlen, uint8_t *buf, size_t buflen);

#endif
