/* Answers requests for blocks of ready artifacts, many datagrams a system call; all else is left for Python.
 *
 * One call of batch_serve receives up to 64 datagrams (recvmmsg), answers those that ask for a block of a ticket in the
 * table, sends the answers (sendmmsg; payloads straight from the mapped file) and leaves the others in `left`.
 * What a request must look like is said in the proxy's fast_path.py, and how progress is counted in its progress.py:
 * those are the specification, and the same tests run over both.
 *
 * Everything in a datagram is hostile: each index is compared with the datagram's length before it is used. Whoever
 * calls keeps artifacts and progress alive until the last ticket that names them is revoked. No threads.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum {
  BATCH = 64,
  DATAGRAM = 65536, /* more than UDP over IPv4 can carry, so that nothing is cut; pages nobody fills cost nothing */
  PREFIX = 15,      /* Uri-Path `f`, Uri-Path of 12 bytes */
  CONSTANT = 3,     /* of these, the first are the same for all */
  NAME_MAX_BYTES = 12,
  BUCKETS = 16384,
  GAPS = 16,
  HEAD = 24, /* options in front of Block2 */
  TAIL = 8,  /* Size2 and the payload marker */
  OPTIONS = 12 + HEAD + 4 + TAIL,
  BLOCK_MAX_BYTES = 1024
};

struct gap {
  uint64_t start, end;
};

/* A ticket's progress; the fields are progress.py's. `last_offset` is -1 before the first block. */
struct progress {
  uint64_t size, offset, bytes_on_air, repeated_bytes, restarts, retransmissions, rtt_count;
  double rtt_seconds, rtt_sum, last_block_at;
  int64_t last_offset, last_length;
  uint32_t changed, resumed, timed, gaps;
  struct gap ahead[GAPS];
};

/* Bytes that may be served, and the options that are the same in all their answers. */
struct artifact {
  const uint8_t *data;
  uint64_t size;
  uint32_t head_size, tail_size;
  uint8_t head[HEAD], tail[TAIL];
};

struct ticket {
  struct ticket *next;
  const struct artifact *artifact;
  struct progress *progress;
  uint8_t prefix[PREFIX];
};

struct left {
  const uint8_t *data;
  uint32_t size;
  uint32_t host; /* network byte order */
  uint32_t port;
};

struct batch {
  /* Read by Python: keep batch.py's Face the same. */
  uint64_t received, blocks, bytes_on_air;
  uint32_t left_count, tickets, max_tickets, pad;
  struct left left[BATCH];
  /* Ours. */
  uint64_t seed;
  struct ticket *buckets[BUCKETS];
  struct mmsghdr in[BATCH], out[BATCH];
  struct iovec in_part[BATCH], out_part[BATCH][2];
  struct sockaddr_in from[BATCH];
  uint8_t options[BATCH][OPTIONS];
  uint8_t datagrams[BATCH][DATAGRAM];
};

struct reply {
  const uint8_t *payload;
  uint32_t options_size, payload_size;
};

uint64_t batch_size_of(int what) {
  return what == 0 ? sizeof(struct progress) : what == 1 ? sizeof(struct artifact) : offsetof(struct batch, seed);
}

static uint64_t load64(const uint8_t *bytes) {
  uint64_t value;
  memcpy(&value, bytes, sizeof value);
  return value;
}

/* Twelve bytes, keyed: whoever could choose tokens still could not choose buckets. */
static uint32_t bucket_of(const struct batch *b, const uint8_t *prefix) {
  uint64_t x = (load64(prefix + CONSTANT) ^ b->seed) * 0x9E3779B97F4A7C15u;
  x = (x ^ x >> 32 ^ load64(prefix + PREFIX - 8)) * 0xD6E8FEB86659FD93u;
  return (uint32_t)((x ^ x >> 32) % BUCKETS);
}

/* Compares without a branch on what differs: time tells nothing of a token. */
static int same_prefix(const uint8_t *a, const uint8_t *b) {
  return ((load64(a) ^ load64(b)) | (load64(a + PREFIX - 8) ^ load64(b + PREFIX - 8))) == 0;
}

static struct ticket **find(struct batch *b, const uint8_t *prefix) {
  struct ticket **at = &b->buckets[bucket_of(b, prefix)];
  while (*at && !same_prefix((*at)->prefix, prefix)) at = &(*at)->next;
  return at;
}

