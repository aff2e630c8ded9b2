/* The LwM2M client: objects 1 and 3, registration. */
#ifndef CLIENT_H
#define CLIENT_H

#include "slots.h"

/* Fill object 3 (Device). */
void client_describe(const struct slots_running *running);

/* The network is there, or has gone. Does nothing before client_ready. */
void client_network(bool up);

/* The device is enrolled: register as soon as the network is there. */
void client_ready(void);

#endif
