/* mcu-tools/mcuboot, boot/bootutil/include/bootutil/bootutil_public.h, 0cd9e9a6e16d */
#ifndef ZEPHYR_API_BOOTUTIL_PUBLIC_H
#define ZEPHYR_API_BOOTUTIL_PUBLIC_H

#include <stdint.h>
#include <zephyr/storage/flash_map.h>

#define BOOT_SWAP_TYPE_NONE 1
#define BOOT_SWAP_TYPE_REVERT 4
#define BOOT_MAGIC_GOOD 1
struct boot_swap_state {
    uint8_t magic;
    uint8_t swap_type;
    uint8_t copy_done;
    uint8_t image_ok;
    uint8_t image_num;
};
int boot_read_swap_state(const struct flash_area *fa, struct boot_swap_state *state);

#endif
