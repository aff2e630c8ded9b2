/* include/zephyr/sys/byteorder.h */
#ifndef ZEPHYR_API_BYTEORDER_H
#define ZEPHYR_API_BYTEORDER_H

#include <stdint.h>

uint32_t sys_get_le32(const uint8_t src[4]);

#endif
