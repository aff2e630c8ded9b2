/* include/zephyr/net/lwm2m.h and lwm2m_path.h. The write callback with its offset, and the cancel callback, as used by
 * samples/net/lwm2m_client/src/firmware_update.c, 54a29be308c1 (newer than 3.x). */
#ifndef ZEPHYR_API_LWM2M_H
#define ZEPHYR_API_LWM2M_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <zephyr/kernel.h>

#define LWM2M_OBJECT_SECURITY_ID 0
#define LWM2M_OBJECT_SERVER_ID 1
#define LWM2M_OBJECT_DEVICE_ID 3
#define LWM2M_OBJECT_FIRMWARE_ID 5
#define LWM2M_RES_DATA_FLAG_RO BIT(0)

struct lwm2m_obj_path {
    uint16_t obj_id;
    uint16_t obj_inst_id;
    uint16_t res_id;
    uint16_t res_inst_id;
    uint8_t level;
};
#define LWM2M_OBJ(...) GET_OBJ_MACRO(__VA_ARGS__, LWM2M_OBJ4, LWM2M_OBJ3, LWM2M_OBJ2, LWM2M_OBJ1)(__VA_ARGS__)
#define GET_OBJ_MACRO(_1, _2, _3, _4, NAME, ...) NAME
#define LWM2M_OBJ2(oi, oii) (struct lwm2m_obj_path){.obj_id = oi, .obj_inst_id = oii, .level = 2}
#define LWM2M_OBJ3(oi, oii, ri) (struct lwm2m_obj_path){.obj_id = oi, .obj_inst_id = oii, .res_id = ri, .level = 3}
#define LWM2M_OBJ4(oi, oii, ri, rii)                                                                                   \
    (struct lwm2m_obj_path){.obj_id = oi, .obj_inst_id = oii, .res_id = ri, .res_inst_id = rii, .level = 4}

typedef void *(*lwm2m_engine_get_data_cb_t)(uint16_t obj_inst_id, uint16_t res_id, uint16_t res_inst_id,
                                            size_t *data_len);
typedef int (*lwm2m_engine_set_data_cb_t)(uint16_t obj_inst_id, uint16_t res_id, uint16_t res_inst_id, uint8_t *data,
                                          uint16_t data_len, bool last_block, size_t total_size, size_t offset);
typedef int (*lwm2m_engine_user_cb_t)(uint16_t obj_inst_id);
typedef int (*lwm2m_engine_execute_cb_t)(uint16_t obj_inst_id, uint8_t *args, uint16_t args_len);

int lwm2m_set_string(const struct lwm2m_obj_path *path, const char *data_ptr);
int lwm2m_set_opaque(const struct lwm2m_obj_path *path, const char *data_ptr, uint16_t data_len);
int lwm2m_set_u8(const struct lwm2m_obj_path *path, uint8_t value);
int lwm2m_set_u16(const struct lwm2m_obj_path *path, uint16_t value);
int lwm2m_set_bool(const struct lwm2m_obj_path *path, bool value);
int lwm2m_set_res_buf(const struct lwm2m_obj_path *path, void *buffer_ptr, uint16_t buffer_len, uint16_t data_len,
                      uint8_t data_flags);
int lwm2m_create_res_inst(const struct lwm2m_obj_path *path);
int lwm2m_register_pre_write_callback(const struct lwm2m_obj_path *path, lwm2m_engine_get_data_cb_t cb);
int lwm2m_register_exec_callback(const struct lwm2m_obj_path *path, lwm2m_engine_execute_cb_t cb);
void lwm2m_firmware_set_write_cb(lwm2m_engine_set_data_cb_t cb);
void lwm2m_firmware_set_update_cb(lwm2m_engine_execute_cb_t cb);
void lwm2m_firmware_set_cancel_cb(lwm2m_engine_user_cb_t cb);

enum lwm2m_rd_client_event {
    LWM2M_RD_CLIENT_EVENT_NONE,
    LWM2M_RD_CLIENT_EVENT_BOOTSTRAP_REG_FAILURE,
    LWM2M_RD_CLIENT_EVENT_BOOTSTRAP_REG_COMPLETE,
    LWM2M_RD_CLIENT_EVENT_BOOTSTRAP_TRANSFER_COMPLETE,
    LWM2M_RD_CLIENT_EVENT_REGISTRATION_FAILURE,
    LWM2M_RD_CLIENT_EVENT_REGISTRATION_COMPLETE,
    LWM2M_RD_CLIENT_EVENT_REG_TIMEOUT,
    LWM2M_RD_CLIENT_EVENT_REG_UPDATE_COMPLETE,
    LWM2M_RD_CLIENT_EVENT_DEREGISTER_FAILURE,
    LWM2M_RD_CLIENT_EVENT_DISCONNECT,
    LWM2M_RD_CLIENT_EVENT_QUEUE_MODE_RX_OFF,
    LWM2M_RD_CLIENT_EVENT_ENGINE_SUSPENDED,
    LWM2M_RD_CLIENT_EVENT_NETWORK_ERROR,
    LWM2M_RD_CLIENT_EVENT_REG_UPDATE,
};
#define LWM2M_RD_CLIENT_FLAG_BOOTSTRAP BIT(0)

struct lwm2m_ctx {
#if defined(CONFIG_LWM2M_DTLS_SUPPORT)
    int tls_tag;
#endif
    int sock_fd;
};
typedef void (*lwm2m_ctx_event_cb_t)(struct lwm2m_ctx *ctx, enum lwm2m_rd_client_event event);
typedef void (*lwm2m_observe_cb_t)(int event, struct lwm2m_obj_path *path, void *user_data);
int lwm2m_rd_client_start(struct lwm2m_ctx *client_ctx, const char *ep_name, uint32_t flags,
                          lwm2m_ctx_event_cb_t event_cb, lwm2m_observe_cb_t observe_cb);
int lwm2m_rd_client_stop(struct lwm2m_ctx *client_ctx, lwm2m_ctx_event_cb_t event_cb, bool deregister);
int lwm2m_engine_pause(void);
int lwm2m_engine_resume(void);

#endif
