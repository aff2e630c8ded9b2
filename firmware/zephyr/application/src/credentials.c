/* Enrolment: server, endpoint name and pre-shared key, kept in settings and set over the shell. No key is a default.
 *
 *     updraft server coaps://updraft.example:5684
 *     updraft psk NAME 32-to-64-hex-digits
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <zephyr/drivers/hwinfo.h>
#include <zephyr/kernel.h>
#include <zephyr/logging/log.h>
#include <zephyr/net/lwm2m.h>
#include <zephyr/sys/util.h>

#include "credentials.h"

LOG_MODULE_REGISTER(updraft_credentials);

#define MIN_PSK_BYTES 16u
/* Short server id: only has to be the same in objects 0 and 1. */
#define SHORT_SERVER_ID 101
#define MODE_PSK 0
#define MODE_NOSEC 3

/* A key that counts upwards, or says one byte again and again, is what samples carry: everybody has it. */
static bool is_an_example(const uint8_t *psk, size_t length) {
    bool counts = true;
    bool repeats = true;

    for (size_t i = 1; i < length; i++) {
        counts = counts && psk[i] == (uint8_t)(psk[i - 1] + 1);
        repeats = repeats && psk[i] == psk[i - 1];
    }
    return counts || repeats;
}

const char *credentials_missing(const struct store *enrolled, bool secure) {
    const char *scheme = secure ? "coaps://" : "coap://";

    if (enrolled->server[0] == '\0') {
        return "no server: updraft server URI";
    }
    if (strncmp(enrolled->server, scheme, strlen(scheme)) != 0) {
        return secure ? "this build speaks DTLS: the server has to be coaps://..."
                      : "this build speaks no DTLS: the server has to be coap://...";
    }
    if (!secure) {
        return NULL;
    }
    if (enrolled->identity[0] == '\0' || enrolled->psk_bytes < MIN_PSK_BYTES) {
        return "no key: make one for this device (openssl rand -hex 16), then: updraft psk NAME KEY";
    }
    return is_an_example(enrolled->psk, enrolled->psk_bytes) ? "that key is an example everybody has: make your own"
                                                             : NULL;
}

/* The serial number in hex, for an endpoint that was given no name. */
static void name_by_hardware(void) {
    uint8_t id[16];
    ssize_t length = hwinfo_get_device_id(id, sizeof(id));
    size_t at = strlen(CONFIG_UPDRAFT_ENDPOINT_PREFIX);

    if (length <= 0 || at + 2 * (size_t)length >= sizeof(store.endpoint)) {
        return; /* no name: the server refuses the registration, and says so */
    }
    memcpy(store.endpoint, CONFIG_UPDRAFT_ENDPOINT_PREFIX, at);
    bin2hex(id, (size_t)length, store.endpoint + at, sizeof(store.endpoint) - at);
}

int credentials_apply(void) {
    bool secure = IS_ENABLED(CONFIG_LWM2M_DTLS_SUPPORT);
    bool bootstrap = IS_ENABLED(CONFIG_LWM2M_RD_CLIENT_SUPPORT_BOOTSTRAP);
    const char *missing;

    if (store.server[0] == '\0') {
        snprintf(store.server, sizeof(store.server), "%s", CONFIG_UPDRAFT_SERVER);
    }
    if (store.endpoint[0] == '\0') {
        name_by_hardware();
    }
    missing = credentials_missing(&store, secure);
    if (missing != NULL) {
        LOG_ERR("not enrolled, the client does not start: %s", missing);
        return -EACCES;
    }
    lwm2m_set_string(&LWM2M_OBJ(LWM2M_OBJECT_SECURITY_ID, 0, 0), store.server);
    lwm2m_set_bool(&LWM2M_OBJ(LWM2M_OBJECT_SECURITY_ID, 0, 1), bootstrap);
    lwm2m_set_u8(&LWM2M_OBJ(LWM2M_OBJECT_SECURITY_ID, 0, 2), secure ? MODE_PSK : MODE_NOSEC);
    if (secure) {
        lwm2m_set_string(&LWM2M_OBJ(LWM2M_OBJECT_SECURITY_ID, 0, 3), store.identity);
        lwm2m_set_opaque(&LWM2M_OBJ(LWM2M_OBJECT_SECURITY_ID, 0, 5), (const char *)store.psk,
                         (uint16_t)store.psk_bytes);
    }
    if (!bootstrap) {
        lwm2m_set_u16(&LWM2M_OBJ(LWM2M_OBJECT_SECURITY_ID, 0, 10), SHORT_SERVER_ID);
        lwm2m_set_u16(&LWM2M_OBJ(LWM2M_OBJECT_SERVER_ID, 0, 0), SHORT_SERVER_ID);
    }
    return 0;
}

#if defined(CONFIG_UPDRAFT_SHELL)
#include <zephyr/shell/shell.h>

static int saved(const struct shell *shell, int error) {
    if (error != 0) {
        shell_error(shell, "not stored: %d", error);
        return error;
    }
    shell_print(shell, "stored; in use after the next reboot");
    return 0;
}

static int set_server(const struct shell *shell, size_t count, char **words) {
    ARG_UNUSED(count);
    return saved(shell, store_save("server", words[1], strlen(words[1])));
}

static int set_endpoint(const struct shell *shell, size_t count, char **words) {
    ARG_UNUSED(count);
    return saved(shell, store_save("endpoint", words[1], strlen(words[1])));
}

static int set_psk(const struct shell *shell, size_t count, char **words) {
    uint8_t key[STORE_PSK_BYTES];
    size_t length = hex2bin(words[2], strlen(words[2]), key, sizeof(key));
    int error;

    ARG_UNUSED(count);
    if (length < MIN_PSK_BYTES || is_an_example(key, length)) {
        shell_error(shell, "a key is 16 to 32 random bytes in hex");
        return -EINVAL;
    }
    error = store_save("identity", words[1], strlen(words[1]));
    return saved(shell, error != 0 ? error : store_save("psk", key, length));
}

static int show_status(const struct shell *shell, size_t count, char **words) {
    const char *missing = credentials_missing(&store, IS_ENABLED(CONFIG_LWM2M_DTLS_SUPPORT));

    ARG_UNUSED(count);
    ARG_UNUSED(words);
    shell_print(shell, "server %s", store.server);
    shell_print(shell, "endpoint %s", store.endpoint);
    shell_print(shell, "identity %s, key of %u bytes", store.identity, (unsigned)store.psk_bytes);
    shell_print(shell, "boots %u", (unsigned)store.boots);
    shell_print(shell, "%s", missing != NULL ? missing : "enrolled");
    return 0;
}

SHELL_STATIC_SUBCMD_SET_CREATE(updraft_commands,
                               SHELL_CMD_ARG(server, NULL, "URI of the LwM2M server", set_server, 2, 0),
                               SHELL_CMD_ARG(endpoint, NULL, "name the device registers with", set_endpoint, 2, 0),
                               SHELL_CMD_ARG(psk, NULL, "DTLS identity, and its key in hex", set_psk, 3, 0),
                               SHELL_CMD_ARG(status, NULL, "what the device knows of itself", show_status, 1, 0),
                               SHELL_SUBCMD_SET_END);
SHELL_CMD_REGISTER(updraft, &updraft_commands, "Enrolment with Updraft", NULL);
#endif
