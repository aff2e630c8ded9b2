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

/* What is programmed at once, but for the end of an image: a multiple of every write unit. */
#define UPDRAFT_BLOCK_BYTES 64u

/* The part of the secondary slot that takes an image: from the image's start offset (one sector into the slot with
 * MCUboot's swap-using-offset), which begins a sector, up to what the trailer leaves. `write_unit` divides
 * UPDRAFT_BLOCK_BYTES and `area.size`; UPDRAFT_BLOCK_BYTES divides `sector_bytes`. `write` gets whole, aligned, erased
 * units; `erase` gets one whole sector, also the last one, where the trailer may begin. Both return 0, or anything else
 * for an error. */
struct updraft_slot {
    struct updraft_source area;
    int (*write)(void *context, uint32_t offset, const void *data, size_t length);
    int (*erase)(void *context, uint32_t offset, size_t length);
    uint32_t sector_bytes;
    uint8_t write_unit;
    uint8_t erased_value;
};

#endif
