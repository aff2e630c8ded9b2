/* include/zephyr/net/conn_mgr_monitor.h, 2134b4cda5ae */
#ifndef ZEPHYR_API_CONN_MGR_MONITOR_H
#define ZEPHYR_API_CONN_MGR_MONITOR_H

void conn_mgr_mon_resend_status(void);

#endif
