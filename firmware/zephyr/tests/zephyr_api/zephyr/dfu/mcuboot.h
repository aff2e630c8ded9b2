/* include/zephyr/dfu/mcuboot.h and subsys/dfu/boot/mcuboot.c, 030cbd8f6f14: the start offset of the secondary slot is
 * one sector unless MCUboot would revert at the next boot. */
#ifndef ZEPHYR_API_MCUBOOT_H
#define ZEPHYR_API_MCUBOOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BOOT_UPGRADE_TEST 0
uint8_t boot_fetch_active_slot(void);
bool boot_is_img_confirmed(void);
int boot_write_img_confirmed(void);
int boot_request_upgrade(int permanent);
size_t boot_get_image_start_offset(uint8_t area_id);

#endif
