/* SHA-256 (FIPS 180-4), small rather than fast: the rounds are a loop and the schedule a ring of sixteen words. */
#include "updraft/sha256.h"

#include <string.h>

#include "bytes.h"

/* First 32 bits of the fractional parts of the cube roots of the first 64 primes. */
static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotated(uint32_t word, int bits) {
    return word >> bits | word << (32 - bits);
}

static uint32_t get32_big_endian(const uint8_t *bytes) {
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static void compress(uint32_t state[8], const uint8_t block[64]) {
    uint32_t w[16];
    uint32_t v[8];
    memcpy(v, state, sizeof v);
    for (unsigned t = 0; t < 64; t++) {
        uint32_t *word = &w[t % 16];
        if (t < 16) {
            *word = get32_big_endian(block + 4 * t);
        } else {
            uint32_t w2 = w[(t - 2) % 16];
            uint32_t w15 = w[(t - 15) % 16];
            *word += (rotated(w2, 17) ^ rotated(w2, 19) ^ w2 >> 10) + w[(t - 7) % 16] +
                     (rotated(w15, 7) ^ rotated(w15, 18) ^ w15 >> 3);
        }
        uint32_t a = v[0], e = v[4];
        uint32_t t1 =
            v[7] + (rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)) + ((e & v[5]) ^ (~e & v[6])) + K[t] + *word;
        uint32_t t2 = (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) + ((a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof v[0]);
        v[4] += t1;
        v[0] = t1 + t2;
    }
    for (int at = 0; at < 8; at++) {
        state[at] += v[at];
    }
}

void updraft_sha256_begin(struct updraft_sha256 *hash) {
    static const uint32_t initial[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(hash->state, initial, sizeof initial);
    hash->length = 0;
}

void updraft_sha256_add(struct updraft_sha256 *hash, const void *data, size_t length) {
    const uint8_t *bytes = data;
    while (length > 0) {
        size_t at = hash->length % 64;
        size_t piece = length < 64 - at ? length : 64 - at;
        memcpy(hash->block + at, bytes, piece);
        hash->length += piece;
        bytes += piece;
        length -= piece;
        if (hash->length % 64 == 0) {
            compress(hash->state, hash->block);
        }
    }
}

void updraft_sha256_end(struct updraft_sha256 *hash, uint8_t digest[UPDRAFT_SHA256_BYTES]) {
    /* One bit, zeros up to eight bytes before the end of a block, then the length in bits, big endian. */
    static const uint8_t padding[64] = {0x80};
    uint64_t bits = hash->length * 8;
    uint8_t length[8];
    for (int at = 0; at < 8; at++) {
        length[at] = (uint8_t)(bits >> (56 - 8 * at));
    }
    updraft_sha256_add(hash, padding, 1 + (119 - hash->length % 64) % 64);
    updraft_sha256_add(hash, length, sizeof length);
    for (unsigned at = 0; at < UPDRAFT_SHA256_BYTES; at++) {
        digest[at] = (uint8_t)(hash->state[at / 4] >> (24 - 8 * (at % 4)));
    }
}

enum updraft_result updraft_sha256_of(const struct updraft_source *source, uint32_t length,
                                      uint8_t digest[UPDRAFT_SHA256_BYTES]) {
    struct updraft_sha256 hash;
    uint8_t piece[UPDRAFT_BLOCK_BYTES];
    updraft_sha256_begin(&hash);
    for (uint32_t at = 0; at < length; at += UPDRAFT_BLOCK_BYTES) {
        uint32_t size = length - at < UPDRAFT_BLOCK_BYTES ? length - at : UPDRAFT_BLOCK_BYTES;
        enum updraft_result result = updraft_read(source, at, piece, size);
        if (result != UPDRAFT_GOOD) {
            return result;
        }
        updraft_sha256_add(&hash, piece, size);
    }
    updraft_sha256_end(&hash, digest);
    return UPDRAFT_GOOD;
}
