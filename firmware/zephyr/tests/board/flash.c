/* NOR flash in files, MCUboot's trailer as the application's library writes it (bootutil_public.c), and settings. */
#include <bootutil/bootutil_public.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zephyr/dfu/flash_img.h>
#include <zephyr/dfu/mcuboot.h>
#include <zephyr/settings/settings.h>
#include <zephyr/storage/flash_map.h>

#include "board.h"

#define SECTOR 4096u
#define MAX_BYTES (64u * SECTOR)
#define MAX_ALIGN 8u /* BOOT_MAX_ALIGN */

static const uint8_t MAGIC[16] = {0x77, 0xc2, 0x95, 0xf3, 0x60, 0xd2, 0xef, 0x7f,
                                  0x35, 0x52, 0x50, 0x0f, 0x2c, 0xb6, 0x79, 0x80};

static struct slot {
    struct flash_area area;
    const char *file;
    uint8_t bytes[MAX_BYTES];
} slots[2] = {{.file = "primary.bin"}, {.file = "secondary.bin"}};
static unsigned write_unit;
static char folder_path[512];

static FILE *open_file(const char *name, const char *mode) {
    char path[600];
    snprintf(path, sizeof(path), "%s/%s", folder_path, name);
    return fopen(path, mode);
}

static struct slot *slot_of(const struct flash_area *area) {
    return &slots[area->fa_id];
}

static _Noreturn void broken(const char *rule, off_t offset, size_t length) {
    printf("flash: %s at %ld, %zu bytes\n", rule, (long)offset, length);
    exit(2);
}

static void inside(const struct flash_area *area, off_t offset, size_t length) {
    if (offset < 0 || (size_t)offset > area->fa_size || length > area->fa_size - (size_t)offset) {
        broken("outside", offset, length);
    }
}

void flash_load(const char *folder, unsigned primary_sectors, unsigned secondary_sectors, unsigned unit) {
    unsigned sectors[2] = {primary_sectors, secondary_sectors};
    snprintf(folder_path, sizeof(folder_path), "%s", folder);
    write_unit = unit;
    for (unsigned i = 0; i < 2; i++) {
        FILE *file = open_file(slots[i].file, "rb");
        slots[i].area = (struct flash_area){.fa_id = (uint8_t)i, .fa_size = sectors[i] * SECTOR};
        if (file == NULL || fread(slots[i].bytes, 1, slots[i].area.fa_size, file) != slots[i].area.fa_size) {
            broken("no such file", 0, slots[i].area.fa_size);
        }
        fclose(file);
    }
}

void flash_save(void) {
    for (unsigned i = 0; i < 2; i++) {
        FILE *file = open_file(slots[i].file, "wb");
        fwrite(slots[i].bytes, 1, slots[i].area.fa_size, file);
        fclose(file);
    }
}

int flash_area_open(uint8_t id, const struct flash_area **fa) {
    *fa = &slots[id].area;
    return 0;
}

int flash_area_read(const struct flash_area *fa, off_t off, void *dst, size_t len) {
    inside(fa, off, len);
    memcpy(dst, slot_of(fa)->bytes + off, len);
    return 0;
}

int flash_area_write(const struct flash_area *fa, off_t off, const void *src, size_t len) {
    inside(fa, off, len);
    if (off % write_unit != 0 || len % write_unit != 0) {
        broken("write of a part of a unit", off, len);
    }
    for (size_t i = 0; i < len; i++) {
        if (slot_of(fa)->bytes[off + (off_t)i] != 0xff) {
            broken("write to a unit that is not erased", off, len);
        }
    }
    memcpy(slot_of(fa)->bytes + off, src, len);
    return 0;
}

int flash_area_flatten(const struct flash_area *fa, off_t off, size_t len) {
    inside(fa, off, len);
    if (off % SECTOR != 0 || len % SECTOR != 0) {
        broken("erase of a part of a sector", off, len);
    }
    memset(slot_of(fa)->bytes + off, 0xff, len);
    return 0;
}

uint32_t flash_area_align(const struct flash_area *fa) {
    (void)fa;
    return write_unit;
}

uint8_t flash_area_erased_val(const struct flash_area *fa) {
    (void)fa;
    return 0xff;
}

int flash_area_get_sectors(int fa_id, uint32_t *count, struct flash_sector *sectors) {
    (void)fa_id;
    sectors[0] = (struct flash_sector){.fs_off = 0, .fs_size = SECTOR};
    return *count == 1 ? -ENOMEM : 0; /* there are more */
}

uint8_t boot_fetch_active_slot(void) {
    return 0;
}

