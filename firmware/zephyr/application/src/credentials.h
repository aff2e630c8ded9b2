/* Who the device is and whom it talks to. */
#ifndef CREDENTIALS_H
#define CREDENTIALS_H

#include <stdbool.h>
#include <stddef.h>

#include "store.h"

/* Whether the device may start with this: NULL, or what is missing and what to do about it. `secure` is true for a
 * build with DTLS. Never falls back from coaps to coap, and takes no key out of an example. */
const char *credentials_missing(const struct store *enrolled, bool secure);

/* Fill the gaps from the build (server) and the hardware (endpoint name), then write objects 0 and 1; 0, or -EACCES
 * when the device is not enrolled, which has been said in the log. */
int credentials_apply(void);

#endif
