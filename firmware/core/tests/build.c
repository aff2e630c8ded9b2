/* Images and deltas, byte by byte. */
#include "build.h"

#include <string.h>

#include "updraft/image.h"

void put(struct built *built, const void *data, uint32_t length) {
    memcpy(built->data + built->size, data, length);
    built->size += length;
}

void put16(struct built *built, unsigned value) {
    const uint8_t bytes[2] = {(uint8_t)value, (uint8_t)(value >> 8)};
    put(built, bytes, sizeof bytes);
}

void put32(struct built *built, uint32_t value) {
    put16(built, value & 0xffff);
    put16(built, value >> 16);
}

void image_begin(struct built *built, uint16_t header_size, uint32_t body_bytes, uint16_t protected_bytes,
                 uint8_t seed) {
    const uint8_t version[8] = {1, 2, 3, 0, 4, 0, 0, 0};
    memset(built, 0, sizeof *built);
    put32(built, UPDRAFT_IMAGE_MAGIC);
    put32(built, 0x20000);
    put16(built, header_size);
    put16(built, protected_bytes);
    put32(built, body_bytes);
    put32(built, 0x10);
    put(built, version, sizeof version);
    built->size = header_size;
    for (uint32_t at = 0; at < body_bytes; at++) {
        const uint8_t byte = (uint8_t)(at * 7 + (at >> 5) + (at % 61 == 0 ? seed : 0u));
        put(built, &byte, 1);
    }
}

void tlv(struct built *built, unsigned type, uint16_t length, uint8_t fill) {
    put16(built, type);
    put16(built, length);
    memset(built->data + built->size, fill, length);
    built->size += length;
}

void image_seal(struct built *built) {
    struct updraft_sha256 hash;
    updraft_sha256_begin(&hash);
    updraft_sha256_add(&hash, built->data, built->size);
    put16(built, 0x6907);
    put16(built, 4 + 36 + 36 + 74);
    tlv(built, 0x10, 32, 0);
    updraft_sha256_end(&hash, built->data + built->size - 32);
    tlv(built, 0x01, 32, 0xcc);
    tlv(built, 0x22, 70, 0x30);
}

void image_good(struct built *built, uint32_t body_bytes, uint8_t seed) {
    const uint8_t dependency[12] = {1, 0, 0, 0, 5, 6, 7, 0, 8, 0, 0, 0};
    image_begin(built, 64, body_bytes, 4 + 16 + 8 + 10, seed);
    put16(built, 0x6908);
    put16(built, 4 + 16 + 8 + 10);
    tlv(built, 0x40, 12, 0);
    memcpy(built->data + built->size - 12, dependency, 12);
    tlv(built, 0x50, 4, 0x11);
    tlv(built, 0xa0, 6, 'n');
    image_seal(built);
}

void put_number(struct built *stream, long value) {
    unsigned long rest = value < 0 ? 0ul - (unsigned long)value : (unsigned long)value;
    uint8_t byte = (uint8_t)((rest & 0x3f) | (value < 0 ? 0x40 : 0));
    for (rest >>= 6; rest > 0; rest >>= 7) {
        byte |= 0x80;
        put(stream, &byte, 1);
        byte = (uint8_t)(rest & 0x7f);
    }
    put(stream, &byte, 1);
}

void stream_plain(struct built *stream, const struct built *target, uint32_t shared) {
    stream->size = 0;
    put_number(stream, 0);
    put_number(stream, (long)shared);
    memset(stream->data + stream->size, 0, shared);
    stream->size += shared;
    put_number(stream, (long)(target->size - shared));
    put(stream, target->data + shared, target->size - shared);
    put_number(stream, 0);
}

/* One segment. */
static void pack_crle(struct built *built, const struct built *stream) {
    const uint8_t kind = 0;
    uint32_t rest = stream->size;
    put(built, &kind, 1);
    do {
        const uint8_t byte = (uint8_t)((rest & 0x7f) | (rest > 0x7f ? 0x80u : 0));
        put(built, &byte, 1);
        rest >>= 7;
    } while (rest > 0);
    put(built, stream->data, stream->size);
}

/* Literals only. */
static void pack_heatshrink(struct built *built, const struct built *stream) {
    unsigned bits = 0;
    unsigned count = 0;
    for (uint32_t at = 0; at < stream->size; at++) {
        bits = bits << 9 | 0x100u | stream->data[at];
        for (count += 9; count >= 8; count -= 8) {
            const uint8_t byte = (uint8_t)(bits >> (count - 8));
            put(built, &byte, 1);
        }
    }
    if (count > 0) {
        const uint8_t byte = (uint8_t)(bits << (8 - count));
        put(built, &byte, 1);
    }
}

static void digest_of(const struct built *built, uint8_t digest[32]) {
    struct updraft_sha256 hash;
    updraft_sha256_begin(&hash);
    updraft_sha256_add(&hash, built->data, built->size);
    updraft_sha256_end(&hash, digest);
}

void delta_of(struct built *built, enum updraft_compression compression, const struct built *base,
              const struct built *target, const struct built *stream) {
    const bool crle = compression == UPDRAFT_CRLE;
    const uint8_t form[4] = {1, 88, 0, 0};
    const uint8_t packing[2][4] = {{1, 0, 0, 0}, {2, 8, 7, 0}};
    const uint8_t type = crle ? 2 : 4;
    const uint8_t parameters = 0x44;
    built->size = 0;
    put(built, "UDLT", 4);
    put(built, form, 4);
    put32(built, base->size);
    put32(built, target->size);
    put32(built, 0);
    put(built, packing[!crle], 4);
    digest_of(base, built->data + built->size);
    digest_of(target, built->data + built->size + 32);
    built->size += 64;
    put(built, &type, 1);
    put_number(built, (long)target->size);
    if (crle) {
        pack_crle(built, stream);
    } else {
        put(built, &parameters, 1);
        pack_heatshrink(built, stream);
    }
    const uint32_t patch_size = built->size - UPDRAFT_DELTA_HEADER_BYTES;
    for (unsigned at = 0; at < 4; at++) {
        built->data[16 + at] = (uint8_t)(patch_size >> 8 * at);
    }
}
