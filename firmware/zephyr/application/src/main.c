/* The order of a boot: what was stored, what runs, the watchdog, who we are, the network. */
#include <zephyr/logging/log.h>

#include "client.h"
#include "confirm.h"
#include "credentials.h"
#include "firmware.h"
#include "image_object.h"
#include "net.h"
#include "slots.h"
#include "store.h"

LOG_MODULE_REGISTER(updraft_main);

static struct slots_running running;

/* A step that fails is said and not hidden; the boot goes on, because only a device on the network can be helped. An
 * image on trial whose steps fail does not get as far as registering, and is left by the deadline. */
static void step(const char *what, int error) {
    if (error != 0) {
        LOG_ERR("%s: %d", what, error);
    }
}

int main(void) {
    uint32_t boots;

    step("settings", store_load());
    boots = store.boots + 1;
    step("boot count", store_save("boots", &boots, sizeof(boots)));
    step("slots", slots_open(&running));
    step("object 5", firmware_start(&running));
    step("watchdog", confirm_start());
    step("object 26250", image_object_start(&running));
    client_describe(&running);
    if (credentials_apply() == 0) {
        client_ready();
    }
    net_start();
    return 0;
}
