/* Sequential patches of detools, decoded as they come: three layers, each given one byte by the one below it.
 *
 *     frame  the patch: type and compression, to_size, heatshrink's parameters, then the compressed stream
 *     part   the stream, decompressed: size of a description of the data format (0 here), then chunks until the result
 *            is complete. A chunk is a size and that many bytes to add to bytes of the base ("diff"), a size and that
 *            many bytes as they are ("extra"), and how far to move in the base, with a sign ("adjustment")
 *     sink   the result, in pieces
 *
 * The container has told everything before the compressed stream, so there is one right spelling of it. A number, too,
 * has one spelling: at most five bytes, no idle last byte, no minus zero. A diff stays inside the base, a chunk inside
 * the result, and a chunk of nothing (0, 0, 0) is refused: so the work is bounded by the sizes of patch and result.
 * What comes out may still be wrong, for the format has no check of its own: only the hash of the result says that it
 * is good.
 *
 * crle: segments of kind 0 (size, bytes) or 1 (size, the byte to be repeated). heatshrink, most significant bit first:
 * 1 and 8 bits are a byte; 0, 8 bits and 7 bits are a copy of (7 bits + 1) bytes from (8 bits + 1) bytes back. The
 * window starts full of zeros; the last byte is filled up with zero bits.
 */
#include "updraft/patch.h"

#include <string.h>

#include "bytes.h"

enum frame {
    PREFIX,
    HEATSHRINK,
    CRLE_KIND,
    CRLE_PLAIN_SIZE,
    CRLE_REPEATED_SIZE,
    CRLE_PLAIN,
    CRLE_REPEATED,
    BROKEN, /* refused once, refused for ever */
};

enum part {
    DATA_FORMAT,
    DIFF_SIZE,
    DIFF,
    EXTRA_SIZE,
    EXTRA,
    ADJUSTMENT,
    END,
};

enum {
    MORE = 0x80,  /* in any byte of a number: another one follows */
    MINUS = 0x40, /* in the first byte of one with a sign */
    LITERAL_BITS = 1 + 8,
    COPY_BITS = 1 + 8 + 7,
    PREFIX_BYTES_MAX = 1 + 5 + 1,
};

struct run {
    struct updraft_patch *patch;
    const struct updraft_source *base;
    const struct updraft_sink *sink;
    size_t count;
    uint8_t piece[UPDRAFT_BLOCK_BYTES]; /* bytes of one part that are not in the sink yet */
};

static enum updraft_result flush(struct run *run) {
    struct updraft_patch *patch = run->patch;
    if (run->count == 0) {
        return UPDRAFT_GOOD;
    }
    if (patch->part == DIFF) {
        uint8_t base[UPDRAFT_BLOCK_BYTES];
        enum updraft_result result = updraft_read(run->base, patch->from_at, base, run->count);
        if (result != UPDRAFT_GOOD) {
            return result;
        }
        for (size_t at = 0; at < run->count; at++) {
            run->piece[at] = (uint8_t)(run->piece[at] + base[at]);
        }
        patch->from_at += (uint32_t)run->count;
    }
    patch->to_at += (uint32_t)run->count;
    size_t count = run->count;
    run->count = 0;
    return run->sink->write(run->sink->context, run->piece, count);
}

/* The next byte of a number whose first byte has room for `first_bits`; `shift` counts the bits that are in, and is 0
 * again when the number is complete. */
static enum updraft_result digit(uint32_t *number, uint8_t *shift, uint8_t byte, uint8_t first_bits) {
    uint8_t bits = *shift == 0 ? first_bits : 7;
    uint32_t value = byte & ((1u << bits) - 1);
    if (*shift == 0) {
        *number = 0;
    } else if (byte == 0 || *shift >= 32 || value > UINT32_MAX >> *shift) {
        return UPDRAFT_INTEGRITY;
    }
    *number |= value << *shift;
    *shift = byte & MORE ? (uint8_t)(*shift + bits) : 0;
    return UPDRAFT_GOOD;
}

/* A number of the stream is complete. */
static enum updraft_result learn(struct updraft_patch *patch) {
    uint32_t number = patch->number;
    uint32_t room = patch->to_size - patch->to_at;
    uint32_t ahead = patch->from_size - patch->from_at;
    if (patch->negative && number == 0) {
        return UPDRAFT_INTEGRITY;
    }
    switch (patch->part) {
    case DATA_FORMAT:
        patch->part = DIFF_SIZE;
        return number == 0 ? UPDRAFT_GOOD : UPDRAFT_INTEGRITY;
    case ADJUSTMENT:
        if (number > (patch->negative ? patch->from_at : ahead) || (number == 0 && patch->to_at == patch->chunk_at)) {
            return UPDRAFT_INTEGRITY;
        }
        patch->from_at += patch->negative ? 0u - number : number;
        patch->chunk_at = patch->to_at;
        patch->part = patch->to_at == patch->to_size ? END : DIFF_SIZE;
        return UPDRAFT_GOOD;
    default: /* DIFF_SIZE, EXTRA_SIZE */
        if (patch->negative || number > room || (patch->part == DIFF_SIZE && number > ahead)) {
            return UPDRAFT_INTEGRITY;
        }
        patch->part_left = number;
        patch->part = (uint8_t)(patch->part + (number > 0 ? 1 : 2));
        return UPDRAFT_GOOD;
    }
}