uint8_t flash_img_get_upload_slot(void) {
    return 1;
}

static size_t image_ok_at(const struct slot *slot) {
    return (slot->area.fa_size - sizeof(MAGIC) - MAX_ALIGN) / MAX_ALIGN * MAX_ALIGN;
}

static uint8_t magic_of(const struct slot *slot) {
    const uint8_t *at = slot->bytes + slot->area.fa_size - sizeof(MAGIC);
    bool erased = true;
    for (size_t i = 0; i < sizeof(MAGIC); i++) {
        erased = erased && at[i] == 0xff;
    }
    return memcmp(at, MAGIC, sizeof(MAGIC)) == 0 ? BOOT_MAGIC_GOOD : erased ? 3 : 2;
}

static void program(struct slot *slot, size_t at, const void *value, size_t length) {
    uint8_t unit[32];
    size_t whole = (length + write_unit - 1) / write_unit * write_unit;
    memset(unit, 0xff, sizeof(unit));
    memcpy(unit, value, length);
    flash_area_write(&slot->area, (off_t)at, unit, whole);
}

bool boot_is_img_confirmed(void) {
    return magic_of(&slots[0]) == 3 || slots[0].bytes[image_ok_at(&slots[0])] == 1;
}

int boot_write_img_confirmed(void) {
    uint8_t set = 1;
    if (magic_of(&slots[0]) == BOOT_MAGIC_GOOD && slots[0].bytes[image_ok_at(&slots[0])] == 0xff) {
        program(&slots[0], image_ok_at(&slots[0]), &set, 1);
    }
    printf("confirmed\n");
    return 0;
}

int boot_request_upgrade(int permanent) {
    uint8_t test = 2;
    if (permanent || magic_of(&slots[1]) == 2 || board_broken("upgrade request")) {
        return -EFAULT;
    }
    if (magic_of(&slots[1]) == 3) {
        program(&slots[1], slots[1].area.fa_size - sizeof(MAGIC), MAGIC, sizeof(MAGIC));
        program(&slots[1], image_ok_at(&slots[1]) - 2 * MAX_ALIGN, &test, 1);
    }
    printf("upgrade requested\n");
    if (board_broken("supply")) {
        board_off("power");
    }
    return 0;
}

size_t boot_get_image_start_offset(uint8_t area_id) {
    bool would_revert = magic_of(&slots[0]) == BOOT_MAGIC_GOOD && !boot_is_img_confirmed() &&
                        slots[0].bytes[image_ok_at(&slots[0]) - MAX_ALIGN] == 1;
    return area_id == 1 && !would_revert ? SECTOR : 0;
}

int boot_read_swap_state(const struct flash_area *fa, struct boot_swap_state *state) {
    const struct slot *slot = slot_of(fa);
    uint8_t info = slot->bytes[image_ok_at(slot) - 2 * MAX_ALIGN];
    *state = (struct boot_swap_state){.magic = magic_of(slot), .swap_type = info & 0x0f};
    if (info == 0xff) {
        state->swap_type = BOOT_SWAP_TYPE_NONE;
    }
    return 0;
}

/* --- settings: one file for each name --- */

extern const struct settings_handler_static settings_handler_updraft;
static char settings_path[512];

void settings_use(const char *folder) {
    snprintf(settings_path, sizeof(settings_path), "%s", folder);
}

static FILE *setting(const char *name, const char *mode) {
    char path[700];
    snprintf(path, sizeof(path), "%s/%s", settings_path, strchr(name, '/') + 1);
    return fopen(path, mode);
}

static ssize_t read_setting(void *cb_arg, void *data, size_t len) {
    return (ssize_t)fread(data, 1, len, cb_arg);
}

int settings_subsys_init(void) {
    return 0;
}

int settings_load_subtree(const char *subtree) {
    static const char *const names[] = {"record", "boots", "server", "endpoint", "identity", "psk", "unknown"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char name[64];
        FILE *file;
        snprintf(name, sizeof(name), "%s/%s", subtree, names[i]);
        file = setting(name, "rb");
        if (file != NULL) {
            long length;
            fseek(file, 0, SEEK_END);
            length = ftell(file);
            rewind(file);
            settings_handler_updraft.h_set(names[i], (size_t)length, read_setting, file);
            fclose(file);
        }
    }
    return 0;
}

int settings_save_one(const char *name, const void *value, size_t val_len) {
    FILE *file = board_broken("settings") ? NULL : setting(name, "wb");
    if (file == NULL) {
        return -EIO;
    }
    fwrite(value, 1, val_len, file);
    fclose(file);
    return 0;
}
