/* Little endian numbers in bytes, and reads that stay inside; for this library alone. */
#ifndef UPDRAFT_BYTES_H
#define UPDRAFT_BYTES_H

#include "updraft/flash.h"
#include "updraft/result.h"

uint16_t updraft_get16(const uint8_t *bytes);
uint32_t updraft_get32(const uint8_t *bytes);
void updraft_put32(uint8_t *bytes, uint32_t value);

/* CRC-32 as zlib computes it: against accidents, not against attackers. */
uint32_t updraft_crc32(const uint8_t *data, size_t length);

/* UPDRAFT_INTEGRITY when the bytes are not all inside of `source`, UPDRAFT_FAILED when they cannot be read. */
enum updraft_result updraft_read(const struct updraft_source *source, uint32_t offset, void *data, size_t length);

#endif
