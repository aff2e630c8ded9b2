/* Clock, work queue, watchdog, and Zephyr's LwM2M engine as far as the application can see it. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zephyr/device.h>
#include <zephyr/drivers/hwinfo.h>
#include <zephyr/kernel.h>
#include <zephyr/logging/log.h>
#include <zephyr/net/conn_mgr_monitor.h>
#include <zephyr/net/net_event.h>
#include <zephyr/net/net_mgmt.h>
#include <zephyr/shell/shell.h>
#include <zephyr/sys/byteorder.h>
#include <zephyr/sys/reboot.h>
#include <zephyr/task_wdt/task_wdt.h>

#include "board.h"
#include "lwm2m_engine.h"

const struct device *zephyr_watchdog;

static int64_t now; /* ms since boot */
static struct k_work_delayable *scheduled[8];
static struct {
    bool on;
    int64_t period;
    int64_t due;
} channels[5];

int k_mutex_lock(struct k_mutex *mutex, k_timeout_t timeout) {
    (void)timeout;
    return mutex->held++ == 0 ? 0 : (board_off("a mutex was taken twice"), -EBUSY);
}

int k_mutex_unlock(struct k_mutex *mutex) {
    mutex->held--;
    return 0;
}

int64_t k_uptime_get(void) {
    return board_broken("clock") ? 0 : now;
}

struct k_work_delayable *k_work_delayable_from_work(struct k_work *work) {
    return (struct k_work_delayable *)work;
}

int k_work_reschedule(struct k_work_delayable *work, k_timeout_t delay) {
    for (size_t i = 0; i < ARRAY_SIZE(scheduled); i++) {
        if (scheduled[i] == NULL || scheduled[i] == work) {
            scheduled[i] = work;
            work->due = now + delay.ticks;
            return 1;
        }
    }
    board_off("no room for more work");
}

int k_work_schedule(struct k_work_delayable *work, k_timeout_t delay) {
    return work->due >= 0 ? 0 : k_work_reschedule(work, delay);
}

static void run_due(void) {
    for (size_t i = 0; i < ARRAY_SIZE(scheduled); i++) {
        if (scheduled[i] != NULL && scheduled[i]->due >= 0 && scheduled[i]->due <= now) {
            scheduled[i]->due = -1;
            scheduled[i]->work.handler(&scheduled[i]->work);
        }
    }
}

void clock_advance(unsigned seconds, bool hung) {
    if (!hung) {
        run_due();
    }
    for (int64_t end = now + (int64_t)seconds * MSEC_PER_SEC; now < end;) {
        now += 100;
        if (!hung) {
            run_due();
        }
        for (size_t i = 0; i < ARRAY_SIZE(channels); i++) {
            if (channels[i].on && channels[i].due <= now) {
                board_off("watchdog");
            }
        }
    }
}

int task_wdt_init(const struct device *hw_wdt) {
    (void)hw_wdt;
    return board_broken("watchdog") ? -ENODEV : 0;
}

int task_wdt_add(uint32_t reload_period, task_wdt_callback_t callback, void *user_data) {
    (void)callback;
    (void)user_data;
    for (int i = 0; i < (int)ARRAY_SIZE(channels) && !board_broken(i == 0 ? "first channel" : "second channel"); i++) {
        if (!channels[i].on) {
            channels[i].on = true;
            channels[i].period = reload_period;
            channels[i].due = now + reload_period;
            return i;
        }
    }
    return -ENOMEM;
}

int task_wdt_delete(int channel_id) {
    channels[channel_id].on = false;
    return 0;
}

int task_wdt_feed(int channel_id) {
    if (channel_id < 0 || !channels[channel_id].on) {
        board_off("a watchdog was fed that is not there");
    }
    channels[channel_id].due = now + channels[channel_id].period;
    return 0;
}

void sys_reboot(int type) {
    (void)type;
    board_off("reboot");
}

uint32_t sys_get_le32(const uint8_t src[4]) {
    return (uint32_t)src[0] | (uint32_t)src[1] << 8 | (uint32_t)src[2] << 16 | (uint32_t)src[3] << 24;
}

size_t bin2hex(const uint8_t *buf, size_t buflen, char *hex, size_t hexlen) {
    for (size_t i = 0; i < buflen; i++) {
        snprintf(hex + 2 * i, hexlen - 2 * i, "%02x", buf[i]);
    }
    return 2 * buflen;
}

