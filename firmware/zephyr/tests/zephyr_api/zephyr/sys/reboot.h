/* include/zephyr/sys/reboot.h, 145209f6007d */
#ifndef ZEPHYR_API_REBOOT_H
#define ZEPHYR_API_REBOOT_H

#define SYS_REBOOT_COLD 1
_Noreturn void sys_reboot(int type);

#endif
