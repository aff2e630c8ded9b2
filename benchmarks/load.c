/* Load for CoAP servers: virtual devices ask with window 1, every answer is checked, datagrams travel in batches.
 *
 *   load -p PORT -f REQUESTS -d BODY [-g] [-x SZX] [-t SECONDS] [-n COUNT] [-l LOSS] [-r MILLISECONDS] [-m MID]
 *
 * REQUESTS has one line per device, two words of hex, `-` for none: its options up to Uri-Path, and those behind Size2.
 * A device fetches BODY block by block with Block2 and Size2 = 0 as Zephyr's firmware pull does, over and over; with -g
 * it asks for BODY in one answer (and all options are in the first word).
 *   -n  each device stops after so many answers, and the run ends when all did
 *   -l  percent of requests, and of answers, that are lost
 *   -r  how long a device waits for its answer before it repeats (times 1 to 1.5, and twice as long each time)
 *   -m  message ids start there, so that a server that remembers those of the run before is not misled
 *
 * Each device has an IP address of its own (127.16.0.1 and up), and all share sixteen sockets on ports that are always
 * the same: thousands of peers cost no more system calls than one, and a server meets the same ones again. Token and
 * message id change with each request; an answer that comes to another address, or with other bytes than asked for, is
 * wrong. Prints one JSON object.
 */
#include "device.h"

#include <arpa/inet.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BATCH = 64, SOCKETS = 16, FIRST_PORT = 61100, FIRST_ADDRESS = 0x7F100001 };
static const double LOOK_SECONDS = 0.02;

struct batch {
  unsigned count;
  uint8_t data[BATCH][MAX_DATAGRAM], control[BATCH][CMSG_SPACE(sizeof(struct in_pktinfo))];
  struct iovec parts[BATCH];
  struct mmsghdr messages[BATCH];
  struct sockaddr_in peers[BATCH];
};

static struct batch out, in;
static int fds[SOCKETS];
static unsigned limit;
static unsigned long running;
static double loss, patience = 2.0;
static struct sockaddr_in to = {.sin_family = AF_INET};

static double chance(void) { /* xorshift64, always the same */
  static uint64_t state = 88172645463325252ULL;
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (double)(state >> 11) / 9007199254740992.0;
}

static uint32_t address_of(unsigned i) { return htonl(FIRST_ADDRESS + i); }

static void flush_to(int fd) {
  for (unsigned sent = 0; sent < out.count;) {
    int n = sendmmsg(fd, out.messages + sent, out.count - sent, 0);
    if (n <= 0) break; /* a full buffer is a lost datagram: the device repeats */
    sent += (unsigned)n;
  }
  out.count = 0;
}

/* Room for one datagram of a device; the caller fills it, and says how long it is. */
static uint8_t *room(unsigned i, size_t **length) {
  if (out.count == BATCH) flush_to(fds[i % SOCKETS]);
  unsigned at = out.count++;
  out.parts[at].iov_base = out.data[at];
  *length = &out.parts[at].iov_len;
  struct msghdr *m = &out.messages[at].msg_hdr;
  *m = (struct msghdr){&to, sizeof to, &out.parts[at], 1, out.control[at], sizeof out.control[at], 0};
  struct cmsghdr *c = CMSG_FIRSTHDR(m);
  c->cmsg_level = IPPROTO_IP;
  c->cmsg_type = IP_PKTINFO;
  c->cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo));
  struct in_pktinfo info = {.ipi_spec_dst.s_addr = address_of(i)};
  memcpy(CMSG_DATA(c), &info, sizeof info);
  return out.data[at];
}

static void ask(unsigned i, double at, int anew) {
  struct device *d = &devices[i];
  if (anew) d->mid++, d->asked++, d->began = at, d->waits = 0, d->refused = 0;
  d->due = at + patience * (1 << (d->waits > 4 ? 4 : d->waits)) * (1 + chance() / 2);
  if (loss > 0 && chance() < loss) return;
  size_t *length;
  uint8_t *datagram = room(i, &length);
  *length = request(i, datagram);
}

