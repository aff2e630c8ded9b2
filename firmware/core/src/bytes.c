/* Little endian numbers in bytes, CRC-32, and reads that stay inside. */
#include "bytes.h"

uint16_t updraft_get16(const uint8_t *bytes) {
    return (uint16_t)(bytes[0] | bytes[1] << 8);
}

uint32_t updraft_get32(const uint8_t *bytes) {
    return updraft_get16(bytes) | (uint32_t)updraft_get16(bytes + 2) << 16;
}

void updraft_put32(uint8_t *bytes, uint32_t value) {
    for (int at = 0; at < 4; at++) {
        bytes[at] = (uint8_t)(value >> 8 * at);
    }
}

uint32_t updraft_crc32(const uint8_t *data, size_t length) {
    uint32_t crc = UINT32_MAX;
    /* Bit by bit: a table would cost 1 KB, and what is checked here is short. */
    for (size_t at = 0; at < length; at++) {
        crc ^= data[at];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (0xedb88320u & (0u - (crc & 1u)));
        }
    }
    return ~crc;
}

enum updraft_result updraft_read(const struct updraft_source *source, uint32_t offset, void *data, size_t length) {
    if (offset > source->size || length > source->size - offset) {
        return UPDRAFT_INTEGRITY;
    }
    return source->read(source->context, offset, data, length) == 0 ? UPDRAFT_GOOD : UPDRAFT_FAILED;
}
