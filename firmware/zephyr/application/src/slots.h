/* The two image slots, as firmware/core wants to see them. */
#ifndef SLOTS_H
#define SLOTS_H

#include "updraft/image.h"

/* The image that runs. `source.size` is 0 when the primary slot holds nothing that MCUboot would know: then there is no
 * version, no hash, and no base for a delta. */
struct slots_running {
    struct updraft_source source;
    struct updraft_image image;
    uint8_t sha256[UPDRAFT_SHA256_BYTES]; /* over the whole image, as it was released */
};

/* Look at the running image; 0 or a negative errno value. Reads it once from end to end. */
int slots_open(struct slots_running *running);

/* The part of the secondary slot that takes an image; 0 or a negative errno value. To be called only while the running
 * image is confirmed (until then firmware/core refuses a download): before, Zephyr's boot_get_image_start_offset
 * answers for the fallback, and names another sector. */
int slots_secondary(struct updraft_slot *slot);

/* Ask MCUboot to run the image in the secondary slot once; 0 or a negative errno value. */
int slots_request_test(void);

/* Resource 26250/0/4: 0 none, 1 test, 2 permanent, 3 revert. */
int slots_last_swap(void);

/* Bytes an image may have so that MCUboot can swap it, in both slots: whole sectors less those of the trailer. Sizes in
 * bytes; `start` is where the image begins in the secondary slot, `unit` the flash's write unit. 0: nothing fits. */
uint32_t slots_capacity(uint32_t primary, uint32_t secondary, uint32_t start, uint32_t sector, uint32_t unit);

#endif
