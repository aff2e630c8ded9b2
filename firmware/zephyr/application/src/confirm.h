/* The watchdog, and the trial of a new image. */
#ifndef CONFIRM_H
#define CONFIRM_H

#include <stdbool.h>

/* Start the watchdog, and the clock of the trial when the running image is not confirmed; 0, or the negative errno of
 * the watchdog, without which the clock runs all the same. */
int confirm_start(void);

/* The running image has registered with the server, in this boot. */
void confirm_server_reached(void);

/* The product's own test of its hardware, run once at boot; replace it by a function of the same name. An image whose
 * test fails is never confirmed. */
bool updraft_self_test(void);

#endif
