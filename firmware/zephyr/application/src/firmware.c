/* Object 5: blocks into the secondary slot, Execute into a request to MCUboot, and what a reboot must not forget.
 *
 * Zephyr's object (subsys/net/lib/lwm2m/lwm2m_obj_firmware.c) keeps State and Result in RAM and moves them by itself
 * from what these callbacks return. So they are set here only where Zephyr cannot know: after a boot, and when an image
 * is confirmed. Its pull begins at block 0 again after a reset, so there is no checkpoint to keep.
 */
#include <errno.h>
#include <zephyr/dfu/mcuboot.h>
#include <zephyr/kernel.h>
#include <zephyr/logging/log.h>
#include <zephyr/net/lwm2m.h>
#include <zephyr/sys/byteorder.h>

#include "firmware.h"
#include "reboot.h"
#include "store.h"
#include "updraft/package.h"

LOG_MODULE_REGISTER(updraft_firmware);

#if defined(CONFIG_LWM2M_FIRMWARE_UPDATE_PULL_COAP_PROXY_SUPPORT)
BUILD_ASSERT(sizeof(CONFIG_LWM2M_FIRMWARE_UPDATE_PULL_COAP_PROXY_ADDR) > 1, "overlay-proxy.conf needs the address");
#endif

/* Blocks come in the engine's thread, the trial is judged in the system work queue. */
static K_MUTEX_DEFINE(lock);
static struct updraft_update update;
static const struct slots_running *running;
static struct updraft_package package;
static struct updraft_slot slot;
static bool receiving;
static uint8_t block[CONFIG_LWM2M_COAP_BLOCK_SIZE];
static uint8_t protocol; /* 5/0/8: 0 is CoAP over UDP, 1 the same with DTLS */

/* The record is stored before anything else goes on: a cut in between must find it. */
static int keep(unsigned actions) {
    uint8_t bytes[UPDRAFT_RECORD_BYTES];

    if (actions & UPDRAFT_STOP_DOWNLOAD) {
        receiving = false;
    }
    if (!(actions & UPDRAFT_STORE_RECORD)) {
        return 0;
    }
    updraft_record_encode(&update.record, bytes);
    return store_save("record", bytes, sizeof(bytes));
}

static void show(void) {
    lwm2m_set_u8(&LWM2M_OBJ(LWM2M_OBJECT_FIRMWARE_ID, 0, 3), (uint8_t)update.state);
    lwm2m_set_u8(&LWM2M_OBJ(LWM2M_OBJECT_FIRMWARE_ID, 0, 5), (uint8_t)update.record.result);
}

static enum updraft_result begin(const uint8_t *data, uint16_t length, size_t total) {
    unsigned actions;

    /* Zephyr ends a download without a word: one whose blocks stop coming, whose place this one takes, and one that has
     * arrived, when the URI is emptied. */
    if (update.state == UPDRAFT_DOWNLOADED) {
        keep(updraft_update_step(&update, UPDRAFT_RESET));
    }
    /* Refused while the running image is on trial: its fallback lies in the secondary slot. */
    actions = updraft_update_step(&update, UPDRAFT_PUSH_STARTED);
    if ((actions & UPDRAFT_REFUSE) || keep(actions) != 0 || slots_secondary(&slot) != 0) {
        return UPDRAFT_FAILED;
    }
    if (total > slot.area.size) {
        return UPDRAFT_NOT_ENOUGH_FLASH;
    }
    if (!IS_ENABLED(CONFIG_UPDRAFT_DELTA) && length >= 4 && sys_get_le32(data) == UPDRAFT_DELTA_MAGIC) {
        return UPDRAFT_UNSUPPORTED_PACKAGE;
    }
    updraft_package_begin(&package, &running->source, &slot);
    receiving = true;
    return UPDRAFT_GOOD;
}

static enum updraft_result take(const uint8_t *data, uint16_t length, bool last, size_t total, size_t offset) {
    enum updraft_result result = offset == 0 ? begin(data, length, total) : UPDRAFT_GOOD;
    struct updraft_image image;
    uint8_t sha256[UPDRAFT_SHA256_BYTES];

    if (result == UPDRAFT_GOOD && (!receiving || offset != package.offset)) {
        result = UPDRAFT_INTEGRITY; /* a block of a download that has ended, or one out of its place */
    }
    if (result == UPDRAFT_GOOD) {
        result = updraft_package_feed(&package, data, length);
    }
    if (result == UPDRAFT_GOOD && last) {
        result = updraft_package_finish(&package, &image, sha256);
        receiving = false;
        if (result == UPDRAFT_GOOD && keep(updraft_update_downloaded(&update, sha256)) != 0) {
            result = UPDRAFT_FAILED;
        }
        if (result == UPDRAFT_GOOD) {
            LOG_INF("downloaded %u.%u.%u+%u", image.version.major, image.version.minor, image.version.revision,
                    (unsigned)image.version.build);
        }
    }
    if (result != UPDRAFT_GOOD) {
        LOG_ERR("package refused, result %d", (int)result);
        receiving = false;
        keep(updraft_update_failed(&update, result));
    }
    return result;
}

