/* What survives a reboot: Zephyr's settings below "updraft/". */
#ifndef STORE_H
#define STORE_H

#include <stddef.h>
#include <stdint.h>

#include "updraft/update.h"

#define STORE_URI_BYTES 128u
#define STORE_NAME_BYTES 65u
#define STORE_PSK_BYTES 32u

/* Texts end with a NUL and are empty when nothing was stored; so is the record, which then decodes to none. */
struct store {
    uint8_t record[UPDRAFT_RECORD_BYTES];
    uint32_t boots;
    char server[STORE_URI_BYTES];
    char endpoint[STORE_NAME_BYTES];
    char identity[STORE_NAME_BYTES];
    uint8_t psk[STORE_PSK_BYTES];
    size_t psk_bytes;
};

extern struct store store;

/* Read everything; 0 or a negative errno value. */
int store_load(void);

/* Change one value, in flash and here. `name` is "record", "boots", "server", "endpoint", "identity" or "psk"; -EINVAL
 * for another one or too many bytes, or what the flash said. */
int store_save(const char *name, const void *value, size_t length);

#endif