size_t hex2bin(const char *hex, size_t hexlen, uint8_t *buf, size_t buflen) {
    if (hexlen % 2 != 0 || hexlen / 2 > buflen || strspn(hex, "0123456789abcdefABCDEF") != hexlen) {
        return 0;
    }
    for (size_t i = 0; i < hexlen / 2; i++) {
        unsigned value;
        sscanf(hex + 2 * i, "%2x", &value);
        buf[i] = (uint8_t)value;
    }
    return hexlen / 2;
}

ssize_t hwinfo_get_device_id(uint8_t *buffer, size_t length) {
    (void)length;
    memcpy(buffer, "\x0a\x0b\x0c\x0d", 4);
    return 4;
}

void zephyr_log(const char *level, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    printf("%s: ", level);
    vprintf(format, arguments);
    printf("\n");
    va_end(arguments);
}

#define SAY(prefix)                                                                                                    \
    va_list arguments;                                                                                                 \
    (void)shell;                                                                                                       \
    va_start(arguments, format);                                                                                       \
    printf(prefix);                                                                                                    \
    vprintf(format, arguments);                                                                                        \
    printf("\n");                                                                                                      \
    va_end(arguments)

void shell_print(const struct shell *shell, const char *format, ...) {
    SAY("shell: ");
}

void shell_error(const struct shell *shell, const char *format, ...) {
    SAY("shell refuses: ");
}

/* --- network: there from the start --- */

static struct net_mgmt_event_callback *listener;

void net_mgmt_init_event_callback(struct net_mgmt_event_callback *cb, net_mgmt_event_handler_t handler,
                                  uint64_t mgmt_event_mask) {
    *cb = (struct net_mgmt_event_callback){handler, mgmt_event_mask};
}

void net_mgmt_add_event_callback(struct net_mgmt_event_callback *cb) {
    listener = cb;
}

void conn_mgr_mon_resend_status(void) {
    listener->handler(listener, NET_EVENT_L4_CONNECTED, NULL);
}

/* --- LwM2M: resources are printed when they are set, object 5 moves as lwm2m_obj_firmware.c has it --- */

enum { IDLE, DOWNLOADING, DOWNLOADED, UPDATING };

static uint8_t state;
static lwm2m_ctx_event_cb_t on_event;
static lwm2m_engine_get_data_cb_t buffer_of;
static lwm2m_engine_set_data_cb_t on_block;
static lwm2m_engine_execute_cb_t on_update;
static lwm2m_engine_user_cb_t on_cancel;
static struct lwm2m_engine_obj *own_object;
static struct lwm2m_engine_obj_inst *own_instance;

static void set_state(uint8_t to) {
    state = to;
    printf("state %u\n", to);
}

static void set_result(uint8_t to) {
    if (to != 0) {
        state = IDLE;
    }
    printf("result %u\n", to);
}

int lwm2m_set_u8(const struct lwm2m_obj_path *path, uint8_t value) {
    if (path->obj_id == LWM2M_OBJECT_FIRMWARE_ID && path->res_id == 3) {
        set_state(value);
    } else if (path->obj_id == LWM2M_OBJECT_FIRMWARE_ID) {
        printf("result %u\n", value);
    } else {
        printf("/%u/0/%u = %u\n", path->obj_id, path->res_id, value);
    }
    return 0;
}

int lwm2m_set_u16(const struct lwm2m_obj_path *path, uint16_t value) {
    printf("/%u/0/%u = %u\n", path->obj_id, path->res_id, value);
    return 0;
}

int lwm2m_set_string(const struct lwm2m_obj_path *path, const char *data_ptr) {
    printf("/%u/0/%u = %s\n", path->obj_id, path->res_id, data_ptr);
    return 0;
}

int lwm2m_set_opaque(const struct lwm2m_obj_path *path, const char *data_ptr, uint16_t data_len) {
    (void)data_ptr;
    printf("/%u/0/%u = %u bytes\n", path->obj_id, path->res_id, data_len);
    return 0;
}

int lwm2m_set_bool(const struct lwm2m_obj_path *path, bool value) {
    if (own_object != NULL && path->obj_id == own_object->obj_id) {
        *(bool *)own_instance->resources[path->res_id].res_instances->data_ptr = value;
    }
    return 0;
}

int lwm2m_set_res_buf(const struct lwm2m_obj_path *path, void *buffer_ptr, uint16_t buffer_len, uint16_t data_len,
                      uint8_t data_flags) {
    (void)buffer_len;
    (void)data_len;
    (void)data_flags;
    if (path->obj_id == LWM2M_OBJECT_DEVICE_ID) {
        printf("/3/0/%u = %s\n", path->res_id, (const char *)buffer_ptr);
    }
    return 0;
}