/* The next byte of the decompressed stream. */
static enum updraft_result take(struct run *run, uint8_t byte) {
    struct updraft_patch *patch = run->patch;
    enum updraft_result result;
    switch (patch->part) {
    case DIFF:
    case EXTRA:
        run->piece[run->count++] = byte;
        patch->part_left--;
        if (run->count < sizeof run->piece && patch->part_left > 0) {
            return UPDRAFT_GOOD;
        }
        result = flush(run);
        if (patch->part_left == 0) {
            patch->part++;
        }
        return result;
    case END:
        return UPDRAFT_INTEGRITY;
    default:
        if (patch->shift == 0) {
            patch->negative = (byte & MINUS) != 0;
        }
        result = digit(&patch->number, &patch->shift, byte, 6);
        if (result == UPDRAFT_GOOD && patch->shift == 0) {
            result = learn(patch);
        }
        return result;
    }
}

static enum updraft_result heatshrink(struct run *run, uint8_t byte) {
    struct updraft_patch *patch = run->patch;
    enum updraft_result result = UPDRAFT_GOOD;
    patch->bits = patch->bits << 8 | byte;
    patch->bit_count = (uint8_t)(patch->bit_count + 8);
    while (result == UPDRAFT_GOOD && patch->bit_count >= LITERAL_BITS) {
        bool literal = patch->bits >> (patch->bit_count - 1);
        if (literal) {
            patch->bit_count = (uint8_t)(patch->bit_count - LITERAL_BITS);
            uint8_t value = (uint8_t)(patch->bits >> patch->bit_count);
            patch->window[patch->window_at++] = value;
            result = take(run, value);
        } else if (patch->bit_count >= COPY_BITS) {
            patch->bit_count = (uint8_t)(patch->bit_count - COPY_BITS);
            uint32_t token = patch->bits >> patch->bit_count;
            uint8_t from = (uint8_t)(patch->window_at - (token >> 7) - 1);
            for (uint32_t left = (token & 0x7f) + 1; result == UPDRAFT_GOOD && left > 0; left--) {
                uint8_t value = patch->window[from++];
                patch->window[patch->window_at++] = value;
                result = take(run, value);
            }
        } else {
            break;
        }
        patch->bits &= (1u << patch->bit_count) - 1;
    }
    return result;
}

static enum updraft_result crle(struct run *run, uint8_t byte) {
    struct updraft_patch *patch = run->patch;
    enum updraft_result result = UPDRAFT_GOOD;
    switch (patch->frame) {
    case CRLE_KIND:
        patch->frame = (uint8_t)(CRLE_PLAIN_SIZE + byte);
        return byte > 1 ? UPDRAFT_INTEGRITY : UPDRAFT_GOOD;
    case CRLE_PLAIN:
        patch->run_left--;
        result = take(run, byte);
        break;
    case CRLE_REPEATED:
        for (; result == UPDRAFT_GOOD && patch->run_left > 0; patch->run_left--) {
            result = take(run, byte);
        }
        break;
    default: /* CRLE_PLAIN_SIZE, CRLE_REPEATED_SIZE */
        result = digit(&patch->run_left, &patch->run_shift, byte, 7);
        if (result != UPDRAFT_GOOD || patch->run_shift > 0) {
            return result;
        }
        patch->frame = patch->frame == CRLE_PLAIN_SIZE ? CRLE_PLAIN : CRLE_REPEATED;
        return patch->run_left > 0 ? UPDRAFT_GOOD : UPDRAFT_INTEGRITY;
    }
    if (patch->run_left == 0) {
        patch->frame = CRLE_KIND;
    }
    return result;
}

/* What the patch must begin with; returns how many bytes. Of an empty result detools writes no stream at all. */
static size_t prefix(const struct updraft_patch *patch, uint8_t bytes[PREFIX_BYTES_MAX]) {
    size_t length = 0;
    uint32_t rest = patch->to_size >> 6;
    /* The low half is detools' number of the compression, the high half, 0, is "sequential" (detools/common.py). */
    bytes[length++] = patch->compression == UPDRAFT_CRLE ? 2 : 4;
    bytes[length++] = (uint8_t)((patch->to_size & 0x3f) | (rest > 0 ? MORE : 0));
    while (rest > 0) {
        bytes[length++] = (uint8_t)((rest & 0x7f) | (rest > 0x7f ? MORE : 0));
        rest >>= 7;
    }
    if (patch->compression == UPDRAFT_HEATSHRINK && patch->to_size > 0) {
        bytes[length++] = (8 - 4) << 4 | (7 - 3); /* window and lookahead (detools/compression/heatshrink.py) */
    }
    return length;
}

static enum updraft_result begin(struct updraft_patch *patch, uint8_t byte) {
    uint8_t expected[PREFIX_BYTES_MAX];
    size_t length = prefix(patch, expected);
    if (byte != expected[patch->shift++]) {
        return UPDRAFT_INTEGRITY;
    }
    if (patch->shift == length) {
        patch->shift = 0;
        patch->frame = patch->compression == UPDRAFT_CRLE ? CRLE_KIND : HEATSHRINK;
    }
    return UPDRAFT_GOOD;
}

