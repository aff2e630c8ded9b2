/* Load for CoAP servers: virtual devices ask with window 1, every answer is checked, datagrams travel in batches.
 *
 *   load -p PORT -f REQUESTS -d BODY [-g] [-x SZX] [-t SECONDS] [-n COUNT] [-l LOSS] [-r MILLISECONDS] [-m MID]
 *
 * REQUESTS has one line per device, two words of hex, `-` for none: its options up to Uri-Path, and those behind Size2.
 * A device fetches BODY block by block with Block2 and Size2 = 0 as Zephyr's firmware pull does, over and over; with -g
 * it asks for BODY in one answer (and all options are in the first word). -n: each device stops after so many answers, and the run ends when all did. -l: percent of requests, and
 * of answers, that are lost. -r: how long a device waits for its answer before it repeats (times 1 to 1.5). -m: message ids start there, so that a server that remembers those of the run before is not misled.
 *
 * Each device has an IP address of its own (127.16.0.0 and up) and they share sixteen sockets on ports that
 * are always the same: thousands of peers cost no more system calls than one, and a server meets the same ones again. Token and message id change with each request; an answer that comes to another
 * address, or with other bytes than asked for, is wrong. Prints one JSON object.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64, MAX_DATAGRAM = 2048, MAX_OPTIONS = 200, TOKEN = 8, SOCKETS = 16, FIRST_PORT = 61100, BUCKETS = 40000 };
static const double BUCKET_SECONDS = 50e-6;
static const double LOOK_SECONDS = 0.02;

struct device {
  uint8_t before[MAX_OPTIONS], after[MAX_OPTIONS];
  size_t length, more;
  uint32_t block, answers, waits; /* waits: repeats of the request under way */
  uint16_t mid;
  uint32_t asked; /* message ids used */
  uint8_t finished, refused;
  double began, due, last; /* of the request under way; of the last answer */
};

struct batch {
  unsigned count;
  uint8_t data[BATCH][MAX_DATAGRAM], control[BATCH][CMSG_SPACE(sizeof(struct in_pktinfo))];
  struct iovec parts[BATCH];
  struct mmsghdr messages[BATCH];
};

static struct device *devices;
static unsigned count, sockets = SOCKETS, limit, first_mid;
static int *fds, whole;
static uint8_t *body;
static size_t size;
static unsigned szx = 6;
static uint32_t blocks;
static double loss, patience = 2.0;
static struct sockaddr_in to = {.sin_family = AF_INET};
static struct batch out, in;
static uint32_t latencies[BUCKETS];
static unsigned long got, repeats, wrong, running;
static unsigned first_wrong;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static uint64_t state = 88172645463325252ULL;
static double chance(void) { /* xorshift64, always the same */
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (double)(state >> 11) / 9007199254740992.0;
}

static uint32_t address_of(unsigned i) { return htonl(0x7F100001u + i); }

static void flush_to(int fd) {
  for (unsigned sent = 0; sent < out.count;) {
    int n = sendmmsg(fd, out.messages + sent, out.count - sent, 0);
    if (n <= 0) break; /* a full buffer is a lost datagram: the device repeats */
    sent += (unsigned)n;
  }
  out.count = 0;
}

