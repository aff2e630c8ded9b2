/* Object 26250 "Updraft Image" (private range), one instance, read only; docs/contracts.md has its resources. */
#include <string.h>
#include <zephyr/dfu/mcuboot.h>
#include <zephyr/net/lwm2m.h>

#include "image_object.h"
#include "lwm2m_engine.h"
#include "lwm2m_object.h"
#include "store.h"
#include "updraft/delta.h"

#define OBJECT_ID 26250

enum { SHA256, CONFIRMED, BOOT_COUNT, DELTA_FORMATS, LAST_SWAP, APPLICATION, RESOURCES };

static uint8_t sha256[UPDRAFT_SHA256_BYTES];
static bool confirmed;
static int32_t boot_count;
static int32_t delta_formats;
static int32_t last_swap;
static char application[] = CONFIG_UPDRAFT_APPLICATION;

static struct lwm2m_engine_obj object;
static struct lwm2m_engine_obj_field fields[] = {
    OBJ_FIELD_DATA(SHA256, R, OPAQUE),     OBJ_FIELD_DATA(CONFIRMED, R, BOOL), OBJ_FIELD_DATA(BOOT_COUNT, R, S32),
    OBJ_FIELD_DATA(DELTA_FORMATS, R, S32), OBJ_FIELD_DATA(LAST_SWAP, R, S32),  OBJ_FIELD_DATA(APPLICATION, R, STRING),
};
static struct lwm2m_engine_obj_inst instance;
static struct lwm2m_engine_res resources[RESOURCES];
static struct lwm2m_engine_res_inst resource_instances[RESOURCES];

static struct lwm2m_engine_obj_inst *create(uint16_t id) {
    int i = 0, j = 0;

    ARG_UNUSED(id);
    init_res_instance(resource_instances, ARRAY_SIZE(resource_instances));
    INIT_OBJ_RES_DATA(SHA256, resources, i, resource_instances, j, sha256, sizeof(sha256));
    INIT_OBJ_RES_DATA(CONFIRMED, resources, i, resource_instances, j, &confirmed, sizeof(confirmed));
    INIT_OBJ_RES_DATA(BOOT_COUNT, resources, i, resource_instances, j, &boot_count, sizeof(boot_count));
    INIT_OBJ_RES_DATA(DELTA_FORMATS, resources, i, resource_instances, j, &delta_formats, sizeof(delta_formats));
    INIT_OBJ_RES_DATA(LAST_SWAP, resources, i, resource_instances, j, &last_swap, sizeof(last_swap));
    INIT_OBJ_RES_DATA(APPLICATION, resources, i, resource_instances, j, application, sizeof(application));
    instance.resources = resources;
    instance.resource_count = (uint16_t)i;
    return &instance;
}

int image_object_start(const struct slots_running *running) {
    struct lwm2m_engine_obj_inst *created;

    memcpy(sha256, running->sha256, sizeof(sha256));
    confirmed = boot_is_img_confirmed();
    boot_count = (int32_t)store.boots;
    /* No base, no deltas: without a hash the server could not choose one. */
    delta_formats = IS_ENABLED(CONFIG_UPDRAFT_DELTA) && running->source.size > 0 ? (int32_t)UPDRAFT_DELTA_FORMATS : 0;
    last_swap = slots_last_swap();

    object.obj_id = OBJECT_ID;
    object.version_major = 1;
    object.version_minor = 0;
    object.fields = fields;
    object.field_count = ARRAY_SIZE(fields);
    object.max_instance_count = 1;
    object.create_cb = create;
    lwm2m_register_obj(&object);
    return lwm2m_create_obj_inst(OBJECT_ID, 0, &created);
}

void image_object_confirmed(void) {
    lwm2m_set_bool(&LWM2M_OBJ(OBJECT_ID, 0, CONFIRMED), true);
}
