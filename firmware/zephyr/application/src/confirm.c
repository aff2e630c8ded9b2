/* Confirming a new image: after it has tested itself and registered with the server, and never before.
 *
 * Two clocks stand over the trial, because the image on trial is the one that may be broken. The tick below asks
 * firmware/core every second and reboots when the deadline has passed; and a watchdog channel that nobody feeds resets
 * the device soon after, when the tick itself does not run any more. Either way MCUboot takes the old image back.
 */
#include <zephyr/device.h>
#include <zephyr/devicetree.h>
#include <zephyr/kernel.h>
#include <zephyr/logging/log.h>
#include <zephyr/sys/reboot.h>
#include <zephyr/sys/util.h>
#include <zephyr/task_wdt/task_wdt.h>

#include "confirm.h"
#include "firmware.h"
#include "image_object.h"

LOG_MODULE_REGISTER(updraft_confirm);

#define TICK K_SECONDS(1)
/* So that the tick's own reboot, which leaves a line in the log, comes first. */
#define GRACE_SECONDS 10u

static int alive_channel = -1;
static int trial_channel = -1;

__weak bool updraft_self_test(void) {
    return true;
}

static void end_trial(void) {
    int error = firmware_confirm();

    if (error != 0) {
        LOG_ERR("the image could not be confirmed: %d", error); /* tried again with the next tick */
        return;
    }
    if (trial_channel >= 0) {
        task_wdt_delete(trial_channel);
        trial_channel = -1;
    }
    image_object_confirmed();
    LOG_INF("new image confirmed");
}

static void tick(struct k_work *work) {
    if (alive_channel >= 0) {
        task_wdt_feed(alive_channel);
    }
    switch (firmware_trial((uint32_t)(k_uptime_get() / MSEC_PER_SEC))) {
    case UPDRAFT_CONFIRM:
        end_trial();
        break;
    case UPDRAFT_REBOOT:
        LOG_ERR("not registered in time: back to the old image");
        sys_reboot(SYS_REBOOT_COLD);
        break;
    case UPDRAFT_WAIT:
        break;
    }
    k_work_schedule(k_work_delayable_from_work(work), TICK);
}

static K_WORK_DELAYABLE_DEFINE(ticker, tick);

void confirm_server_reached(void) {
    firmware_server_reached();
    k_work_reschedule(&ticker, K_NO_WAIT); /* the server may offer the next update right away */
}

/* The channels of the watchdog; 0, or the negative errno of what it lacks. */
static int watch(void) {
    int error = task_wdt_init(DEVICE_DT_GET_OR_NULL(DT_ALIAS(watchdog0)));

    if (error != 0) {
        return error;
    }
    alive_channel = task_wdt_add(CONFIG_UPDRAFT_WATCHDOG_SECONDS * MSEC_PER_SEC, NULL, NULL);
    if (alive_channel >= 0 && firmware_on_trial()) {
        trial_channel = task_wdt_add((CONFIG_UPDRAFT_CONFIRM_SECONDS + GRACE_SECONDS) * MSEC_PER_SEC, NULL, NULL);
        return MIN(trial_channel, 0);
    }
    return MIN(alive_channel, 0);
}

int confirm_start(void) {
    int error = watch();

    if (updraft_self_test()) {
        firmware_self_test_passed();
    } else {
        LOG_ERR("self-test failed");
    }
    /* With or without a watchdog: a trial has to end. */
    k_work_schedule(&ticker, TICK);
    return error;
}
