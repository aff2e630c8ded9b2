/* The 88 bytes before a patch, little endian: which image it is for, what comes out, and how it is packed.
 *
 *     0  magic "UDLT" | 4 version 1 | 5 header size 88 | 6 flags u16, 0 | 8 from_size | 12 to_size | 16 patch_size
 *    20  compression | 21 window bits | 22 lookahead bits | 23 0 | 24 SHA-256 of the base | 56 SHA-256 of the result
 */
#include "updraft/delta.h"

#include <string.h>

#include "bytes.h"

/* Bytes 4 to 8 and 20 to 24 can have two forms each: those of the compressions. */
static const uint8_t FORM[4] = {1, UPDRAFT_DELTA_HEADER_BYTES, 0, 0};
static const uint8_t PACKED[2][4] = {{UPDRAFT_CRLE, 0, 0, 0}, {UPDRAFT_HEATSHRINK, 8, 7, 0}};

enum updraft_result updraft_delta_decode(const uint8_t header[UPDRAFT_DELTA_HEADER_BYTES],
                                         struct updraft_delta *delta) {
    bool crle = memcmp(header + 20, PACKED[0], sizeof PACKED[0]) == 0;
    bool heatshrink = memcmp(header + 20, PACKED[1], sizeof PACKED[1]) == 0;
    if (updraft_get32(header) != UPDRAFT_DELTA_MAGIC || memcmp(header + 4, FORM, sizeof FORM) != 0 ||
        (!crle && !heatshrink)) {
        return UPDRAFT_UNSUPPORTED_PACKAGE;
    }
    delta->from_size = updraft_get32(header + 8);
    delta->to_size = updraft_get32(header + 12);
    delta->patch_size = updraft_get32(header + 16);
    delta->compression = crle ? UPDRAFT_CRLE : UPDRAFT_HEATSHRINK;
    memcpy(delta->from_sha256, header + 24, UPDRAFT_SHA256_BYTES);
    memcpy(delta->to_sha256, header + 56, UPDRAFT_SHA256_BYTES);
    return UPDRAFT_GOOD;
}

enum updraft_result updraft_delta_admit(const struct updraft_delta *delta, const struct updraft_source *running,
                                        uint32_t slot_bytes) {
    uint8_t digest[UPDRAFT_SHA256_BYTES];
    if (delta->from_size != running->size) {
        return UPDRAFT_INTEGRITY;
    }
    enum updraft_result result = updraft_sha256_of(running, running->size, digest);
    if (result != UPDRAFT_GOOD) {
        return result;
    }
    if (memcmp(digest, delta->from_sha256, sizeof digest) != 0) {
        return UPDRAFT_INTEGRITY;
    }
    return delta->to_size > slot_bytes ? UPDRAFT_NOT_ENOUGH_FLASH : UPDRAFT_GOOD;
}