static void received(const uint8_t *data, size_t n, uint32_t address, double at) {
  uint32_t i;
  if (n < 4 || (loss > 0 && chance() < loss)) return;
  if (n == 4 && data[0] == 0x60 && !data[1]) { /* an empty ACK: the answer comes later, in a message of its own */
    i = ntohl(address) - FIRST_ADDRESS;
    if (i < count && devices[i].mid == (data[2] << 8 | data[3])) devices[i].due = at + 100;
    return;
  }
  if (n < 4 + TOKEN || (data[0] & 0xCF) != (0x40 | TOKEN)) {
    wrong++;
    return;
  }
  memcpy(&i, data + 4, 4);
  if (i >= count || address != address_of(i)) {
    wrong++;
    return;
  }
  if (!(data[0] & 0x30)) { /* a separate response wants its ACK */
    size_t *length;
    uint8_t *ack = room(i, &length);
    *length = 4;
    ack[0] = 0x60;
    ack[1] = 0;
    memcpy(ack + 2, data + 2, 2);
  }
  struct device *d = &devices[i];
  uint8_t token[TOKEN];
  token_of(i, token);
  if (d->finished || memcmp(data + 4, token, TOKEN)) return; /* an answer to what was asked before */
  int piggybacked = (data[0] & 0x30) == 0x20;
  if (right(d, data, n) && (!piggybacked || (data[2] << 8 | data[3]) == d->mid)) {
    note(d, at);
    if (limit && d->answers >= limit)
      d->finished = 1, running--;
    else
      ask(i, at, 1);
    return;
  }
  if (!wrong++) first_wrong = data[1];
  d->due = at + 0.5; /* ask anew, but do not hammer */
  d->refused = 1;
}

static void drain(int fd, double at) {
  for (unsigned k = 0; k < BATCH; k++) {
    in.parts[k] = (struct iovec){in.data[k], MAX_DATAGRAM};
    in.messages[k].msg_hdr = (struct msghdr){
        &in.peers[k], sizeof in.peers[k], &in.parts[k], 1, in.control[k], sizeof in.control[k], 0};
  }
  int n = recvmmsg(fd, in.messages, BATCH, 0, NULL);
  for (int k = 0; k < n; k++) {
    if (in.peers[k].sin_port != to.sin_port) continue; /* a late answer of the server that was asked before */
    struct cmsghdr *c = CMSG_FIRSTHDR(&in.messages[k].msg_hdr);
    struct in_pktinfo info = {0};
    if (c && c->cmsg_type == IP_PKTINFO) memcpy(&info, CMSG_DATA(c), sizeof info);
    received(in.data[k], in.messages[k].msg_len, info.ipi_addr.s_addr, at);
  }
  flush_to(fd);
}

static int opened(unsigned number) {
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), yes = 1, buffer = 4 << 20;
  struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons((uint16_t)(FIRST_PORT + number))};
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
  setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
  if (fd < 0 || setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &yes, sizeof yes) ||
      bind(fd, (struct sockaddr *)&any, sizeof any)) {
    perror("load: a socket");
    exit(3);
  }
  return fd;
}

int main(int argc, char **argv) {
  double seconds = 1;
  const char *requests = NULL, *file = NULL;
  uint16_t mid = 0;
  for (int option; (option = getopt(argc, argv, "p:f:d:gx:t:n:l:r:m:")) != -1;) switch (option) {
      case 'p': to.sin_port = htons((uint16_t)atoi(optarg)); break;
      case 'f': requests = optarg; break;
      case 'd': file = optarg; break;
      case 'g': whole = 1; break;
      case 'x': szx = (unsigned)atoi(optarg); break;
      case 't': seconds = atof(optarg); break;
      case 'n': limit = (unsigned)atoi(optarg); break;
      case 'l': loss = atof(optarg) / 100; break;
      case 'r': patience = atof(optarg) / 1e3; break;
      case 'm': mid = (uint16_t)atoi(optarg); break;
      default: return 2;
    }
  if (!requests || !file || !to.sin_port || szx > 6) return 2;
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  read_devices(requests, file, mid);
  int poll = epoll_create1(0);
  for (unsigned s = 0; s < SOCKETS; s++) {
    fds[s] = opened(s);
    struct epoll_event e = {.events = EPOLLIN, .data.fd = fds[s]};
    epoll_ctl(poll, EPOLL_CTL_ADD, fds[s], &e);
  }
  double began = now(), looked = began, at = began;
  unsigned started = 0;
  running = count;
  while (at - began < seconds && running) {
    for (unsigned k = 0; k < BATCH && started < count; k++, started++) { /* not all at once */
      ask(started, at, 1);
      flush_to(fds[started % SOCKETS]);
    }
    struct epoll_event ready[SOCKETS];
    int n = epoll_wait(poll, ready, SOCKETS, started < count ? 0 : 10);
    at = now();
    for (int k = 0; k < n; k++) drain(ready[k].data.fd, at);
    if (at - looked > LOOK_SECONDS) {
      looked = at;
      for (unsigned i = 0; i < started; i++)
        if (!devices[i].finished && at > devices[i].due) {
          repeats++, devices[i].waits++;
          ask(i, at, devices[i].refused);
          flush_to(fds[i % SOCKETS]);
        }
    }
  }
  tell(began, at, limit ? running : 0, 0);
  return 0;
}
