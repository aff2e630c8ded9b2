/* MCUboot images: header, body, protected and unprotected TLVs (MCUboot, docs/design.md and bootutil/image.h).
 *
 *     0             header, 32 bytes: magic | load address | header size u16 | protected TLV size u16 | image size
 *                   | flags | version: major u8, minor u8, revision u16, build | padding
 *     header size   body, image size bytes
 *     then          if there are any: protected TLVs, magic 0x6908; up to their end everything is hashed
 *     then          unprotected TLVs, magic 0x6907: hash, key hash, signature
 *
 * A TLV area is magic u16, size u16 with these four bytes, and entries of type u16, length u16, value.
 */
#include "updraft/image.h"

#include <string.h>

#include "bytes.h"

enum {
    PROTECTED_MAGIC = 0x6908,
    UNPROTECTED_MAGIC = 0x6907,
    INFO_BYTES = 4, /* of an area, and of an entry before its value */
    LONGEST_VALUE = 32,
};

/* The entries that are read. Those of `in_protected` count only where the hash covers them: MCUboot does not look for
 * them elsewhere, and an image that has them there has been added to after it was signed. */
static const struct {
    uint16_t type;
    uint8_t in_protected;
    uint8_t length; /* of the value; 0: any */
    uint8_t has;
} TLVS[] = {
    {0x01, 0, 32, UPDRAFT_HAS_KEY_HASH},
    {0x10, 0, 32, UPDRAFT_HAS_HASH},
    {0x20, 0, 0, UPDRAFT_HAS_SIGNATURE}, /* RSA-2048 */
    {0x22, 0, 0, UPDRAFT_HAS_SIGNATURE}, /* ECDSA */
    {0x23, 0, 0, UPDRAFT_HAS_SIGNATURE}, /* RSA-3072 */
    {0x24, 0, 0, UPDRAFT_HAS_SIGNATURE}, /* Ed25519 */
    {0x40, 1, 12, UPDRAFT_HAS_DEPENDENCY},
    {0x50, 1, 4, UPDRAFT_HAS_SECURITY_COUNTER},
    {0x60, 1, 0, 0}, /* boot record */
    {0x70, 1, 0, 0}, /* of the image before it was compressed: size, SHA-256, signature */
    {0x71, 1, 0, 0},
    {0x72, 1, 0, 0},
    {0x73, 1, 0, 0}, /* compressed size */
    {0x74, 1, 0, 0}, /* UUIDs of vendor and class */
    {0x75, 1, 0, 0},
    {0xa0, 1, 0, UPDRAFT_HAS_VENDOR},
};

static void get_version(const uint8_t *bytes, struct updraft_version *version) {
    version->major = bytes[0];
    version->minor = bytes[1];
    version->revision = updraft_get16(bytes + 2);
    version->build = updraft_get32(bytes + 4);
}

static uint16_t protected_size(const uint8_t *header) {
    return updraft_get16(header + 10);
}

enum updraft_result updraft_image_header(const uint8_t header[UPDRAFT_IMAGE_HEADER_BYTES],
                                         struct updraft_image *image) {
    memset(image, 0, sizeof *image);
    if (updraft_get32(header) != UPDRAFT_IMAGE_MAGIC) {
        return UPDRAFT_UNSUPPORTED_PACKAGE;
    }
    image->load_address = updraft_get32(header + 4);
    image->header_size = updraft_get16(header + 8);
    image->image_size = updraft_get32(header + 12);
    image->flags = updraft_get32(header + 16);
    get_version(header + 20, &image->version);
    /* With both 16 bit sizes added, the sum must stay a 32 bit number. */
    if (image->header_size < UPDRAFT_IMAGE_HEADER_BYTES || image->image_size > UINT32_MAX - 2 * UINT16_MAX) {
        return UPDRAFT_INTEGRITY;
    }
    image->hashed_size = image->header_size + image->image_size + protected_size(header);
    return UPDRAFT_GOOD;
}

/* Keep what an entry says. The first of its type counts. */
static void keep(struct updraft_image *image, uint8_t has, uint32_t value_at, uint16_t length, const uint8_t *value) {
    if (image->has & has) {
        return;
    }
    image->has |= has;
    switch (has) {
    case UPDRAFT_HAS_HASH:
        memcpy(image->hash, value, UPDRAFT_SHA256_BYTES);
        break;
    case UPDRAFT_HAS_KEY_HASH:
        memcpy(image->key_hash, value, UPDRAFT_SHA256_BYTES);
        break;
    case UPDRAFT_HAS_SECURITY_COUNTER:
        image->security_counter = updraft_get32(value);
        break;
    case UPDRAFT_HAS_DEPENDENCY:
        image->dependency.image = value[0];
        get_version(value + 4, &image->dependency.at_least);
        break;
    case UPDRAFT_HAS_VENDOR:
        image->vendor_offset = value_at;
        image->vendor_size = length;
        break;
    default: /* a signature is for the bootloader */
        break;
    }
}

