/* Rebooting on request. */
#ifndef REBOOT_H
#define REBOOT_H

/* Reboot a moment from now, so that the answer to the request leaves first. */
void reboot_soon(void);

#endif
