/* The LwM2M client: what the device says of itself, and staying registered. */
#include <stdio.h>
#include <string.h>
#include <zephyr/drivers/hwinfo.h>
#include <zephyr/kernel.h>
#include <zephyr/logging/log.h>
#include <zephyr/net/lwm2m.h>
#include <zephyr/sys/util.h>

#include "client.h"
#include "confirm.h"
#include "reboot.h"
#include "store.h"

LOG_MODULE_REGISTER(updraft_client);

static struct lwm2m_ctx context;
static bool enrolled;
static bool connected;
static bool started;

static char manufacturer[] = "Updraft";
static char product[] = CONFIG_UPDRAFT_PRODUCT;
static char board[] = CONFIG_BOARD;
static char serial[33];
static char version[26]; /* 255.255.65535+4294967295 */

static void restart_now(struct k_work *work);
static K_WORK_DELAYABLE_DEFINE(restart, restart_now);

static void on_event(struct lwm2m_ctx *client, enum lwm2m_rd_client_event event) {
    ARG_UNUSED(client);
    switch (event) {
    case LWM2M_RD_CLIENT_EVENT_REGISTRATION_COMPLETE:
        /* The one thing that proves that this image can be updated again. */
        confirm_server_reached();
        LOG_INF("registered as %s", store.endpoint);
        break;
    case LWM2M_RD_CLIENT_EVENT_NETWORK_ERROR:
        LOG_WRN("the client gave up; again in %d s", CONFIG_UPDRAFT_RETRY_SECONDS);
        k_work_schedule(&restart, K_SECONDS(CONFIG_UPDRAFT_RETRY_SECONDS));
        break;
    default:
        LOG_DBG("client event %d", (int)event);
        break;
    }
}

static void start(void) {
    uint32_t flags = IS_ENABLED(CONFIG_LWM2M_RD_CLIENT_SUPPORT_BOOTSTRAP) ? LWM2M_RD_CLIENT_FLAG_BOOTSTRAP : 0;
    int error;

#if defined(CONFIG_LWM2M_DTLS_SUPPORT)
    context.tls_tag = 1;
#endif
    error = lwm2m_rd_client_start(&context, store.endpoint, flags, on_event, NULL);
    if (error != 0) {
        LOG_ERR("the client does not start: %d", error);
        k_work_schedule(&restart, K_SECONDS(CONFIG_UPDRAFT_RETRY_SECONDS));
    }
}

/* Runs in the system work queue: the client must not be stopped from its own callback. */
static void restart_now(struct k_work *work) {
    ARG_UNUSED(work);
    lwm2m_rd_client_stop(&context, on_event, false);
    memset(&context, 0, sizeof(context));
    start();
}

static void go(void) {
    if (enrolled && connected && !started) {
        started = true;
        start();
    }
}

void client_network(bool up) {
    if (started && up != connected) {
        if (up) {
            lwm2m_engine_resume();
        } else {
            lwm2m_engine_pause();
        }
    }
    connected = up;
    go();
}

void client_ready(void) {
    enrolled = true;
    go();
}

static int on_reboot(uint16_t instance, uint8_t *arguments, uint16_t length) {
    ARG_UNUSED(instance);
    ARG_UNUSED(arguments);
    ARG_UNUSED(length);
    reboot_soon();
    return 0;
}

static void text(uint16_t resource, char *value, size_t size) {
    lwm2m_set_res_buf(&LWM2M_OBJ(LWM2M_OBJECT_DEVICE_ID, 0, resource), value, (uint16_t)size,
                      (uint16_t)(strlen(value) + 1), LWM2M_RES_DATA_FLAG_RO);
}

void client_describe(const struct slots_running *running) {
    const struct updraft_version *of = &running->image.version;
    uint8_t id[16];
    ssize_t length = hwinfo_get_device_id(id, sizeof(id));

    if (length > 0) {
        bin2hex(id, (size_t)length, serial, sizeof(serial));
    }
    snprintf(version, sizeof(version), "%u.%u.%u+%u", of->major, of->minor, of->revision, (unsigned)of->build);
    text(0, manufacturer, sizeof(manufacturer));
    text(1, product, sizeof(product));
    text(2, serial, sizeof(serial));
    text(3, version, sizeof(version));
    text(17, board, sizeof(board));
    lwm2m_register_exec_callback(&LWM2M_OBJ(LWM2M_OBJECT_DEVICE_ID, 0, 4), on_reboot);
}