static enum updraft_result entry(const struct updraft_source *source, struct updraft_image *image, bool is_protected,
                                 uint16_t type, uint16_t length, uint32_t value_at) {
    for (size_t at = 0; at < sizeof TLVS / sizeof TLVS[0]; at++) {
        if (TLVS[at].type != type) {
            continue;
        }
        if (TLVS[at].in_protected && !is_protected) {
            return UPDRAFT_INTEGRITY;
        }
        if (TLVS[at].length && TLVS[at].length != length) {
            /* A key hash of another size is of a key that only the bootloader can judge. */
            return TLVS[at].has == UPDRAFT_HAS_KEY_HASH ? UPDRAFT_GOOD : UPDRAFT_INTEGRITY;
        }
        uint8_t value[LONGEST_VALUE];
        enum updraft_result result = updraft_read(source, value_at, value, TLVS[at].length);
        if (result == UPDRAFT_GOOD) {
            keep(image, TLVS[at].has, value_at, length, value);
        }
        return result;
    }
    return UPDRAFT_GOOD;
}

/* Read the area at `at`; `end` is where it ends. */
static enum updraft_result area(const struct updraft_source *source, struct updraft_image *image, bool is_protected,
                                uint32_t at, uint32_t *end) {
    uint8_t info[INFO_BYTES];
    enum updraft_result result = updraft_read(source, at, info, sizeof info);
    if (result != UPDRAFT_GOOD) {
        return result;
    }
    uint16_t size = updraft_get16(info + 2);
    if (updraft_get16(info) != (is_protected ? PROTECTED_MAGIC : UNPROTECTED_MAGIC) || size < INFO_BYTES ||
        size > source->size - at) {
        return UPDRAFT_INTEGRITY;
    }
    *end = at + size;
    at += INFO_BYTES;
    while (at < *end) {
        if (*end - at < INFO_BYTES) {
            return UPDRAFT_INTEGRITY;
        }
        result = updraft_read(source, at, info, sizeof info);
        if (result != UPDRAFT_GOOD) {
            return result;
        }
        uint16_t length = updraft_get16(info + 2);
        at += INFO_BYTES;
        if (length > *end - at) {
            return UPDRAFT_INTEGRITY;
        }
        result = entry(source, image, is_protected, updraft_get16(info), length, at);
        if (result != UPDRAFT_GOOD) {
            return result;
        }
        at += length;
    }
    return UPDRAFT_GOOD;
}

enum updraft_result updraft_image_parse(const struct updraft_source *source, struct updraft_image *image) {
    uint8_t header[UPDRAFT_IMAGE_HEADER_BYTES];
    enum updraft_result result = updraft_read(source, 0, header, sizeof header);
    if (result == UPDRAFT_GOOD) {
        result = updraft_image_header(header, image);
    }
    if (result == UPDRAFT_GOOD && protected_size(header) > 0) {
        uint32_t end = 0;
        result = area(source, image, true, image->hashed_size - protected_size(header), &end);
        if (result == UPDRAFT_GOOD && end != image->hashed_size) {
            return UPDRAFT_INTEGRITY;
        }
    }
    if (result == UPDRAFT_GOOD) {
        result = area(source, image, false, image->hashed_size, &image->total_size);
    }
    return result;
}

enum updraft_result updraft_image_check(const struct updraft_source *source, uint32_t size,
                                        struct updraft_image *image) {
    uint8_t digest[UPDRAFT_SHA256_BYTES];
    enum updraft_result result = updraft_image_parse(source, image);
    if (result != UPDRAFT_GOOD) {
        return result;
    }
    if (!(image->has & UPDRAFT_HAS_HASH)) {
        return UPDRAFT_UNSUPPORTED_PACKAGE;
    }
    if (image->total_size != size || !(image->has & UPDRAFT_HAS_SIGNATURE)) {
        return UPDRAFT_INTEGRITY;
    }
    result = updraft_sha256_of(source, image->hashed_size, digest);
    if (result == UPDRAFT_GOOD && memcmp(digest, image->hash, sizeof digest) != 0) {
        return UPDRAFT_INTEGRITY;
    }
    return result;
}

static int compared(uint32_t one, uint32_t other) {
    return (one > other) - (one < other);
}

int updraft_version_compare(const struct updraft_version *one, const struct updraft_version *other) {
    int result = compared(one->major, other->major);
    if (result == 0) {
        result = compared(one->minor, other->minor);
    }
    if (result == 0) {
        result = compared(one->revision, other->revision);
    }
    return result != 0 ? result : compared(one->build, other->build);
}
