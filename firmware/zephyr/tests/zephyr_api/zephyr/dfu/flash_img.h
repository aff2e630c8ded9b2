/* include/zephyr/dfu/flash_img.h, 9bffc7c0b874 */
#ifndef ZEPHYR_API_FLASH_IMG_H
#define ZEPHYR_API_FLASH_IMG_H

#include <stdint.h>

uint8_t flash_img_get_upload_slot(void);

#endif
