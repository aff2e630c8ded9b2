/* subsys/net/lib/lwm2m/lwm2m_object.h, 0562de9fbe2a: what an object of one's own is made of. */
#ifndef ZEPHYR_API_LWM2M_OBJECT_H
#define ZEPHYR_API_LWM2M_OBJECT_H

#include <string.h>
#include <zephyr/net/lwm2m.h>

#define LWM2M_PERM_R BIT(0)
#define LWM2M_RES_TYPE_OPAQUE 1
#define LWM2M_RES_TYPE_STRING 2
#define LWM2M_RES_TYPE_S32 7
#define LWM2M_RES_TYPE_BOOL 10
#define RES_INSTANCE_NOT_CREATED 65535

#define OBJ_FIELD_DATA(id, perm, type)                                                                                 \
    {.res_id = id, .permissions = LWM2M_PERM_##perm, .data_type = LWM2M_RES_TYPE_##type}

struct lwm2m_engine_obj_field {
    uint16_t res_id;
    uint8_t permissions;
    uint8_t data_type;
};
struct lwm2m_engine_res_inst {
    void *data_ptr;
    uint16_t max_data_len;
    uint16_t data_len;
    uint16_t res_inst_id;
    uint8_t data_flags;
};
struct lwm2m_engine_res {
    struct lwm2m_engine_res_inst *res_instances;
    uint16_t res_id;
    uint8_t res_inst_count;
    bool multi_res_inst;
};
struct lwm2m_engine_obj_inst {
    struct lwm2m_engine_res *resources;
    uint16_t obj_inst_id;
    uint16_t resource_count;
};
struct lwm2m_engine_obj {
    struct lwm2m_engine_obj_field *fields;
    struct lwm2m_engine_obj_inst *(*create_cb)(uint16_t obj_inst_id);
    uint16_t obj_id;
    uint16_t field_count;
    uint16_t max_instance_count;
    uint8_t version_major;
    uint8_t version_minor;
};

#define INIT_OBJ_RES_DATA(_id, _r_ptr, _r_idx, _ri_ptr, _ri_idx, _data_ptr, _data_len)                                 \
    do {                                                                                                               \
        _r_ptr[_r_idx].res_id = _id;                                                                                   \
        _r_ptr[_r_idx].res_instances = _ri_ptr + _ri_idx;                                                              \
        _r_ptr[_r_idx].res_inst_count = 1;                                                                             \
        _ri_ptr[_ri_idx].data_ptr = _data_ptr;                                                                         \
        _ri_ptr[_ri_idx].max_data_len = _data_len;                                                                     \
        _ri_ptr[_ri_idx].data_len = _data_len;                                                                         \
        _ri_ptr[_ri_idx].res_inst_id = 0;                                                                              \
        ++_ri_idx;                                                                                                     \
        ++_r_idx;                                                                                                      \
    } while (false)

static inline void init_res_instance(struct lwm2m_engine_res_inst *ri, size_t ri_len) {
    memset(ri, 0, sizeof(*ri) * ri_len);
    for (size_t i = 0; i < ri_len; i++) {
        ri[i].res_inst_id = RES_INSTANCE_NOT_CREATED;
    }
}

#endif
