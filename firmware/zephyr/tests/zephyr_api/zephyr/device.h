/* include/zephyr/device.h: NULL when the node is not there or not okay. */
#ifndef ZEPHYR_API_DEVICE_H
#define ZEPHYR_API_DEVICE_H

struct device;
extern const struct device *zephyr_watchdog;
#define DEVICE_DT_GET_OR_NULL(node) (node)

#endif
