/* Flash with strict rules: a write must be aligned and meet erased units only, an erase takes a whole sector. */
#ifndef FLASH_MODEL_H
#define FLASH_MODEL_H

#include "updraft/flash.h"

#define MODEL_BYTES (160u * 1024u)

/* Operations are counted from 1. `cut_at` is the one that the power fails in: it does half of its work and answers an
 * error, and so does everything after it until `model_power_on`. `fail_read_at` counts reads and fails one. */
struct flash_model {
    uint8_t data[MODEL_BYTES];
    struct updraft_slot slot;
    unsigned long operations;
    unsigned long erases;
    unsigned long cut_at;
    unsigned long reads;
    unsigned long fail_read_at;
    unsigned long violations;
    uint32_t highest; /* byte that was ever written or erased, and one more */
};

/* Filled with `content`; `size` bytes of it take an image. */
void model_begin(struct flash_model *model, uint8_t content, uint32_t size, uint32_t sector_bytes, uint8_t write_unit,
                 uint8_t erased_value);
void model_power_on(struct flash_model *model);

/* Bytes in memory as a source; reads are not counted. */
struct updraft_source memory_source(const uint8_t *data, uint32_t size);

#endif
