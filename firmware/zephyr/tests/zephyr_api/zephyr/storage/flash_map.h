/* include/zephyr/storage/flash_map.h, 00cafdabf373; flash_area_flatten and the erased value as in Zephyr 4. */
#ifndef ZEPHYR_API_FLASH_MAP_H
#define ZEPHYR_API_FLASH_MAP_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <zephyr/device.h>

struct flash_area {
    uint8_t fa_id;
    uint16_t pad16;
    off_t fa_off;
    size_t fa_size;
    const struct device *fa_dev;
};
struct flash_sector {
    off_t fs_off;
    size_t fs_size;
};
int flash_area_open(uint8_t id, const struct flash_area **fa);
int flash_area_read(const struct flash_area *fa, off_t off, void *dst, size_t len);
int flash_area_write(const struct flash_area *fa, off_t off, const void *src, size_t len);
int flash_area_flatten(const struct flash_area *fa, off_t off, size_t len);
uint32_t flash_area_align(const struct flash_area *fa);
int flash_area_get_sectors(int fa_id, uint32_t *count, struct flash_sector *sectors);
uint8_t flash_area_erased_val(const struct flash_area *fa);

#endif
