/* subsys/net/lib/lwm2m/lwm2m_engine.h and lwm2m_registry.h, as lwm2m_obj_firmware.c uses them. */
#ifndef ZEPHYR_API_LWM2M_ENGINE_H
#define ZEPHYR_API_LWM2M_ENGINE_H

#include "lwm2m_object.h"

void lwm2m_register_obj(struct lwm2m_engine_obj *obj);
int lwm2m_create_obj_inst(uint16_t obj_id, uint16_t obj_inst_id, struct lwm2m_engine_obj_inst **obj_inst);

#endif
