/* include/zephyr/net/net_mgmt.h: events have 64 bits since Zephyr 4.2. */
#ifndef ZEPHYR_API_NET_MGMT_H
#define ZEPHYR_API_NET_MGMT_H

#include <stdint.h>

struct net_if;
struct net_mgmt_event_callback;
typedef void (*net_mgmt_event_handler_t)(struct net_mgmt_event_callback *cb, uint64_t mgmt_event, struct net_if *iface);
struct net_mgmt_event_callback {
    net_mgmt_event_handler_t handler;
    uint64_t event_mask;
};
void net_mgmt_init_event_callback(struct net_mgmt_event_callback *cb, net_mgmt_event_handler_t handler,
                                  uint64_t mgmt_event_mask);
void net_mgmt_add_event_callback(struct net_mgmt_event_callback *cb);

#endif