static int on_block(uint16_t instance, uint16_t resource, uint16_t resource_instance, uint8_t *data, uint16_t length,
                    bool last, size_t total, size_t offset) {
    enum updraft_result result;

    ARG_UNUSED(instance);
    ARG_UNUSED(resource);
    ARG_UNUSED(resource_instance);
    k_mutex_lock(&lock, K_FOREVER);
    result = take(data, length, last, total, offset);
    k_mutex_unlock(&lock);
    return updraft_errno(result);
}

static void *block_buffer(uint16_t instance, uint16_t resource, uint16_t resource_instance, size_t *length) {
    ARG_UNUSED(instance);
    ARG_UNUSED(resource);
    ARG_UNUSED(resource_instance);
    *length = sizeof(block);
    return block;
}

static int install(void) {
    unsigned actions = updraft_update_step(&update, UPDRAFT_EXECUTE);

    if (actions & UPDRAFT_REFUSE) {
        return -EPERM;
    }
    if (keep(actions) != 0 || slots_request_test() != 0) {
        LOG_ERR("MCUboot could not be asked for the update");
        keep(updraft_update_step(&update, UPDRAFT_REQUEST_REFUSED));
        return -EIO;
    }
    reboot_soon();
    return 0;
}

static int on_execute(uint16_t instance, uint8_t *arguments, uint16_t length) {
    int answer;

    ARG_UNUSED(instance);
    ARG_UNUSED(arguments);
    ARG_UNUSED(length);
    k_mutex_lock(&lock, K_FOREVER);
    answer = install();
    k_mutex_unlock(&lock);
    return answer;
}

static int on_cancel(uint16_t instance) {
    ARG_UNUSED(instance);
    k_mutex_lock(&lock, K_FOREVER);
    keep(updraft_update_step(&update, UPDRAFT_RESET));
    k_mutex_unlock(&lock);
    return 0;
}

int firmware_start(const struct slots_running *image) {
    struct updraft_record record;
    int error;

    running = image;
    updraft_record_decode(store.record, &record); /* an empty record says: nothing was going on */
    error = keep(
        updraft_update_boot(&update, &record, image->sha256, boot_is_img_confirmed(), CONFIG_UPDRAFT_CONFIRM_SECONDS));
    show();
    lwm2m_register_pre_write_callback(&LWM2M_OBJ(LWM2M_OBJECT_FIRMWARE_ID, 0, 0), block_buffer);
    lwm2m_firmware_set_write_cb(on_block);
    lwm2m_firmware_set_update_cb(on_execute);
    lwm2m_firmware_set_cancel_cb(on_cancel);
    protocol = IS_ENABLED(CONFIG_LWM2M_DTLS_SUPPORT) ? 1 : 0;
    lwm2m_create_res_inst(&LWM2M_OBJ(LWM2M_OBJECT_FIRMWARE_ID, 0, 8, 0));
    lwm2m_set_res_buf(&LWM2M_OBJ(LWM2M_OBJECT_FIRMWARE_ID, 0, 8, 0), &protocol, sizeof(protocol), sizeof(protocol), 0);
    return error;
}

bool firmware_on_trial(void) {
    return update.trial.on;
}

void firmware_self_test_passed(void) {
    k_mutex_lock(&lock, K_FOREVER);
    update.trial.self_test_passed = true;
    k_mutex_unlock(&lock);
}

void firmware_server_reached(void) {
    k_mutex_lock(&lock, K_FOREVER);
    update.trial.server_reached = true;
    k_mutex_unlock(&lock);
}

enum updraft_trial_action firmware_trial(uint32_t seconds) {
    enum updraft_trial_action action;

    k_mutex_lock(&lock, K_FOREVER);
    action = updraft_trial_step(&update.trial, seconds);
    k_mutex_unlock(&lock);
    return action;
}

int firmware_confirm(void) {
    int error;

    k_mutex_lock(&lock, K_FOREVER);
    error = boot_write_img_confirmed();
    if (error == 0) {
        /* Not stored, it would be found out after the next boot, by the hash of what runs. */
        keep(updraft_update_confirmed(&update));
        show();
    }
    k_mutex_unlock(&lock);
    return error;
}