void updraft_patch_begin(struct updraft_patch *patch, const struct updraft_delta *delta) {
    memset(patch, 0, sizeof *patch);
    patch->from_size = delta->from_size;
    patch->to_size = delta->to_size;
    patch->patch_left = delta->patch_size;
    patch->compression = (uint8_t)delta->compression;
    patch->frame = PREFIX;
    patch->part = delta->to_size > 0 ? DATA_FORMAT : END;
}

enum updraft_result updraft_patch_feed(struct updraft_patch *patch, const struct updraft_source *base,
                                       const struct updraft_sink *sink, const uint8_t *data, size_t length) {
    struct run run = {.patch = patch, .base = base, .sink = sink};
    enum updraft_result result = length > patch->patch_left ? UPDRAFT_INTEGRITY : UPDRAFT_GOOD;
    for (size_t at = 0; result == UPDRAFT_GOOD && at < length; at++) {
        patch->patch_left--;
        switch (patch->frame) {
        case PREFIX:
            result = begin(patch, data[at]);
            break;
        case HEATSHRINK:
            result = heatshrink(&run, data[at]);
            break;
        case BROKEN:
            result = UPDRAFT_INTEGRITY;
            break;
        default:
            result = crle(&run, data[at]);
            break;
        }
    }
    if (result == UPDRAFT_GOOD) {
        result = flush(&run);
    }
    if (result != UPDRAFT_GOOD) {
        patch->frame = BROKEN;
    }
    return result;
}

enum updraft_result updraft_patch_finish(const struct updraft_patch *patch) {
    /* Only zero bits, and no whole byte of them, may be left of heatshrink's last byte. */
    bool between =
        patch->frame == CRLE_KIND || (patch->frame == HEATSHRINK && patch->bit_count < 8 && patch->bits == 0);
    return patch->patch_left == 0 && patch->part == END && between ? UPDRAFT_GOOD : UPDRAFT_INTEGRITY;
}

enum {
    WORDS = 8,
    OCTETS = 7,
};

void updraft_patch_dump(const struct updraft_patch *patch, uint8_t dump[UPDRAFT_PATCH_DUMP_BYTES]) {
    const uint32_t words[WORDS] = {patch->patch_left, patch->to_at,  patch->from_at,  patch->chunk_at,
                                   patch->part_left,  patch->number, patch->run_left, patch->bits};
    const uint8_t octets[OCTETS] = {patch->bit_count, patch->frame,     patch->part,     patch->shift,
                                    patch->negative,  patch->run_shift, patch->window_at};
    for (int at = 0; at < WORDS; at++) {
        updraft_put32(dump + 4 * at, words[at]);
    }
    memcpy(dump + 4 * WORDS, octets, OCTETS);
    memcpy(dump + 4 * WORDS + OCTETS, patch->window, UPDRAFT_WINDOW_BYTES);
}

/* Whether the decoder can go on from here and stay inside; whether it was the right state, the result's hash tells. */
static bool can_be(const struct updraft_patch *patch, const struct updraft_delta *delta) {
    uint8_t expected[PREFIX_BYTES_MAX];
    bool in_bytes = patch->part == DIFF || patch->part == EXTRA;
    return patch->patch_left <= delta->patch_size && patch->part <= END && patch->to_at <= patch->to_size &&
           patch->from_at <= patch->from_size && patch->part_left <= patch->to_size - patch->to_at &&
           (patch->part != DIFF || patch->part_left <= patch->from_size - patch->from_at) &&
           in_bytes == (patch->part_left > 0) && patch->bit_count < COPY_BITS && patch->bits >> patch->bit_count == 0 &&
           (patch->frame != PREFIX || patch->shift < prefix(patch, expected));
}

enum updraft_result updraft_patch_restore(struct updraft_patch *patch, const struct updraft_delta *delta,
                                          const uint8_t dump[UPDRAFT_PATCH_DUMP_BYTES]) {
    const uint8_t *octets = dump + 4 * WORDS;
    updraft_patch_begin(patch, delta);
    patch->patch_left = updraft_get32(dump);
    patch->to_at = updraft_get32(dump + 4);
    patch->from_at = updraft_get32(dump + 8);
    patch->chunk_at = updraft_get32(dump + 12);
    patch->part_left = updraft_get32(dump + 16);
    patch->number = updraft_get32(dump + 20);
    patch->run_left = updraft_get32(dump + 24);
    patch->bits = updraft_get32(dump + 28);
    patch->bit_count = octets[0];
    patch->frame = octets[1];
    patch->part = octets[2];
    patch->shift = octets[3];
    patch->negative = octets[4];
    patch->run_shift = octets[5];
    patch->window_at = octets[6];
    memcpy(patch->window, octets + OCTETS, UPDRAFT_WINDOW_BYTES);
    return can_be(patch, delta) ? UPDRAFT_GOOD : UPDRAFT_INTEGRITY;
}
