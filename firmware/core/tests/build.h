/* Makes images and deltas byte by byte, right ones and wrong ones. */
#ifndef BUILD_H
#define BUILD_H

#include <stdbool.h>
#include <stdint.h>

#include "updraft/delta.h"

struct built {
    uint8_t data[8192];
    uint32_t size;
};

void put(struct built *built, const void *data, uint32_t length);
void put16(struct built *built, unsigned value);
void put32(struct built *built, uint32_t value);

/* A header of `header_size` bytes, and a body that is the same for the same `seed`. */
void image_begin(struct built *built, uint16_t header_size, uint32_t body_bytes, uint16_t protected_bytes,
                 uint8_t seed);
void tlv(struct built *built, unsigned type, uint16_t length, uint8_t fill);
/* The unprotected area: hash of everything so far, key hash, signature. */
void image_seal(struct built *built);
/* Version 1.2.3+4, dependency on image 1 from 5.6.7+8, counter 0x11111111, vendor TLV of 6 bytes, sealed. */
void image_good(struct built *built, uint32_t body_bytes, uint8_t seed);

/* The container around a patch of `stream`, packed without any thrift: as right for base and target as the stream. */
void delta_of(struct built *built, enum updraft_compression compression, const struct built *base,
              const struct built *target, const struct built *stream);
/* A stream that makes `target` of nothing but extra bytes, after one diff of `shared` bytes that are equal in both. */
void stream_plain(struct built *stream, const struct built *target, uint32_t shared);
void put_number(struct built *stream, long value);

#endif
