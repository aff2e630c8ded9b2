/* The flash as this library sees it: bytes to read, and one slot to fill. The device gives the functions. */
#ifndef UPDRAFT_FLASH_H
#define UPDRAFT_FLASH_H

#include <stddef.h>
#include <stdint.h>

/* `size` readable bytes. `read` copies `length` bytes from `offset` to `data` and returns 0, or anything else when it
 * cannot; it is never asked for bytes at or beyond `size`. */
struct updraft_source {
    int (*read)(void *context, uint32_t offset, void *data, size_t length);
    void *context;
    uint32_t size;
};

/* Largest write unit there is room for (MCUboot's largest alignment). */
#define UPDRAFT_WRITE_UNIT_MAX 32u

/* The part of the secondary slot that takes an image: from the image's start offset (one sector into the slot with
 * MCUboot's swap-using-offset) up to what the trailer leaves. `area.size` is a multiple of `sector_bytes` but for the
 * end, `write_unit` is 1 to UPDRAFT_WRITE_UNIT_MAX, a power of two. Both functions return 0 or anything else for an
 * error. `write` gets whole, aligned units that are erased; `erase` gets one whole sector. */
struct updraft_slot {
    struct updraft_source area;
    int (*write)(void *context, uint32_t offset, const void *data, size_t length);
    int (*erase)(void *context, uint32_t offset, size_t length);
    uint32_t sector_bytes;
    uint8_t write_unit;
    uint8_t erased_value;
};

#endif
