/* What survives a reboot, in Zephyr's settings: the update record, the boot count, and how the device was enrolled. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <zephyr/settings/settings.h>
#include <zephyr/sys/util.h>

#include "store.h"

#define ROOT "updraft"

struct store store;

/* A text keeps its last byte for the NUL; a number or record is stored whole or not at all. */
static const struct entry {
    const char *name;
    void *value;
    size_t room;
    enum { TEXT, WHOLE, KEY } kind;
} entries[] = {
    {"record", store.record, sizeof(store.record), WHOLE},
    {"boots", &store.boots, sizeof(store.boots), WHOLE},
    {"server", store.server, sizeof(store.server), TEXT},
    {"endpoint", store.endpoint, sizeof(store.endpoint), TEXT},
    {"identity", store.identity, sizeof(store.identity), TEXT},
    {"psk", store.psk, sizeof(store.psk), KEY},
};

static const struct entry *find(const char *name) {
    for (size_t i = 0; i < ARRAY_SIZE(entries); i++) {
        if (strcmp(entries[i].name, name) == 0) {
            return &entries[i];
        }
    }
    return NULL;
}

static bool fits(const struct entry *entry, size_t length) {
    return entry->kind == WHOLE ? length == entry->room : length <= entry->room - (entry->kind == TEXT);
}

static void keep(const struct entry *entry, const void *value, size_t length) {
    memset(entry->value, 0, entry->room);
    memcpy(entry->value, value, length);
    if (entry->kind == KEY) {
        store.psk_bytes = length;
    }
}

static int load_one(const char *name, size_t length, settings_read_cb read, void *context) {
    const struct entry *entry = find(name);
    uint8_t value[STORE_URI_BYTES];

    if (entry == NULL || !fits(entry, length)) {
        return -ENOENT;
    }
    if (read(context, value, length) != (ssize_t)length) {
        return -EIO;
    }
    keep(entry, value, length);
    return 0;
}

SETTINGS_STATIC_HANDLER_DEFINE(updraft, ROOT, NULL, load_one, NULL, NULL);

int store_load(void) {
    int error = settings_subsys_init();

    return error != 0 ? error : settings_load_subtree(ROOT);
}

int store_save(const char *name, const void *value, size_t length) {
    const struct entry *entry = find(name);
    char path[sizeof(ROOT) + STORE_NAME_BYTES];
    int error;

    if (entry == NULL || !fits(entry, length)) {
        return -EINVAL;
    }
    snprintf(path, sizeof(path), ROOT "/%s", name);
    error = settings_save_one(path, value, length);
    if (error == 0) {
        keep(entry, value, length);
    }
    return error;
}
