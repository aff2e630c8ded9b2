/* The package of an update, image or delta, on its way into the secondary slot: whoever brings the bytes, push or pull.
 *
 *     updraft_package_begin(&package, &running, &slot);
 *     for each block:  result = updraft_package_feed(&package, data, length);
 *     at the end:      result = updraft_package_finish(&package, &image, sha256);  then "Downloaded"
 *
 * Resume: whenever it suits the device, between two calls of feed, it stores `updraft_package_checkpoint`; after a
 * power cut `updraft_package_resume` takes it up, and the transfer goes on at `package.offset`.
 */
#ifndef UPDRAFT_PACKAGE_H
#define UPDRAFT_PACKAGE_H

#include "updraft/image.h"
#include "updraft/patch.h"

enum updraft_package_kind {
    UPDRAFT_PACKAGE_UNKNOWN = 0, /* too few bytes to tell */
    UPDRAFT_PACKAGE_IMAGE = 1,
    UPDRAFT_PACKAGE_DELTA = 2,
};

/* `offset` and `kind` are for everybody to read, the rest is for package.c. */
struct updraft_package {
    const struct updraft_source *running;
    const struct updraft_slot *slot;
    uint32_t offset; /* package bytes taken */
    enum updraft_package_kind kind;
    enum updraft_result refused;              /* once is for ever */
    uint32_t written;                         /* bytes of the image that are in flash */
    uint8_t block_at;                         /* bytes of the image that wait in `block` */
    uint8_t block[UPDRAFT_BLOCK_BYTES];       /* filled up, then programmed */
    uint8_t head[UPDRAFT_DELTA_HEADER_BYTES]; /* the package's own header, of either kind */
    struct updraft_delta delta;
    struct updraft_patch patch;
};

/* `running` is exactly the running image (its `size` is the image's total_size, see updraft_image_parse); both stay
 * where they are until the end. Touches no flash. */
void updraft_package_begin(struct updraft_package *package, const struct updraft_source *running,
                           const struct updraft_slot *slot);

/* Take the next bytes. Sectors are erased as their first byte arrives, not before: a package that is refused by its
 * first bytes leaves the old image in secondary alone. UPDRAFT_UNSUPPORTED_PACKAGE, UPDRAFT_INTEGRITY,
 * UPDRAFT_NOT_ENOUGH_FLASH, or UPDRAFT_FAILED when the flash failed or holds something else than what is written again
 * after a resume; begin anew after any of them. */
enum updraft_result updraft_package_feed(struct updraft_package *package, const uint8_t *data, size_t length);

/* All bytes are there: judge what is in flash (size and SHA-256 of a delta's result, then structure, hash, key hash and
 * signature of the image by `updraft_image_check`). `image` and `sha256`, taken over the whole new image, are what
 * `updraft_update_downloaded` and the log want to know. */
enum updraft_result updraft_package_finish(struct updraft_package *package, struct updraft_image *image,
                                           uint8_t sha256[UPDRAFT_SHA256_BYTES]);

#define UPDRAFT_CHECKPOINT_BYTES 467u
void updraft_package_checkpoint(const struct updraft_package *package, uint8_t checkpoint[UPDRAFT_CHECKPOINT_BYTES]);

/* Go on from a checkpoint; UPDRAFT_INTEGRITY when it is damaged, of another running image or does not fit the slot:
 * begin anew then. Also checks that the running image still is the delta's base. */
enum updraft_result updraft_package_resume(struct updraft_package *package, const struct updraft_source *running,
                                           const struct updraft_slot *slot,
                                           const uint8_t checkpoint[UPDRAFT_CHECKPOINT_BYTES]);

#endif
