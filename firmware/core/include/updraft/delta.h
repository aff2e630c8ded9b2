/* The header of an Updraft delta (docs/deltas.md): which image it is for, and what comes out. */
#ifndef UPDRAFT_DELTA_H
#define UPDRAFT_DELTA_H

#include <stdbool.h>

#include "updraft/sha256.h"

#define UPDRAFT_DELTA_MAGIC 0x544c4455u /* "UDLT", little endian */
#define UPDRAFT_DELTA_HEADER_BYTES 88u

enum updraft_compression {
    UPDRAFT_CRLE = 1,
    UPDRAFT_HEATSHRINK = 2,
};

/* Resource 26250/0/3, Delta Formats: what `updraft_delta_decode` and the decoder of updraft/patch.h take. */
#define UPDRAFT_DELTA_FORMATS 3u

struct updraft_delta {
    uint32_t from_size;
    uint32_t to_size;
    uint32_t patch_size;
    enum updraft_compression compression;
    uint8_t from_sha256[UPDRAFT_SHA256_BYTES];
    uint8_t to_sha256[UPDRAFT_SHA256_BYTES];
};

/* Read the header. UPDRAFT_UNSUPPORTED_PACKAGE for another version, flag, compression or window. */
enum updraft_result updraft_delta_decode(const uint8_t header[UPDRAFT_DELTA_HEADER_BYTES], struct updraft_delta *delta);

/* Whether it may be applied here, asked before anything is erased: UPDRAFT_INTEGRITY when it is for another base than
 * the running image (`running` is exactly that image), then UPDRAFT_NOT_ENOUGH_FLASH when the result is larger than
 * `slot_bytes`. Reads the whole running image. */
enum updraft_result updraft_delta_admit(const struct updraft_delta *delta, const struct updraft_source *running,
                                        uint32_t slot_bytes);

#endif
