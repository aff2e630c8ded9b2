/* include/zephyr/task_wdt/task_wdt.h, 6a91888ab739 */
#ifndef ZEPHYR_API_TASK_WDT_H
#define ZEPHYR_API_TASK_WDT_H

#include <stdint.h>
#include <zephyr/device.h>

typedef void (*task_wdt_callback_t)(int channel_id, void *user_data);
int task_wdt_init(const struct device *hw_wdt);
int task_wdt_add(uint32_t reload_period, task_wdt_callback_t callback, void *user_data);
int task_wdt_delete(int channel_id);
int task_wdt_feed(int channel_id);

#endif
