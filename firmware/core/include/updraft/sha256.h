/* SHA-256 (FIPS 180-4), in pieces as they come. */
#ifndef UPDRAFT_SHA256_H
#define UPDRAFT_SHA256_H

#include "updraft/flash.h"
#include "updraft/result.h"

#define UPDRAFT_SHA256_BYTES 32u

struct updraft_sha256 {
    uint32_t state[8];
    uint64_t length;
    uint8_t block[64];
};

void updraft_sha256_begin(struct updraft_sha256 *hash);
void updraft_sha256_add(struct updraft_sha256 *hash, const void *data, size_t length);
void updraft_sha256_end(struct updraft_sha256 *hash, uint8_t digest[UPDRAFT_SHA256_BYTES]);

/* Digest of the first `length` bytes of `source`; UPDRAFT_INTEGRITY when there are fewer, UPDRAFT_FAILED when they
 * cannot be read. */
enum updraft_result updraft_sha256_of(const struct updraft_source *source, uint32_t length,
                                      uint8_t digest[UPDRAFT_SHA256_BYTES]);

#endif
