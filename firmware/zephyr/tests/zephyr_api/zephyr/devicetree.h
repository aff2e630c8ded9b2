/* include/zephyr/devicetree.h; alias watchdog0 is in dts/arm/nxp/kinetis/nxp_k6x.dtsi (899dcf6d4b13) and
 * boards/nordic/nrf52840dk/nrf52840dk_nrf52840.dts (07d5b2e3b9ae). */
#ifndef ZEPHYR_API_DEVICETREE_H
#define ZEPHYR_API_DEVICETREE_H

#define DT_ALIAS(name) zephyr_alias_##name
#define zephyr_alias_watchdog0 zephyr_watchdog

#endif
