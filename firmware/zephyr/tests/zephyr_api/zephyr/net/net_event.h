/* include/zephyr/net/net_event.h */
#ifndef ZEPHYR_API_NET_EVENT_H
#define ZEPHYR_API_NET_EVENT_H

#include <stdint.h>

#define NET_EVENT_L4_CONNECTED ((uint64_t)1)
#define NET_EVENT_L4_DISCONNECTED ((uint64_t)2)

#endif
