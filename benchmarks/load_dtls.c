/* The load of load.c through DTLS 1.2, with a session, a key and a socket for each device.
 *
 *   load_dtls -p PORT -f REQUESTS -d BODY -k KEY [-x SZX] [-t SECONDS] [-n COUNT] [-m MID]
 *
 * KEY is the pre-shared key in hex; a device's identity is `bench-` and its number. The suite is what constrained
 * devices speak: TLS_PSK_WITH_AES_128_CCM_8. The clock starts when every session stands; prints one JSON object, in
 * which "handshakes_per_second" tells how fast they came about.
 */
#include "device.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 64, AT_ONCE = 32 };
static const double HANDSHAKE_SECONDS = 15, PATIENCE = 2.0;

static SSL **sessions;
static unsigned char key[64];
static unsigned key_size;
static unsigned limit;
static unsigned long running;

static unsigned give_key(SSL *session, const char *hint, char *identity, unsigned most, unsigned char *into,
                         unsigned room) {
  (void)hint;
  if (room < key_size) return 0;
  snprintf(identity, most, "bench-%u", (unsigned)(uintptr_t)SSL_get_app_data(session));
  memcpy(into, key, key_size);
  return key_size;
}

static void ask(unsigned i, double at, int anew) {
  struct device *d = &devices[i];
  uint8_t datagram[4 + TOKEN + 2 * MAX_OPTIONS + 8];
  if (anew) d->mid++, d->asked++, d->began = at;
  d->due = at + PATIENCE;
  SSL_write(sessions[i], datagram, (int)request(i, datagram));
}

static void readable(unsigned i, double at) {
  struct device *d = &devices[i];
  uint8_t data[MAX_DATAGRAM], token[TOKEN];
  int n;
  while ((n = SSL_read(sessions[i], data, sizeof data)) > 0) {
    if (data[1] == 0 && n == 4) continue; /* an empty ACK */
    token_of(i, token);
    if (n < 4 + TOKEN || d->finished || memcmp(data + 4, token, TOKEN)) continue;
    if (!right(d, data, (size_t)n)) {
      if (!wrong++) first_wrong = data[1];
      continue;
    }
    note(d, at);
    if (limit && d->answers >= limit)
      d->finished = 1, running--;
    else
      ask(i, at, 1);
  }
  if (SSL_get_error(sessions[i], n) != SSL_ERROR_WANT_READ) {
    fprintf(stderr, "load_dtls: session %u ended: %s\n", i, ERR_error_string(ERR_peek_error(), NULL));
    exit(4);
  }
  ERR_clear_error();
}

static SSL *begun(SSL_CTX *context, unsigned i, uint16_t port, int poll) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
  if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to)) {
    perror("load_dtls: a socket");
    exit(3);
  }
  SSL *session = SSL_new(context);
  BIO *bio = BIO_new_dgram(fd, BIO_CLOSE);
  BIO_ctrl(bio, BIO_CTRL_DGRAM_SET_CONNECTED, 0, &to);
  SSL_set_bio(session, bio, bio);
  SSL_set_app_data(session, (void *)(uintptr_t)i);
  SSL_set_connect_state(session);
  struct epoll_event e = {.events = EPOLLIN, .data.u32 = i};
  epoll_ctl(poll, EPOLL_CTL_ADD, fd, &e);
  SSL_do_handshake(session);
  return session;
}

/* Bring all sessions up, some at a time; returns seconds. */
static double greet(SSL_CTX *context, uint16_t port, int poll) {
  double began = now(), looked = began;
  unsigned started = 0, stand = 0;
  while (stand < count) {
    for (; started < count && started - stand < AT_ONCE; started++) {
      sessions[started] = begun(context, started, port, poll);
    }
    struct epoll_event ready[EVENTS];
    int n = epoll_wait(poll, ready, EVENTS, 50);
    for (int k = 0; k < n; k++) {
      SSL *session = sessions[ready[k].data.u32];
      if (SSL_is_init_finished(session)) continue;
      int done = SSL_do_handshake(session);
      if (done == 1)
        stand++;
      else if (SSL_get_error(session, done) != SSL_ERROR_WANT_READ) {
        fprintf(stderr, "load_dtls: no session: %s\n", ERR_error_string(ERR_peek_error(), NULL));
        exit(4);
      }
      ERR_clear_error();
    }
    if (now() - looked > 0.2) {
      looked = now();
      for (unsigned i = 0; i < started; i++)
        if (!SSL_is_init_finished(sessions[i])) DTLSv1_handle_timeout(sessions[i]);
    }
    if (now() - began > HANDSHAKE_SECONDS) {
      fprintf(stderr, "load_dtls: %u of %u sessions stand after %g s\n", stand, count, HANDSHAKE_SECONDS);
      exit(4);
    }
  }
  return now() - began;
}

int main(int argc, char **argv) {
  double seconds = 1;
  const char *requests = NULL, *file = NULL;
  uint16_t port = 0, mid = 0;
  for (int option; (option = getopt(argc, argv, "p:f:d:k:x:t:n:m:")) != -1;) switch (option) {
      case 'p': port = (uint16_t)atoi(optarg); break;
      case 'f': requests = optarg; break;
      case 'd': file = optarg; break;
      case 'k': key_size = (unsigned)bytes_of(strlen(optarg) > 2 * sizeof key ? "" : optarg, key); break;
      case 'x': szx = (unsigned)atoi(optarg); break;
      case 't': seconds = atof(optarg); break;
      case 'n': limit = (unsigned)atoi(optarg); break;
      case 'm': mid = (uint16_t)atoi(optarg); break;
      default: return 2;
    }
  if (!requests || !file || !port || !key_size || szx > 6) return 2;
  read_devices(requests, file, mid);
  sessions = calloc(count, sizeof *sessions);
  SSL_CTX *context = SSL_CTX_new(DTLS_client_method());
  if (!sessions || !context || !SSL_CTX_set_cipher_list(context, "PSK-AES128-CCM8:@SECLEVEL=0")) return 2;
  SSL_CTX_set_psk_client_callback(context, give_key);
  int poll = epoll_create1(0);
  double greeting = greet(context, port, poll);
  double began = now(), looked = began, at = began;
  running = count;
  for (unsigned i = 0; i < count; i++) ask(i, at, 1);
  while (at - began < seconds && running) {
    struct epoll_event ready[EVENTS];
    int n = epoll_wait(poll, ready, EVENTS, 10);
    at = now();
    for (int k = 0; k < n; k++) readable(ready[k].data.u32, at);
    if (at - looked > 0.2) {
      looked = at;
      for (unsigned i = 0; i < count; i++)
        if (!devices[i].finished && at > devices[i].due) repeats++, ask(i, at, 0);
    }
  }
  tell(began, at, limit ? running : 0, count / greeting);
  return 0;
}