struct batch *batch_new(uint64_t seed, uint32_t max_tickets) {
  struct batch *b = calloc(1, sizeof *b);
  if (!b) return NULL;
  b->seed = seed;
  b->max_tickets = max_tickets;
  for (int i = 0; i < BATCH; i++) {
    b->in_part[i] = (struct iovec){b->datagrams[i], DATAGRAM};
    b->in[i].msg_hdr = (struct msghdr){.msg_name = &b->from[i], .msg_iov = &b->in_part[i], .msg_iovlen = 1};
  }
  return b;
}

void batch_free(struct batch *b) {
  if (!b) return;
  for (int i = 0; i < BUCKETS; i++)
    for (struct ticket *t = b->buckets[i], *next; t; t = next) next = t->next, free(t);
  free(b);
}

/* 1: requests that start with `prefix` are answered from now on; 0: the table is full, or memory is. */
int batch_admit(struct batch *b, const uint8_t prefix[PREFIX], const struct artifact *artifact, struct progress *p) {
  if (artifact->head_size > HEAD || artifact->tail_size > TAIL || p->size != artifact->size) return 0;
  struct ticket **at = find(b, prefix);
  if (!*at) {
    if (b->tickets >= b->max_tickets || !(*at = calloc(1, sizeof **at))) return 0;
    memcpy((*at)->prefix, prefix, PREFIX);
    b->tickets++;
  }
  (*at)->artifact = artifact;
  (*at)->progress = p;
  return 1;
}

void batch_revoke(struct batch *b, const uint8_t prefix[PREFIX]) {
  struct ticket **at = find(b, prefix), *gone = *at;
  if (!gone) return;
  *at = gone->next;
  free(gone);
  b->tickets--;
}

