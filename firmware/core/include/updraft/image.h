/* A MCUboot image, taken apart where it lies in flash (MCUboot, docs/design.md and bootutil/image.h). */
#ifndef UPDRAFT_IMAGE_H
#define UPDRAFT_IMAGE_H

#include <stdbool.h>

#include "updraft/sha256.h"

#define UPDRAFT_IMAGE_MAGIC 0x96f3b83du

struct updraft_version {
    uint8_t major;
    uint8_t minor;
    uint16_t revision;
    uint32_t build;
};

/* A flag in `has` for everything that an image may lack. */
enum {
    UPDRAFT_HAS_HASH = 1u << 0,
    UPDRAFT_HAS_KEY_HASH = 1u << 1,
    UPDRAFT_HAS_SIGNATURE = 1u << 2,
    UPDRAFT_HAS_SECURITY_COUNTER = 1u << 3,
    UPDRAFT_HAS_DEPENDENCY = 1u << 4,
    UPDRAFT_HAS_VENDOR = 1u << 5,
};

struct updraft_image {
    struct updraft_version version;
    uint32_t load_address;
    uint32_t flags;
    uint32_t image_size;  /* bytes of the body */
    uint32_t hashed_size; /* leading bytes that the hash covers: header, body, protected TLVs */
    uint32_t total_size;  /* header, body and TLVs: what was released */
    uint16_t header_size;
    uint16_t has;
    uint32_t security_counter; /* protected TLV 0x50 */
    struct {
        uint8_t image; /* protected TLV 0x40, the first one: this image in at least this version */
        struct updraft_version at_least;
    } dependency;
    uint32_t vendor_offset; /* protected TLV 0x00a0, where its value lies */
    uint16_t vendor_size;
    uint8_t hash[UPDRAFT_SHA256_BYTES];     /* TLV 0x10 */
    uint8_t key_hash[UPDRAFT_SHA256_BYTES]; /* TLV 0x01: which key signed */
};

#define UPDRAFT_IMAGE_HEADER_BYTES 32u

/* Read the header alone: version, flags and the first three sizes; what `updraft_image_parse` answers for it. */
enum updraft_result updraft_image_header(const uint8_t header[UPDRAFT_IMAGE_HEADER_BYTES], struct updraft_image *image);

/* Read header and TLVs of the image at the start of `source`. UPDRAFT_UNSUPPORTED_PACKAGE when it does not begin with
 * the magic number, UPDRAFT_INTEGRITY when anything is cut short, lies outside or contradicts itself, UPDRAFT_FAILED
 * when the flash cannot be read; `image` holds nothing useful then. */
enum updraft_result updraft_image_parse(const struct updraft_source *source, struct updraft_image *image);

/* What a device can know before it says "Downloaded": the image of exactly `size` bytes is well formed, its bytes match
 * its own SHA-256 (UPDRAFT_UNSUPPORTED_PACKAGE when it has none), and it carries a signature. Whether that is one of
 * the trusted key is the bootloader's to say. */
enum updraft_result updraft_image_check(const struct updraft_source *source, uint32_t size,
                                        struct updraft_image *image);

/* Less than, equal to or greater than zero, field by field as MCUboot compares, the build number last. */
int updraft_version_compare(const struct updraft_version *one, const struct updraft_version *other);

#endif