/* Room for one datagram of a device; the caller fills it. */
static uint8_t *room(unsigned i, size_t length) {
  if (out.count == BATCH) flush_to(fds[i % sockets]);
  unsigned at = out.count++;
  out.parts[at] = (struct iovec){out.data[at], length};
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

static void token_of(unsigned i, uint8_t *token) {
  uint32_t number = i, mid = devices[i].mid * 2654435761u;
  memcpy(token, &number, 4);
  memcpy(token + 4, &mid, 4);
}

static void ask(unsigned i, double at, int anew) {
  struct device *d = &devices[i];
  if (anew) d->mid++, d->asked++, d->began = at, d->waits = 0, d->refused = 0;
  d->due = at + patience * (1 << (d->waits > 4 ? 4 : d->waits)) * (1 + chance() / 2);
  if (loss > 0 && chance() < loss) return;
  uint8_t *p = room(i, 0), *start = p;
  *p++ = 0x40 | TOKEN;
  *p++ = 1;
  *p++ = d->mid >> 8;
  *p++ = d->mid & 255;
  token_of(i, p);
  memcpy(p + TOKEN, d->before, d->length);
  p += TOKEN + d->length;
  if (!whole) {
    uint32_t value = d->block << 4 | szx;
    unsigned n = value > 0xFFFF ? 3 : value > 0xFF ? 2 : value ? 1 : 0;
    *p++ = (uint8_t)((d->length ? 0xC0 : 0xD0) | n); /* 23 - 11, or 23 - 0 */
    if (!d->length) *p++ = 23 - 13;
    for (unsigned k = n; k--;) *p++ = value >> (8 * k) & 255;
    *p++ = 0x50; /* Size2 = 0 */
    memcpy(p, d->after, d->more);
    p += d->more;
  }
  out.parts[out.count - 1].iov_len = (size_t)(p - start);
}

/* The right bytes? Sets *block to the value of Block2. */
static int right(struct device *d, const uint8_t *data, size_t n) {
  size_t at = 4 + TOKEN;
  unsigned number = 0;
  uint32_t block = UINT32_MAX;
  while (at < n && data[at] != 0xFF) {
    unsigned delta = data[at] >> 4, length = data[at] & 15;
    at++;
    if (delta == 13 && at < n) delta = 13 + data[at++];
    if (length == 13 && at < n) length = 13 + data[at++];
    if (delta > 268 || length > 268 || at + length > n) return 0;
    number += delta;
    if (number == 23)
      for (block = 0; length; length--) block = block << 8 | data[at++];
    else
      at += length;
  }
  at++;
  size_t offset = whole ? 0 : (size_t)d->block << (szx + 4), wanted = whole ? size : (size_t)16 << szx;
  if (offset + wanted > size) wanted = size - offset;
  uint32_t expected = d->block << 4 | (offset + wanted < size) << 3 | szx;
  return (whole || block == expected) && n >= at && n - at == wanted && !memcmp(data + at, body + offset, wanted);
}

static void answered(unsigned i, double at) {
  struct device *d = &devices[i];
  size_t bucket = (size_t)((at - d->began) / BUCKET_SECONDS);
  latencies[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
  got++;
  d->answers++;
  d->last = at;
  d->block = (d->block + 1) % blocks;
  if (limit && d->answers >= limit)
    d->finished = 1, running--;
  else
    ask(i, at, 1);
}

static void received(const uint8_t *data, size_t n, uint32_t address, double at) {
  uint32_t i;
  if (n < 4 || (loss > 0 && chance() < loss)) return;
  if (n == 4 && data[0] == 0x60 && !data[1]) { /* an empty ACK: the answer comes later, in a message of its own */
    i = ntohl(address) - 0x7F100001u;
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
    uint8_t *ack = room(i, 4);
    ack[0] = 0x60;
    ack[1] = 0;
    memcpy(ack + 2, data + 2, 2);
  }
  struct device *d = &devices[i];
  uint8_t token[TOKEN];
  token_of(i, token);
  if (d->finished || memcmp(data + 4, token, TOKEN)) return; /* an answer to what was asked before */
  if ((data[0] & 0x30) == 0x20 && (data[2] << 8 | data[3]) != d->mid) wrong++;
  if (data[1] == 0x45 && right(d, data, n)) {
    answered(i, at);
    return;
  }
  if (!wrong++) first_wrong = data[1];
  d->due = at + 0.5; /* ask anew, but do not hammer */
  d->refused = 1;
}

static void drain(unsigned s, double at) {
  for (unsigned k = 0; k < BATCH; k++) {
    in.parts[k] = (struct iovec){in.data[k], MAX_DATAGRAM};
    in.messages[k].msg_hdr = (struct msghdr){
        NULL, 0, &in.parts[k], 1, in.control[k], sizeof in.control[k], 0};
  }
  int n = recvmmsg(fds[s], in.messages, BATCH, 0, NULL);
  for (int k = 0; k < n; k++) {
    struct cmsghdr *c = CMSG_FIRSTHDR(&in.messages[k].msg_hdr);
    struct in_pktinfo info = {0};
    if (c && c->cmsg_type == IP_PKTINFO) memcpy(&info, CMSG_DATA(c), sizeof info);
    received(in.data[k], in.messages[k].msg_len, info.ipi_addr.s_addr, at);
  }
  flush_to(fds[s]);
}

static void *whole_file(const char *path, size_t *length) {
  FILE *file = fopen(path, "rb");
  if (!file || fseek(file, 0, SEEK_END)) exit(2);
  *length = (size_t)ftell(file);
  rewind(file);
  char *data = malloc(*length + 1);
  if (!data || fread(data, 1, *length, file) != *length) exit(2);
  fclose(file);
  data[*length] = 0;
  return data;
}

static size_t bytes_of(const char *word, uint8_t *into) {
  size_t length = *word == '-' ? 0 : strlen(word) / 2;
  if (length > MAX_OPTIONS) exit(2);
  for (size_t k = 0; k < length; k++)
    if (sscanf(word + 2 * k, "%2hhx", &into[k]) != 1) exit(2);
  return length;
}

static void read_requests(const char *path) {
  size_t length;
  char *text = whole_file(path, &length);
  for (char *p = text; *p; p++) count += *p == '\n';
  devices = calloc(count, sizeof *devices);
  if (!devices) exit(2);
  char *word = strtok(text, " \n");
  for (unsigned i = 0; i < count; i++) {
    struct device *d = &devices[i];
    if (word) d->length = bytes_of(word, d->before), word = strtok(NULL, " \n");
    if (word) d->more = bytes_of(word, d->after), word = strtok(NULL, " \n");
    d->mid = (uint16_t)first_mid;
  }
  free(text);
}

static double percentile(double share) {
  unsigned long seen = 0, wanted = (unsigned long)(share * (double)got);
  for (unsigned k = 0; k < BUCKETS; k++)
    if ((seen += latencies[k]) > wanted) return (k + 1) * BUCKET_SECONDS * 1e3;
  return 0;
}

int main(int argc, char **argv) {
  double seconds = 1;
  const char *requests = NULL, *file = NULL;
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
      case 'm': first_mid = (unsigned)atoi(optarg); break;
      default: return 2;
    }
  if (!requests || !file || !to.sin_port || szx > 6) return 2;
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  read_requests(requests);
  body = whole_file(file, &size);
  blocks = whole ? 1 : (uint32_t)((size + (16u << szx) - 1) >> (szx + 4));
  if (sockets > count) sockets = count;
  fds = calloc(sockets, sizeof *fds);
  int poll = epoll_create1(0), yes = 1, buffer = 4 << 20;
  for (unsigned s = 0; s < sockets; s++) {
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons((uint16_t)(FIRST_PORT + s))};
    fds[s] = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    setsockopt(fds[s], SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
    setsockopt(fds[s], SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
    if (fds[s] < 0 || setsockopt(fds[s], IPPROTO_IP, IP_PKTINFO, &yes, sizeof yes) ||
        bind(fds[s], (struct sockaddr *)&any, sizeof any))
      return 3;
    struct epoll_event e = {.events = EPOLLIN, .data.u32 = s};
    epoll_ctl(poll, EPOLL_CTL_ADD, fds[s], &e);
  }
  double began = now(), looked = began, at = began;
  unsigned started = 0;
  running = count;
  while (at - began < seconds && running) {
    for (unsigned k = 0; k < BATCH && started < count; k++, started++) { /* not all at once */
      ask(started, at, 1);
      flush_to(fds[started % sockets]);
    }
    struct epoll_event ready[BATCH];
    int n = epoll_wait(poll, ready, BATCH, started < count ? 0 : 10);
    at = now();
    for (int k = 0; k < n; k++) drain(ready[k].data.u32, at);
    if (at - looked > LOOK_SECONDS) {
      looked = at;
      for (unsigned i = 0; i < started; i++)
        if (!devices[i].finished && at > devices[i].due) {
          repeats++, devices[i].waits++, ask(i, at, devices[i].refused);
          flush_to(fds[i % sockets]);
        }
    }
  }
  struct rusage used;
  getrusage(RUSAGE_SELF, &used);
  double cpu = used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
  double last = began;
  unsigned long silent = 0;
  uint32_t mids = 0;
  for (unsigned i = 0; i < count; i++) {
    if (devices[i].last > last) last = devices[i].last;
    if (devices[i].asked > mids) mids = devices[i].asked;
    silent += !devices[i].answers;
  }
  printf("{\"answers\": %lu, \"seconds\": %.4f, \"repeats\": %lu, \"wrong\": %lu, \"first_wrong\": %u, \"unfinished\": %lu, "
         "\"silent\": %lu, \"mids\": %u, \"last_answer\": %.4f, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"own_cpu\": %.4f}\n",
         got, at - began, repeats, wrong, first_wrong, limit ? running : 0, silent, mids, last - began, percentile(0.5),
         percentile(0.99), cpu);
  return 0;
}
