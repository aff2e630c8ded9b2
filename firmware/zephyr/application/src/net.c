/* Whether there is a network: Zephyr's connection manager, whatever the interface is. */
#include <zephyr/net/conn_mgr_monitor.h>
#include <zephyr/net/net_event.h>
#include <zephyr/net/net_mgmt.h>
#include <zephyr/sys/util.h>

#include "client.h"
#include "net.h"

static struct net_mgmt_event_callback callback;

static void on_change(struct net_mgmt_event_callback *from, uint64_t event, struct net_if *interface) {
    ARG_UNUSED(from);
    ARG_UNUSED(interface);
    if (event == NET_EVENT_L4_CONNECTED || event == NET_EVENT_L4_DISCONNECTED) {
        client_network(event == NET_EVENT_L4_CONNECTED);
    }
}

void net_start(void) {
    net_mgmt_init_event_callback(&callback, on_change, NET_EVENT_L4_CONNECTED | NET_EVENT_L4_DISCONNECTED);
    net_mgmt_add_event_callback(&callback);
    /* The network may have come up before anybody listened. */
    conn_mgr_mon_resend_status();
}
