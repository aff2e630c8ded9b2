/* include/zephyr/drivers/hwinfo.h, 0705fe876431 */
#ifndef ZEPHYR_API_HWINFO_H
#define ZEPHYR_API_HWINFO_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

ssize_t hwinfo_get_device_id(uint8_t *buffer, size_t length);

#endif
