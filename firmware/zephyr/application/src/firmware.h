/* Object 5 of the device: Zephyr's callbacks on one side, the update machine of firmware/core on the other. */
#ifndef FIRMWARE_H
#define FIRMWARE_H

#include "slots.h"
#include "updraft/update.h"

/* Take up what was going on before the reboot and register with Zephyr's object 5; 0 or a negative errno value. The
 * store is loaded; `running` stays where it is. */
int firmware_start(const struct slots_running *running);

/* Whether the running image still has to prove itself. */
bool firmware_on_trial(void);

/* The running image has tested itself, or has registered with the server. */
void firmware_self_test_passed(void);
void firmware_server_reached(void);

/* What to do about the trial at this time; `seconds` since boot. */
enum updraft_trial_action firmware_trial(uint32_t seconds);

/* Confirm the running image; 0, or a negative errno value when MCUboot's flag could not be written. */
int firmware_confirm(void);

#endif