static uint64_t largest(uint64_t a, uint64_t b) { return a > b ? a : b; }
static uint64_t smallest(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* Notes bytes `start` to `end`; returns how many of them are new. */
uint64_t progress_cover(struct progress *p, uint64_t start, uint64_t end) {
  uint64_t from = largest(start, p->offset), fresh = end > from ? end - from : 0;
  uint64_t low = start, high = end;
  uint32_t kept = 0;
  for (uint32_t i = 0; i < p->gaps; i++) {
    struct gap g = p->ahead[i];
    if (g.start > end || start > g.end) {
      p->ahead[kept++] = g;
      continue;
    }
    uint64_t a = largest(start, g.start), z = smallest(end, g.end);
    if (z > a) fresh -= z - a;
    low = smallest(low, g.start);
    high = largest(high, g.end);
  }
  if (low <= p->offset)
    p->offset = largest(p->offset, high);
  else if (kept < GAPS)
    p->ahead[kept++] = (struct gap){low, high};
  p->gaps = kept;
  return fresh;
}

void progress_served(struct progress *p, uint64_t offset, uint64_t length, double now) {
  p->changed = 1;
  if (p->resumed) {
    p->resumed = 0;
    if (p->offset < offset && offset < p->size) {
      uint64_t noted = p->bytes_on_air > 0;
      p->bytes_on_air += progress_cover(p, 0, offset) * noted;
    }
  }
  if ((int64_t)offset == p->last_offset) {
    p->retransmissions++;
    p->timed = 0;
  } else {
    if (p->timed && (int64_t)offset == p->last_offset + p->last_length) {
      double gap = now - p->last_block_at;
      p->rtt_seconds = p->rtt_count ? p->rtt_seconds + (gap - p->rtt_seconds) / 8 : gap;
      p->rtt_sum += gap;
      p->rtt_count++;
    }
    p->timed = 1;
    if (offset == 0 && p->offset > length) p->restarts++;
  }
  p->last_offset = (int64_t)offset;
  p->last_length = (int64_t)length;
  p->last_block_at = now;
  p->bytes_on_air += length;
  p->repeated_bytes += length - progress_cover(p, offset, offset + length);
}

/* 1: `r` and `options` hold the answer to the datagram, and the block is counted; 0: Python's. */
static int answer(struct batch *b, const uint8_t *d, size_t size, uint8_t options[OPTIONS], struct reply *r,
                  double now) {
  if (size < 19 || d[0] < 0x40 || d[0] > 0x48 || d[1] != 1) return 0;
  size_t start = 4 + (size_t)(d[0] & 15), at = start + PREFIX;
  if (at >= size || memcmp(d + start, "\xB1" "f\x0C", CONSTANT) != 0) return 0;
  const struct ticket *t = *find(b, d + start);
  if (!t || d[at] > NAME_MAX_BYTES) return 0;
  at += 1 + (size_t)d[at];
  if (at >= size || d[at] < 0xC0 || d[at] > 0xC3) return 0;
  size_t end = at + 1 + (size_t)(d[at] & 15);
  if (end > size) return 0;
  size_t rest = size - end; /* Size2 = 0, in its shortest form or with a needless zero, or nothing */
  if (!(rest == 0 || (rest == 1 && d[end] == 0x50) || (rest == 2 && d[end] == 0x51 && d[end + 1] == 0))) return 0;
  uint32_t number = 0;
  for (size_t i = at + 1; i < end; i++) number = number << 8 | d[i];
  uint32_t szx = number & 7;
  uint64_t offset = (uint64_t)(number >> 4) << (szx + 4), length = (uint64_t)16 << szx;
  const struct artifact *a = t->artifact;
  if (szx == 7 || offset >= a->size) return 0;
  uint32_t more = offset + length < a->size;
  length = smallest(length, a->size - offset);
  uint32_t value = (number & ~8u) | more << 3;
  uint32_t bytes = value > 0xFFFF ? 3 : value > 0xFF ? 2 : value ? 1 : 0;

  uint8_t *o = options;
  *o++ = (uint8_t)(d[0] + 0x20); /* an ACK with the request's message id and token */
  *o++ = 0x45;
  memcpy(o, d + 2, start - 2);
  o += start - 2;
  memcpy(o, a->head, a->head_size);
  o += a->head_size;
  *o++ = (uint8_t)(0xB0 | bytes);
  while (bytes--) *o++ = (uint8_t)(value >> 8 * bytes);
  memcpy(o, a->tail, a->tail_size);
  o += a->tail_size;
  *r = (struct reply){a->data + offset, (uint32_t)(o - options), (uint32_t)length};

  b->blocks++;
  b->bytes_on_air += length;
  progress_served(t->progress, offset, length, now);
  return 1;
}

static double seconds_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The answer to one datagram, copied to `out`, which has room for OPTIONS + BLOCK_MAX_BYTES; its length, or 0. */
uint32_t batch_answer(struct batch *b, const uint8_t *datagram, size_t size, uint8_t *out, double now) {
  struct reply r;
  if (!answer(b, datagram, size, out, &r, now)) return 0;
  memcpy(out + r.options_size, r.payload, r.payload_size);
  return r.options_size + r.payload_size;
}

/* Receives, answers and sends one batch; returns how many datagrams came: fewer than 64 means that no more wait. */
int batch_serve(struct batch *b, int fd) {
  b->left_count = 0;
  for (int i = 0; i < BATCH; i++) b->in[i].msg_hdr.msg_namelen = sizeof b->from[i];
  int came = recvmmsg(fd, b->in, BATCH, MSG_DONTWAIT, NULL);
  if (came <= 0) return 0;
  b->received += (uint64_t)came;
  double now = seconds_now();
  int ready = 0;
  for (int i = 0; i < came; i++) {
    struct reply r;
    if (answer(b, b->datagrams[i], b->in[i].msg_len, b->options[ready], &r, now)) {
      b->out_part[ready][0] = (struct iovec){b->options[ready], r.options_size};
      b->out_part[ready][1] = (struct iovec){(void *)(uintptr_t)r.payload, r.payload_size};
      b->out[ready].msg_hdr = (struct msghdr){.msg_name = &b->from[i],
                                              .msg_namelen = b->in[i].msg_hdr.msg_namelen,
                                              .msg_iov = b->out_part[ready],
                                              .msg_iovlen = 2};
      ready++;
    } else {
      b->left[b->left_count++] = (struct left){b->datagrams[i], b->in[i].msg_len, b->from[i].sin_addr.s_addr,
                                               ntohs(b->from[i].sin_port)};
    }
  }
  for (int sent = 0; sent < ready;) {
    int n = sendmmsg(fd, b->out + sent, (unsigned)(ready - sent), MSG_DONTWAIT);
    sent += n > 0 ? n : 1; /* a datagram that cannot be sent is lost: the device asks again */
  }
  return came;
}
