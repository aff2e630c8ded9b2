/* The strict flash: what it refuses is counted as a violation, for nothing under test may ever try it. */
#include "flash_model.h"

#include <string.h>

static int model_read(void *context, uint32_t offset, void *data, size_t length) {
    struct flash_model *model = context;
    if (++model->reads == model->fail_read_at) {
        return -1;
    }
    if (offset > model->slot.area.size || length > model->slot.area.size - offset) {
        model->violations++;
        return -1;
    }
    memcpy(data, model->data + offset, length);
    return 0;
}

/* How much of an operation on `length` bytes is done; less than all of it when the power fails in it. */
static size_t done_of(struct flash_model *model, size_t length) {
    model->operations++;
    if (model->cut_at == 0 || model->operations < model->cut_at) {
        return length;
    }
    size_t half = length / 2 / model->slot.write_unit * model->slot.write_unit;
    return model->operations == model->cut_at ? half : 0;
}

static int model_write(void *context, uint32_t offset, const void *data, size_t length) {
    struct flash_model *model = context;
    uint8_t unit = model->slot.write_unit;
    if (offset % unit != 0 || length % unit != 0 || length == 0 || offset > model->slot.area.size ||
        length > model->slot.area.size - offset) {
        model->violations++;
        return -1;
    }
    for (size_t at = 0; at < length; at++) {
        if (model->data[offset + at] != model->slot.erased_value) {
            model->violations++;
            return -1;
        }
    }
    size_t done = done_of(model, length);
    memcpy(model->data + offset, data, done);
    model->highest = offset + length > model->highest ? (uint32_t)(offset + length) : model->highest;
    return done == length ? 0 : -1;
}

static int model_erase(void *context, uint32_t offset, size_t length) {
    struct flash_model *model = context;
    if (offset % model->slot.sector_bytes != 0 || length != model->slot.sector_bytes ||
        offset >= model->slot.area.size) {
        model->violations++;
        return -1;
    }
    size_t done = done_of(model, length);
    memset(model->data + offset, model->slot.erased_value, done);
    model->erases++;
    model->highest = offset + length > model->highest ? (uint32_t)(offset + length) : model->highest;
    return done == length ? 0 : -1;
}

void model_begin(struct flash_model *model, uint8_t content, uint32_t size, uint32_t sector_bytes, uint8_t write_unit,
                 uint8_t erased_value) {
    const uint32_t whole_sectors = (size + sector_bytes - 1) / sector_bytes * sector_bytes;
    memset(model->data, content, whole_sectors < MODEL_BYTES ? whole_sectors : MODEL_BYTES);
    model->operations = model->erases = model->cut_at = model->reads = model->fail_read_at = model->violations = 0;
    model->highest = 0;
    model->slot = (struct updraft_slot){
        .area = {model_read, model, size},
        .write = model_write,
        .erase = model_erase,
        .sector_bytes = sector_bytes,
        .write_unit = write_unit,
        .erased_value = erased_value,
    };
}

void model_power_on(struct flash_model *model) {
    model->operations = 0;
    model->cut_at = 0;
}

static int memory_read(void *context, uint32_t offset, void *data, size_t length) {
    memcpy(data, (const uint8_t *)context + offset, length);
    return 0;
}

struct updraft_source memory_source(const uint8_t *data, uint32_t size) {
    /* The reader above only reads. */
    union {
        const uint8_t *from;
        void *to;
    } context = {data};
    return (struct updraft_source){memory_read, context.to, size};
}