int lwm2m_create_res_inst(const struct lwm2m_obj_path *path) {
    return path->level == 4 ? 0 : -EINVAL;
}

int lwm2m_register_pre_write_callback(const struct lwm2m_obj_path *path, lwm2m_engine_get_data_cb_t cb) {
    (void)path;
    buffer_of = cb;
    return 0;
}

int lwm2m_register_exec_callback(const struct lwm2m_obj_path *path, lwm2m_engine_execute_cb_t cb) {
    (void)path;
    (void)cb;
    return 0;
}

void lwm2m_firmware_set_write_cb(lwm2m_engine_set_data_cb_t cb) {
    on_block = cb;
}

void lwm2m_firmware_set_update_cb(lwm2m_engine_execute_cb_t cb) {
    on_update = cb;
}

void lwm2m_firmware_set_cancel_cb(lwm2m_engine_user_cb_t cb) {
    on_cancel = cb;
}

void lwm2m_register_obj(struct lwm2m_engine_obj *obj) {
    own_object = obj;
}

int lwm2m_create_obj_inst(uint16_t obj_id, uint16_t obj_inst_id, struct lwm2m_engine_obj_inst **obj_inst) {
    (void)obj_id;
    own_instance = *obj_inst = own_object->create_cb(obj_inst_id);
    return own_instance->resource_count == own_object->field_count ? 0 : -EINVAL;
}

int lwm2m_rd_client_start(struct lwm2m_ctx *client_ctx, const char *ep_name, uint32_t flags,
                          lwm2m_ctx_event_cb_t event_cb, lwm2m_observe_cb_t observe_cb) {
    (void)client_ctx;
    (void)observe_cb;
    on_event = event_cb;
    printf("client starts as %s%s\n", ep_name, flags & LWM2M_RD_CLIENT_FLAG_BOOTSTRAP ? ", bootstrap" : "");
    return 0;
}

int lwm2m_rd_client_stop(struct lwm2m_ctx *client_ctx, lwm2m_ctx_event_cb_t event_cb, bool deregister) {
    (void)client_ctx;
    (void)event_cb;
    (void)deregister;
    printf("client stops\n");
    return 0;
}

int lwm2m_engine_pause(void) {
    return 0;
}

int lwm2m_engine_resume(void) {
    return 0;
}

void engine_registered(void) {
    on_event(NULL, LWM2M_RD_CLIENT_EVENT_REGISTRATION_COMPLETE);
}

void engine_network_error(void) {
    on_event(NULL, LWM2M_RD_CLIENT_EVENT_NETWORK_ERROR);
}

static uint8_t result_of(int error) {
    return error == -ENOMEM ? 3 : error == -ENOSPC ? 2 : error == -EFAULT ? 5 : error == -ENOMSG ? 6 : 8;
}

void engine_download(const uint8_t *package, size_t length, size_t announced, enum delivery delivery) {
    size_t room;
    uint8_t *buffer = buffer_of(0, 0, 0, &room);
    if (state != IDLE) {
        printf("ignored\n");
        return;
    }
    set_state(DOWNLOADING);
    for (size_t at = 0, size; at < length; at += size) {
        int answer = 0;
        size = length - at < room ? length - at : room;
        memcpy(buffer, package + at, size);
        if (delivery != GAP || at != room) {
            answer =
                on_block(0, 0, 0, buffer, (uint16_t)size, delivery != CUT_SHORT && at + size == length, announced, at);
        }
        if (answer < 0) {
            set_result(result_of(answer));
            return;
        }
    }
    if (delivery == CUT_SHORT) {
        set_result(4);
    } else {
        set_state(DOWNLOADED);
    }
}

void engine_execute(void) {
    int answer;
    if (state != DOWNLOADED) {
        printf("not allowed\n");
        return;
    }
    set_state(UPDATING);
    answer = on_update(0, NULL, 0);
    if (answer < 0) {
        set_result(answer == -EINVAL ? 5 : 8);
    }
}

void engine_cancel(void) {
    set_state(IDLE);
    on_cancel(0);
}

void engine_print(unsigned object, unsigned resource) {
    const struct lwm2m_engine_res_inst *of = own_instance->resources[resource].res_instances;
    printf("/%u/0/%u =", object, resource);
    for (uint16_t i = 0; i < of->data_len; i++) {
        printf(" %02x", ((const uint8_t *)of->data_ptr)[i]);
    }
    printf("\n");
}
