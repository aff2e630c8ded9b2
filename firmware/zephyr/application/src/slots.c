/* The two image slots: reading the running image, filling the secondary one, asking MCUboot. */
#include <bootutil/bootutil_public.h>
#include <errno.h>
#include <zephyr/dfu/flash_img.h>
#include <zephyr/dfu/mcuboot.h>
#include <zephyr/logging/log.h>
#include <zephyr/storage/flash_map.h>
#include <zephyr/sys/util.h>

#include "slots.h"

LOG_MODULE_REGISTER(updraft_slots);

/* Of a trailer: magic, and image_ok, copy_done, swap_info, TLV sizes and swap_size, each in a field of its own. */
#define TRAILER_MAGIC_BYTES 16u
#define TRAILER_FIELDS 5u
/* Swap using offset writes two status records for each sector (MCUboot, bootutil/src/swap_offset.c). */
#define STATES_PER_SECTOR 2u

static const struct flash_area *primary;
static const struct flash_area *secondary;
static uint32_t start; /* of the image in the secondary slot */

static int read_primary(void *context, uint32_t offset, void *data, size_t length) {
    ARG_UNUSED(context);
    return flash_area_read(primary, (off_t)offset, data, length);
}

static int read_secondary(void *context, uint32_t offset, void *data, size_t length) {
    ARG_UNUSED(context);
    return flash_area_read(secondary, (off_t)(start + offset), data, length);
}

static int write_secondary(void *context, uint32_t offset, const void *data, size_t length) {
    ARG_UNUSED(context);
    return flash_area_write(secondary, (off_t)(start + offset), data, length);
}

static int erase_secondary(void *context, uint32_t offset, size_t length) {
    ARG_UNUSED(context);
    return flash_area_flatten(secondary, (off_t)(start + offset), length);
}

int slots_open(struct slots_running *running) {
    int error = flash_area_open(boot_fetch_active_slot(), &primary);

    if (error == 0) {
        error = flash_area_open(flash_img_get_upload_slot(), &secondary);
    }
    if (error != 0) {
        return error;
    }
    *running = (struct slots_running){.source = {.read = read_primary, .size = (uint32_t)primary->fa_size}};
    if (updraft_image_parse(&running->source, &running->image) != UPDRAFT_GOOD) {
        LOG_WRN("the primary slot holds no MCUboot image");
        *running = (struct slots_running){.source = {.read = read_primary}};
        return 0;
    }
    running->source.size = running->image.total_size;
    return updraft_sha256_of(&running->source, running->source.size, running->sha256) == UPDRAFT_GOOD ? 0 : -EIO;
}

/* Whole sectors at the end of a slot of `sectors` that the trailer takes. */
static uint32_t trailer_sectors(uint32_t sectors, uint32_t sector, uint32_t unit) {
    uint32_t field = MAX(unit, 8u); /* BOOT_MAX_ALIGN is 8 at least */
    uint32_t bytes = ROUND_UP(TRAILER_MAGIC_BYTES, field) + TRAILER_FIELDS * field + sectors * STATES_PER_SECTOR * unit;

    return DIV_ROUND_UP(bytes, sector);
}

uint32_t slots_capacity(uint32_t primary_bytes, uint32_t secondary_bytes, uint32_t image_start, uint32_t sector,
                        uint32_t unit) {
    uint32_t sectors = MIN(primary_bytes, secondary_bytes - MIN(image_start, secondary_bytes)) / sector;
    uint32_t reserved = trailer_sectors(sectors, sector, unit);

    return sectors > reserved ? (sectors - reserved) * sector : 0;
}

/* One sector's size stands for all: swap using offset takes slots of equal sectors only. */
static int sector_of(uint8_t area, uint32_t *bytes) {
    struct flash_sector first;
    uint32_t count = 1;
    int error = flash_area_get_sectors(area, &count, &first);

    /* -ENOMEM says that there are more sectors than were asked for. */
    if ((error != 0 && error != -ENOMEM) || count != 1 || first.fs_size == 0) {
        return -EIO;
    }
    *bytes = (uint32_t)first.fs_size;
    return 0;
}

int slots_secondary(struct updraft_slot *slot) {
    uint32_t sector;
    uint32_t unit = flash_area_align(secondary);

    if (sector_of(secondary->fa_id, &sector) != 0 || unit == 0 || UPDRAFT_BLOCK_BYTES % unit != 0 ||
        sector % UPDRAFT_BLOCK_BYTES != 0) {
        return -EIO;
    }
    start = (uint32_t)boot_get_image_start_offset(secondary->fa_id);
    *slot = (struct updraft_slot){
        .area = {.read = read_secondary,
                 .size = slots_capacity((uint32_t)primary->fa_size, (uint32_t)secondary->fa_size, start, sector, unit)},
        .write = write_secondary,
        .erase = erase_secondary,
        .sector_bytes = sector,
        .write_unit = (uint8_t)unit,
        .erased_value = flash_area_erased_val(secondary),
    };
    return slot->area.size == 0 ? -ENOSPC : 0;
}

int slots_request_test(void) {
    uint32_t sector;
    uint32_t size = (uint32_t)secondary->fa_size;
    uint32_t reserved;
    int error = sector_of(secondary->fa_id, &sector);

    if (error != 0) {
        return error;
    }
    /* Two things of an earlier tenant that make MCUboot refuse a good image: the header of the old image, which a swap
     * leaves in the first sector, and a trailer whose magic is neither there nor erased. */
    reserved = trailer_sectors(size / sector, sector, flash_area_align(secondary)) * sector;
    error = start == 0 ? 0 : flash_area_flatten(secondary, 0, start);
    if (error == 0) {
        error = flash_area_flatten(secondary, (off_t)(size - reserved), reserved);
    }
    return error != 0 ? error : boot_request_upgrade(BOOT_UPGRADE_TEST);
}

int slots_last_swap(void) {
    struct boot_swap_state state;

    if (boot_read_swap_state(primary, &state) != 0 || state.magic != BOOT_MAGIC_GOOD ||
        state.swap_type < BOOT_SWAP_TYPE_NONE || state.swap_type > BOOT_SWAP_TYPE_REVERT) {
        return 0;
    }
    return state.swap_type - BOOT_SWAP_TYPE_NONE;
}
