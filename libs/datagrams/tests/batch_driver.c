/* Drives batch.c with random and spoilt datagrams; built with sanitizers by test_memory.py, which fails on any finding.
 *
 *   batch_driver SEED COUNT [CUT]
 *
 * Each datagram lies in memory of exactly its size, so that a read beyond it is found, and so does each artifact. Every
 * 64th goes through real sockets too. CUT makes each artifact that many bytes shorter than it says: the proof that a
 * read beyond the end would be found. Prints how many datagrams were answered, counted and left.
 */
#include "../src/datagrams/batch.c"

#include <stdio.h>
#include <unistd.h>

static uint64_t state;

static uint32_t dice(uint32_t sides) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(state >> 33) % sides;
}

enum { ARTIFACTS = 5, TICKETS = 40 };

static void prefix_of(uint8_t prefix[PREFIX], uint32_t number) {
  char text[32];
  snprintf(text, sizeof text, "\xB1" "f\x0Cticket-%05u", number % 100000);
  memcpy(prefix, text, PREFIX);
}

/* A good request, mostly; then up to three of its bytes are spoilt, or its end is cut off, or something is added. */
static size_t request(uint8_t *d) {
  size_t at = 0, tkl = dice(20) ? dice(9) : dice(16);
  d[at++] = (uint8_t)(0x40 | tkl);
  d[at++] = 1;
  for (size_t i = 0; i < 2 + tkl; i++) d[at++] = (uint8_t)dice(256);
  prefix_of(d + at, dice(TICKETS + 5));
  at += PREFIX;
  uint32_t name = dice(14);
  d[at++] = (uint8_t)name;
  for (uint32_t i = 0; i < name; i++) d[at++] = 'a';
  uint32_t value = dice(4), number = dice(4) ? dice(3000) : dice(1 << 24);
  d[at++] = (uint8_t)(0xC0 | value);
  while (value--) d[at++] = (uint8_t)(number >> 8 * value);
  if (dice(2)) d[at++] = 0x50;
  if (!dice(8)) d[at++] = 0;
  for (uint32_t spoilt = dice(4); spoilt-- > 0 && dice(2);) d[dice((uint32_t)at)] = (uint8_t)dice(256);
  if (!dice(6)) at = dice((uint32_t)at + 1);
  if (!dice(50)) {
    at = dice(3000);
    for (size_t i = 0; i < at; i++) d[i] = (uint8_t)dice(256);
  }
  return at;
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  state = strtoull(argv[1], NULL, 10);
  unsigned long count = strtoul(argv[2], NULL, 10), answered = 0, left = 0;
  uint64_t cut = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
  static const uint64_t sizes[ARTIFACTS] = {1, 16, 1024, 5000, 70001};
  struct artifact artifacts[ARTIFACTS];
  uint8_t *bodies[ARTIFACTS];
  static struct progress progress[TICKETS], wild = {.size = 100000, .last_offset = -1};
  struct batch *b = batch_new(state, TICKETS);
  if (!b) return 3;
  for (int i = 0; i < ARTIFACTS; i++) {
    bodies[i] = malloc(sizes[i] > cut ? sizes[i] - cut : 1);
    if (!bodies[i]) return 3;
    memset(bodies[i], 'x', sizes[i] > cut ? sizes[i] - cut : 1);
    artifacts[i] = (struct artifact){.data = bodies[i], .size = sizes[i], .head_size = HEAD, .tail_size = TAIL};
  }
  struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t room = sizeof here;
  int server = socket(AF_INET, SOCK_DGRAM, 0), client = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
  if (bind(server, (struct sockaddr *)&here, sizeof here) || getsockname(server, (struct sockaddr *)&here, &room) ||
      connect(client, (struct sockaddr *)&here, room))
    return 3;

  for (unsigned long n = 0; n < count; n++) {
    uint8_t prefix[PREFIX], scratch[4096];
    if (!dice(10)) { /* tickets come and go all the time */
      uint32_t number = dice(TICKETS);
      prefix_of(prefix, number);
      batch_revoke(b, prefix);
      const struct artifact *a = &artifacts[dice(ARTIFACTS)];
      progress[number] = (struct progress){.size = a->size, .last_offset = -1, .resumed = dice(2)};
      if (dice(4) && !batch_admit(b, prefix, a, &progress[number])) return 4;
    }
    size_t size = request(scratch);
    uint8_t *exact = malloc(size ? size : 1), *out = malloc(OPTIONS + BLOCK_MAX_BYTES), *options = malloc(OPTIONS);
    if (!exact || !out || !options) return 3;
    memcpy(exact, scratch, size);
    uint32_t length = batch_answer(b, exact, size, out, (double)n);
    answered += length > 0;
    if (length > OPTIONS + BLOCK_MAX_BYTES || (length && (out[0] & 0xF0) != 0x60)) return 5;
    struct reply r; /* once more, with no byte too many behind the options */
    if (answer(b, exact, size, options, &r, (double)n) != (length > 0)) return 7;
    uint64_t offset = dice(4) ? (uint64_t)dice(200) * 512 : dice(100000);
    progress_served(&wild, offset, 16u << dice(7), (double)n);
    if (!dice(500)) wild = (struct progress){.size = 100000, .last_offset = -1};
    if (n % 64 == 0) {
      for (int i = 0; i < 70; i++) {
        size_t more = request(scratch);
        if (send(client, scratch, more, 0) < 0) break;
      }
      while (batch_serve(b, server) > 0) {
        for (uint32_t i = 0; i < b->left_count; i++) /* each byte of what is left can be read */
          for (uint32_t k = 0; k < b->left[i].size; k++) left += b->left[i].data[k] == 0xFF;
      }
      while (recv(client, scratch, sizeof scratch, 0) >= 0) continue;
    }
    free(exact);
    free(out);
    free(options);
  }
  for (int i = 0; i < TICKETS; i++)
    if (progress[i].offset > progress[i].size || progress[i].gaps > GAPS) return 6;
  printf("%lu answered, %llu blocks, %lu bytes seen\n", answered, (unsigned long long)b->blocks, left);
  batch_free(b);
  for (int i = 0; i < ARTIFACTS; i++) free(bodies[i]);
  return 0;
}
