/* Rebooting on request, of Execute 5/0/2 or 3/0/4. */
#include <zephyr/kernel.h>
#include <zephyr/sys/reboot.h>

#include "reboot.h"

static void reboot_now(struct k_work *work) {
    ARG_UNUSED(work);
    sys_reboot(SYS_REBOOT_COLD);
}

static K_WORK_DELAYABLE_DEFINE(reboot, reboot_now);

void reboot_soon(void) {
    k_work_schedule(&reboot, K_MSEC(CONFIG_UPDRAFT_REBOOT_MILLISECONDS));
}
