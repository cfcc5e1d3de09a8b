/* Callers for a media plane, in the dialect of Twilio, Telnyx or Plivo, cheap enough that one core holds
 * thousands of them. Each caller sends 20 ms of mu-law every 20 ms on an absolute schedule and has a
 * player that says whether what comes back was there when it was needed.
 *
 *   Player    starts PLAYER_NS after its first audio; from then on each frame has one due time, and
 *             that clock is never moved: a sender that drifts is late for good. A `clear` starts it
 *             afresh. Lateness is arrival minus due time, so audio in time has a negative one.
 *   Phases    caller i of n sends i/n of a frame after caller 0: slot k of the schedule, k/n frames
 *             after its beginning, belongs to caller k mod n. One cursor walks over the slots.
 *   Helper    carrying messages through TCP takes this program longer than reading them takes a good
 *             server. So a part of the callers may be served by a second process on the server's core,
 *             which goes first there: harder for the server, never easier.
 *   Dialects  are a table of functions that write messages and of what the server's are called; an
 *             audio message costs one look into it each way.
 *   Honesty   arrival is read from the clock just before the socket is, so that delays of the
 *             generator count against the server, and its own lateness is measured and reported.
 *
 * Progress and the result are JSON lines on standard output. Times are CLOCK_MONOTONIC in ns.
 * Run it by `python -m benchmarks.load.generate`, which compiles it and says what the options are.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MS_NS 1000000LL
#define S_NS 1000000000LL
#define FRAME_NS (20 * MS_NS)
#define FRAME_OCTETS 160
#define PLAYER_NS (60 * MS_NS)
#define QUANTUM_NS (500 * 1000LL)      /* the generator wakes on this grid */
#define STALL_NS (5 * MS_NS)           /* a longer turn of its loop is the generator's fault */
#define GIVE_UP_NS (200 * MS_NS)       /* frames it is later with are not sent any more */
#define CONNECT_TIMEOUT_NS (30 * S_NS)
#define LINGER_NS (6 * S_NS)           /* the load stays after the window until SIGTERM, or so long */
#define GOODBYE_NS (1 * S_NS)          /* how long servers may take to close at the end */

#define EVENTS_MAX 128                 /* sockets read before it looks at the clock again */
#define SENDS_MAX 256                  /* and callers served */
#define INBOX_OCTETS (256 * 1024)      /* a longer message is a protocol error */
#define OUTBOX_OCTETS (64 * 1024)      /* what a caller keeps unsent; more is dropped and counted */
#define MARKS_MAX 32                   /* marks a caller keeps; older ones are echoed early */
#define MARK_NAME_MAX 64
#define ROUND_TRIPS 256                /* frames under way whose send time is known: 5 s */
#define IDENTITIES (1 << 24)           /* a frame's number travels in 4 characters of base64 */
#define PAYLOAD_CHARS 216
#define MESSAGE_MAX 1024

/* --- what is counted --- */

/* Buckets of equal width; what is outside is kept in the first or last one. */
struct histogram {
    int64_t first_ns, width_ns;
    int buckets;
    uint64_t total;
    int64_t worst_ns;
    uint64_t *counts;
};

static void histogram_init(struct histogram *h, int64_t first_ns, int64_t width_ns, int buckets)
{
    *h = (struct histogram){first_ns, width_ns, buckets, 0, first_ns, NULL};
    h->counts = calloc((size_t)buckets, sizeof *h->counts);
    if (!h->counts)
        abort();
}

static void histogram_add(struct histogram *h, int64_t value_ns, uint64_t times)
{
    int64_t bucket = value_ns < h->first_ns ? 0 : (value_ns - h->first_ns) / h->width_ns;
    if (bucket >= h->buckets)
        bucket = h->buckets - 1;
    if (!h->total || value_ns > h->worst_ns)
        h->worst_ns = value_ns;
    h->counts[bucket] += times;
    h->total += times;
}

/* Put what `from` has counted, with equal buckets, into `h`. */
static void histogram_merge(struct histogram *h, const struct histogram *from)
{
    for (int i = 0; i < h->buckets; i++)
        h->counts[i] += from->counts[i];
    if (from->total && (!h->total || from->worst_ns > h->worst_ns))
        h->worst_ns = from->worst_ns;
    h->total += from->total;
}

/* The upper edge of the bucket in which `share` of all values is reached. */
static int64_t histogram_at(const struct histogram *h, double share)
{
    uint64_t wanted = (uint64_t)(share * (double)h->total), seen = 0;
    for (int i = 0; i < h->buckets; i++) {
        seen += h->counts[i];
        if (seen > wanted || seen == h->total) {
            int64_t edge_ns = h->first_ns + (i + 1) * h->width_ns;
            return edge_ns < h->worst_ns ? edge_ns : h->worst_ns;
        }
    }
    return h->worst_ns;
}

/* What one group of callers heard within the window. */
struct tally {
    uint64_t messages, frames, late, overdue, gaps, longest_gap;
    uint64_t missing, repeated, unknown, clears, marks, marks_returned;
    struct histogram lateness, round_trip;
};

enum cohort { REGULAR, ARRIVAL, COHORTS };
static const char *const cohort_names[COHORTS] = {"regular", "arrivals"};

/* Why a caller has no stream. */
enum failure { FAILED_CONNECT, FAILED_STATUS, FAILED_TIMEOUT, LOST_CLOSED, LOST_RESET, LOST_PROTOCOL, FAILURES };
static const char *const failure_names[FAILURES] = {
    "connect", "status", "timeout", "closed", "reset", "protocol",
};

/* --- a caller --- */

enum state { IDLE, CONNECTING, UPGRADING, OPEN, GONE };

struct mark {
    int64_t due_ns;
    size_t length;
    char name[MARK_NAME_MAX];
};

struct buffer {
    char *octets;
    size_t length;
};

struct caller {
    int fd;
    enum state state;
    enum cohort cohort;
    bool helped;                       /* served by the helper */
    uint32_t number;
    int64_t dialled_ns;
    struct buffer inbox, outbox;       /* allocated only while something is in them */
    /* sent */
    uint32_t messages, chunks;
    int64_t *sent_ns;                  /* of the last ROUND_TRIPS chunks, in echo mode */
    /* player */
    bool playing;
    int64_t start_ns;
    int64_t played_frames;             /* since the player started */
    int64_t expected_id;               /* of the next frame; -1 when any will do */
    uint32_t late_run, late_frames;
    uint32_t part_octets;              /* of a frame that is not complete */
    struct mark *marks;
    int first_mark, mark_count;
    /* rate within the window: frames before, and time of, the first and the last message */
    int64_t frames, rate_frames[2], rate_ns[2];
};

/* How a carrier talks. */
struct dialect {
    const char *name;
    /* What a caller sends. Each writes a message to `at` and gives its end; `messages` and `chunks`
     * count it already. */
    char *(*greeting)(char *at, const struct caller *c);           /* NULL when there is none */
    char *(*start)(char *at, const struct caller *c);
    char *(*media)(char *at, const struct caller *c);
    char *(*mark)(char *at, const struct caller *c, const struct mark *mark);
    char *(*stop)(char *at, const struct caller *c);               /* NULL when there is none */
    void (*cleared)(struct caller *c);                             /* answers a clear */
    /* What the server's messages are called, and the key that only a caller's have. */
    struct word { const char *text; size_t length; } play, place_mark, clear, numbered;
};
#define WORD(literal) {literal, sizeof literal - 1}

static struct options {
    const struct dialect *dialect;
    const char *path, *reference;
    int port, streams, arrivals, cpu, helped, helper_cpu;
    bool echo;
    int64_t connect_interval_ns, arrival_interval_ns, warmup_ns, window_ns;
} options = {.path = "/voice/stream", .port = 0, .streams = 100, .cpu = -1, .helper_cpu = -1,
             .connect_interval_ns = 2 * MS_NS, .warmup_ns = 5 * S_NS, .window_ns = 10 * S_NS};

/* What both processes see. Each writes what is its own, and the other reads it once it is told to. */
static struct shared {
    _Atomic int64_t window_from_ns;    /* set by the main process when both are connected */
    _Atomic bool helper_connected, helper_done;
    _Atomic uint64_t helper_sent;
    double helper_cpu;
    struct report {
        struct tally tally;
        uint64_t failures[FAILURES], media_dropped, media_skipped, window_sent, window_octets_sent;
        struct histogram connect_time, send_lateness;
    } report;                          /* of the helper, at the end */
} *shared;
static bool helping;                   /* this is the helper */

static struct caller *callers;
static int caller_count;

static bool is_mine(const struct caller *c)
{
    return c->helped == helping;
}

static struct tally tallies[COHORTS];
static uint64_t failures[FAILURES];
static struct histogram connect_time, send_lateness;
static struct { uint64_t count; int64_t total_ns, worst_ns; } stalls;
static uint64_t media_sent, media_dropped, media_skipped, window_sent, window_octets_sent;
static int dialled, settled;           /* callers dialled; of these open or failed */
static int64_t window_from_ns, window_to_ns;
static bool in_window;
static int epoll_fd;
static volatile sig_atomic_t stopped;

static int64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * S_NS + now.tv_nsec;
}

static void die(const char *what)
{
    fprintf(stderr, "generator: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void *allocate_shared(size_t octets)
{
    void *memory = mmap(NULL, octets, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        die("memory");
    return memory;
}

static void *allocate(size_t octets)
{
    void *memory = calloc(1, octets ? octets : 1);
    if (!memory)
        die("memory");
    return memory;
}

static void buffer_set(struct buffer *b, const char *octets, size_t length)
{
    free(b->octets);
    *b = (struct buffer){NULL, length};
    if (length) {
        b->octets = allocate(length);
        memcpy(b->octets, octets, length);
    }
}

static void buffer_append(struct buffer *b, const char *octets, size_t length)
{
    b->octets = realloc(b->octets, b->length + length);
    if (!b->octets)
        die("memory");
    memcpy(b->octets + b->length, octets, length);
    b->length += length;
}

/* --- sockets --- */

/* Edges: one look at a socket for each time something has come, where levels take two. */
static void watch(const struct caller *c)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.u32 = c->number};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event) < 0)
        die("epoll_ctl");
}

static void hang_up(struct caller *c)
{
    if (c->fd >= 0)
        close(c->fd);
    if (c->state == CONNECTING || c->state == UPGRADING)
        settled++;
    c->fd = -1;
    c->state = GONE;
    c->mark_count = 0;
    buffer_set(&c->inbox, NULL, 0);
    buffer_set(&c->outbox, NULL, 0);
}

static void fail(struct caller *c, enum failure why)
{
    failures[why]++;
    hang_up(c);
}

/* False when the octets had to be dropped. A caller that fails is gone afterwards. */
static bool transmit(struct caller *c, const char *octets, size_t length)
{
    ssize_t sent = 0;
    if (!c->outbox.length) {
        sent = send(c->fd, octets, length, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) {
            fail(c, LOST_RESET);
            return false;
        }
        if (sent < 0)
            sent = 0;
        if ((size_t)sent == length)
            return true;
    } else if (c->outbox.length + length > OUTBOX_OCTETS) {
        return false;
    }
    buffer_append(&c->outbox, octets + sent, length - (size_t)sent);
    return true;
}

static void flush(struct caller *c)
{
    ssize_t sent = send(c->fd, c->outbox.octets, c->outbox.length, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        fail(c, LOST_RESET);
        return;
    }
    if (sent <= 0)
        return;
    struct buffer rest = {NULL, 0};
    buffer_set(&rest, c->outbox.octets + sent, c->outbox.length - (size_t)sent);
    free(c->outbox.octets);
    c->outbox = rest;
}

/* --- WebSocket frames (RFC 6455, section 5) --- */

enum opcode { TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 };

static bool send_frame(struct caller *c, enum opcode opcode, const char *payload, size_t length)
{
    static char frame[8 + MESSAGE_MAX + 8];
    char word[8];
    uint64_t block, key;
    size_t head = 2;
    frame[0] = (char)(0x80 | opcode);
    if (length < 126) {
        frame[1] = (char)(0x80 | length);
    } else {
        frame[1] = (char)(0x80 | 126);
        frame[2] = (char)(length >> 8);
        frame[3] = (char)length;
        head = 4;
    }
    /* The key has to be hard to guess for browsers' sake only; here any will do. */
    uint32_t mask = (c->number + 1) * 2654435761u;
    memcpy(frame + head, &mask, 4);
    memcpy(word, &mask, 4);
    memcpy(word + 4, &mask, 4);
    memcpy(&key, word, 8);
    memcpy(frame + head + 4, payload, length);
    for (size_t i = 0; i < length; i += 8) {
        memcpy(&block, frame + head + 4 + i, 8);
        block ^= key;
        memcpy(frame + head + 4 + i, &block, 8);
    }
    return transmit(c, frame, head + 4 + length);
}

/* Octets of the frame at `octets`, 0 when it is not complete yet. */
static size_t read_frame(const unsigned char *octets, size_t available, const char **payload, size_t *length)
{
    size_t head = 2;
    if (available < head)
        return 0;
    uint64_t size = octets[1] & 0x7f;
    if (size == 126) {
        head = 4;
        if (available < head)
            return 0;
        size = (uint64_t)octets[2] << 8 | octets[3];
    } else if (size == 127) {
        head = 10;
        if (available < head)
            return 0;
        size = 0;
        for (int i = 2; i < 10; i++)
            size = size << 8 | octets[i];
    }
    if (size > INBOX_OCTETS || available < head + size)
        return 0;
    *payload = (const char *)octets + head;
    *length = (size_t)size;
    return head + (size_t)size;
}

/* --- sending --- */

static char payload_tail[PAYLOAD_CHARS - 4];
static const char base64_chars[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static int8_t base64_values[256];

/* 160 octets that look like speech to nobody, and cost what any others cost. */
static void make_payload(void)
{
    uint32_t random = 1;
    memset(base64_values, -1, sizeof base64_values);
    for (int i = 0; i < 64; i++)
        base64_values[(unsigned char)base64_chars[i]] = (int8_t)i;
    for (size_t i = 0; i < sizeof payload_tail; i++) {
        random = random * 1664525u + 1013904223u;
        payload_tail[i] = base64_chars[random >> 26];
    }
    /* 160 = 53 * 3 + 1: the last group has one octet. */
    memcpy(payload_tail + sizeof payload_tail - 4, "QA==", 4);
}

static char *put(char *at, const char *text, size_t length)
{
    memcpy(at, text, length);
    return at + length;
}
#define PUT(at, literal) put(at, literal, sizeof literal - 1)

static char *put_number(char *at, uint64_t number)
{
    char digits[20];
    int count = 0;
    do
        digits[count++] = (char)('0' + number % 10);
    while (number /= 10);
    while (count)
        *at++ = digits[--count];
    return at;
}

static char *put_hex(char *at, uint32_t number)
{
    for (int shift = 28; shift >= 0; shift -= 4)
        *at++ = "0123456789abcdef"[number >> shift & 15];
    return at;
}
/* A caller's own: the last eight digits are its number. */
#define PUT_ID(at, literal, c) put_hex(PUT(at, literal), (c)->number)

/* A frame's number in its first three octets, so that an echo is recognised. */
static char *put_payload(char *at, const struct caller *c)
{
    uint32_t id = (c->chunks - 1) % IDENTITIES;
    for (int shift = 18; shift >= 0; shift -= 6)
        *at++ = base64_chars[id >> shift & 63];
    return put(at, payload_tail, sizeof payload_tail);
}

static bool send_text(struct caller *c, char *(*word)(char *at, const struct caller *c))
{
    char message[MESSAGE_MAX];
    return send_frame(c, TEXT, message, (size_t)(word(message, c) - message));
}

static void send_media(struct caller *c, int64_t slot_ns, int64_t now_ns)
{
    char message[MESSAGE_MAX];
    if (c->sent_ns)
        c->sent_ns[c->chunks % ROUND_TRIPS] = now_ns;
    c->chunks++;
    c->messages++;
    size_t length = (size_t)(options.dialect->media(message, c) - message);
    if (send_frame(c, TEXT, message, length))
        media_sent++;
    else
        media_dropped++;
    if (in_window) {
        window_sent++;
        window_octets_sent += length;
        histogram_add(&send_lateness, now_ns - slot_ns, 1);
    }
}

static void send_start(struct caller *c)
{
    if (options.dialect->greeting && !send_text(c, options.dialect->greeting))
        return;
    c->messages = 1;
    send_text(c, options.dialect->start);
}

static void echo_marks(struct caller *c, int64_t until_ns)
{
    while (c->state == OPEN && c->mark_count && c->marks[c->first_mark].due_ns <= until_ns) {
        const struct mark *mark = &c->marks[c->first_mark];
        char message[MESSAGE_MAX];
        c->messages++;
        size_t length = (size_t)(options.dialect->mark(message, c, mark) - message);
        c->first_mark = (c->first_mark + 1) % MARKS_MAX;
        c->mark_count--;
        if (send_frame(c, TEXT, message, length))
            tallies[c->cohort].marks_returned += in_window;
    }
}

/* --- dialects --- */

#define ZEROS "000000000000000000000000"

/* Twilio Media Streams: numbers are texts, and the marks that a clear overtakes come back. */

#define TWILIO_ID "MZ" ZEROS
#define TWILIO_CALL "\"callSid\":\"CA" ZEROS
#define TWILIO_ACCOUNT "\"accountSid\":\"AC" ZEROS "00000000\""

static char *twilio_greeting(char *at, const struct caller *c)
{
    (void)c;
    return PUT(at, "{\"event\":\"connected\",\"protocol\":\"Call\",\"version\":\"1.0.0\"}");
}

static char *twilio_start(char *at, const struct caller *c)
{
    at = PUT(at, "{\"event\":\"start\",\"sequenceNumber\":\"1\",\"start\":{" TWILIO_ACCOUNT);
    at = PUT_ID(at, ",\"streamSid\":\"" TWILIO_ID, c);
    at = PUT_ID(at, "\"," TWILIO_CALL, c);
    at = PUT(at, "\",\"tracks\":[\"inbound\"],\"mediaFormat\":{\"encoding\":\"audio/x-mulaw\","
                 "\"sampleRate\":8000,\"channels\":1},\"customParameters\":{}}");
    at = PUT_ID(at, ",\"streamSid\":\"" TWILIO_ID, c);
    return PUT(at, "\"}");
}

static char *twilio_media(char *at, const struct caller *c)
{
    at = PUT(at, "{\"event\":\"media\",\"sequenceNumber\":\"");
    at = put_number(at, c->messages);
    at = PUT(at, "\",\"media\":{\"track\":\"inbound\",\"chunk\":\"");
    at = put_number(at, c->chunks);
    at = PUT(at, "\",\"timestamp\":\"");
    at = put_number(at, c->chunks * 20);
    at = PUT(at, "\",\"payload\":\"");
    at = put_payload(at, c);
    at = PUT_ID(at, "\"},\"streamSid\":\"" TWILIO_ID, c);
    return PUT(at, "\"}");
}

static char *twilio_mark(char *at, const struct caller *c, const struct mark *mark)
{
    at = PUT(at, "{\"event\":\"mark\",\"sequenceNumber\":\"");
    at = put_number(at, c->messages);
    at = PUT_ID(at, "\",\"streamSid\":\"" TWILIO_ID, c);
    at = PUT(at, "\",\"mark\":{\"name\":\"");
    at = put(at, mark->name, mark->length);
    return PUT(at, "\"}}");
}

static char *twilio_stop(char *at, const struct caller *c)
{
    at = PUT(at, "{\"event\":\"stop\",\"sequenceNumber\":\"");
    at = put_number(at, c->messages);
    at = PUT_ID(at, "\",\"streamSid\":\"" TWILIO_ID, c);
    at = PUT_ID(at, "\",\"stop\":{" TWILIO_ACCOUNT "," TWILIO_CALL, c);
    return PUT(at, "\"}}");
}

static void return_marks(struct caller *c)
{
    echo_marks(c, INT64_MAX);
}

/* Telnyx media streaming in `rtp` mode: the same with other names. */

#define TELNYX_ID "\"stream_id\":\"2f1c0000-0000-4000-8000-0000"
#define TELNYX_CALL "\"user_id\":\"00000000-0000-4000-8000-000000000000\",\"call_control_id\":\"v3:"

static char *telnyx_greeting(char *at, const struct caller *c)
{
    (void)c;
    return PUT(at, "{\"event\":\"connected\",\"version\":\"1.0.0\"}");
}

/* All of its messages begin alike, behind `event`. */
static char *telnyx_head(char *at, const struct caller *c)
{
    at = PUT(at, ",\"sequence_number\":\"");
    at = put_number(at, c->messages);
    return PUT_ID(at, "\"," TELNYX_ID, c);
}

static char *telnyx_start(char *at, const struct caller *c)
{
    at = telnyx_head(PUT(at, "{\"event\":\"start\""), c);
    at = PUT_ID(at, "\",\"start\":{" TELNYX_CALL, c);
    return PUT(at, "\",\"call_session_id\":\"00000000-0000-4000-8000-000000000000\",\"from\":\"\",\"to\":\"\","
                   "\"tags\":[],\"media_format\":{\"encoding\":\"PCMU\",\"sample_rate\":8000,\"channels\":1}}}");
}

static char *telnyx_media(char *at, const struct caller *c)
{
    at = telnyx_head(PUT(at, "{\"event\":\"media\""), c);
    at = PUT(at, "\",\"media\":{\"track\":\"inbound\",\"chunk\":\"");
    at = put_number(at, c->chunks);
    at = PUT(at, "\",\"timestamp\":\"");
    at = put_number(at, c->chunks * 20);
    at = PUT(at, "\",\"payload\":\"");
    at = put_payload(at, c);
    return PUT(at, "\"}}");
}

static char *telnyx_mark(char *at, const struct caller *c, const struct mark *mark)
{
    at = telnyx_head(PUT(at, "{\"event\":\"mark\""), c);
    at = PUT(at, "\",\"mark\":{\"name\":\"");
    at = put(at, mark->name, mark->length);
    return PUT(at, "\"}}");
}

static char *telnyx_stop(char *at, const struct caller *c)
{
    at = telnyx_head(PUT(at, "{\"event\":\"stop\""), c);
    at = PUT_ID(at, "\",\"stop\":{" TELNYX_CALL, c);
    return PUT(at, "\"}}");
}

/* Plivo audio streaming: no greeting and no stop, counts are numbers, time is that of the day, and
 * what a clear overtakes is never heard of again. */

#define PLIVO_ID "\"streamId\":\"3a7e0000-0000-4000-8000-0000"
#define PLIVO_CALL "\"callId\":\"5b920000-0000-4000-8000-0000"

static uint64_t epoch_ms;              /* when CLOCK_MONOTONIC was 0 */

static char *plivo_head(char *at, const struct caller *c)
{
    at = PUT(at, ",\"sequenceNumber\":");
    at = put_number(at, c->messages);
    return PUT_ID(at, "," PLIVO_ID, c);
}

static char *plivo_start(char *at, const struct caller *c)
{
    at = PUT_ID(at, "{\"event\":\"start\",\"sequenceNumber\":1,\"start\":{" PLIVO_CALL, c);
    at = PUT_ID(at, "\"," PLIVO_ID, c);
    return PUT(at, "\",\"accountId\":\"MA000000000000000000\",\"tracks\":[\"inbound\"],\"mediaFormat\":"
                   "{\"encoding\":\"audio/x-mulaw\",\"sampleRate\":8000}},\"extra_headers\":\"\"}");
}

static char *plivo_media(char *at, const struct caller *c)
{
    at = plivo_head(PUT(at, "{\"event\":\"media\""), c);
    at = PUT(at, "\",\"media\":{\"track\":\"inbound\",\"timestamp\":\"");
    at = put_number(at, epoch_ms + (uint64_t)(c->dialled_ns / MS_NS) + c->chunks * 20);
    at = PUT(at, "\",\"chunk\":");
    at = put_number(at, c->chunks);
    at = PUT(at, ",\"payload\":\"");
    at = put_payload(at, c);
    return PUT(at, "\"},\"extra_headers\":\"\"}");
}

static char *plivo_mark(char *at, const struct caller *c, const struct mark *mark)
{
    at = plivo_head(PUT(at, "{\"event\":\"playedStream\""), c);
    at = PUT(at, "\",\"name\":\"");
    at = put(at, mark->name, mark->length);
    return PUT(at, "\"}");
}

static char *plivo_cleared(char *at, const struct caller *c)
{
    at = plivo_head(PUT(at, "{\"event\":\"clearedAudio\""), c);
    return PUT(at, "\"}");
}

static void forget_marks(struct caller *c)
{
    c->mark_count = 0;
    c->messages++;
    send_text(c, plivo_cleared);
}

static const struct dialect dialects[] = {
    {.name = "twilio", .greeting = twilio_greeting, .start = twilio_start, .media = twilio_media,
     .mark = twilio_mark, .stop = twilio_stop, .cleared = return_marks,
     .play = WORD("media"), .place_mark = WORD("mark"), .clear = WORD("clear"),
     .numbered = WORD("\"sequenceNumber\"")},
    {.name = "telnyx", .greeting = telnyx_greeting, .start = telnyx_start, .media = telnyx_media,
     .mark = telnyx_mark, .stop = telnyx_stop, .cleared = return_marks,
     .play = WORD("media"), .place_mark = WORD("mark"), .clear = WORD("clear"),
     .numbered = WORD("\"sequence_number\"")},
    {.name = "plivo", .greeting = NULL, .start = plivo_start, .media = plivo_media,
     .mark = plivo_mark, .stop = NULL, .cleared = forget_marks,
     .play = WORD("playAudio"), .place_mark = WORD("checkpoint"), .clear = WORD("clearAudio"),
     .numbered = WORD("\"sequenceNumber\"")},
};

/* NULL when nobody talks so. */
static const struct dialect *dialect_named(const char *name)
{
    for (size_t i = 0; i < sizeof dialects / sizeof *dialects; i++)
        if (!strcmp(dialects[i].name, name))
            return &dialects[i];
    return NULL;
}

static void note_epoch(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    epoch_ms = (uint64_t)((now.tv_sec * S_NS + now.tv_nsec - clock_ns()) / MS_NS);
}

/* --- identity of frames --- */

/* The audio that the server repeats: the hash of each frame in order, and a table of which there are. */
static struct { uint64_t *hashes, *known; size_t mask; int64_t frames; } loop_audio;

static uint64_t frame_hash(const unsigned char *frame)
{
    uint64_t hash = 0, word;
    for (int i = 0; i < FRAME_OCTETS; i += 8) {
        memcpy(&word, frame + i, 8);
        hash = (hash ^ word) * 0x9E3779B97F4A7C15u;
        hash ^= hash >> 29;
    }
    return hash ? hash : 1;            /* 0 is an empty place */
}

/* Open addressing: where `hash` is, or belongs. */
static uint64_t *known_place(uint64_t hash)
{
    size_t at = hash & loop_audio.mask;
    while (loop_audio.known[at] && loop_audio.known[at] != hash)
        at = (at + 1) & loop_audio.mask;
    return &loop_audio.known[at];
}

static void load_reference(const char *path)
{
    unsigned char frame[FRAME_OCTETS];
    size_t places = 4;
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END) < 0)
        die(path);
    loop_audio.frames = ftell(file) / FRAME_OCTETS;
    rewind(file);
    while (places < 4 * (size_t)loop_audio.frames)
        places *= 2;
    loop_audio.mask = places - 1;
    loop_audio.known = allocate(places * sizeof *loop_audio.known);
    loop_audio.hashes = allocate((size_t)loop_audio.frames * sizeof *loop_audio.hashes);
    for (int64_t id = 0; id < loop_audio.frames && fread(frame, FRAME_OCTETS, 1, file); id++) {
        loop_audio.hashes[id] = frame_hash(frame);
        *known_place(loop_audio.hashes[id]) = loop_audio.hashes[id];
    }
    fclose(file);
}

/* The next frame of the loop from `expected` on that sounds like this; -1 when none does. */
static int64_t loop_id(const unsigned char *frame, int64_t expected)
{
    uint64_t hash = frame_hash(frame);
    int64_t id = expected < 0 ? 0 : expected;
    if (loop_audio.hashes[id] != hash && !*known_place(hash))
        return -1;
    while (loop_audio.hashes[id] != hash)
        id = (id + 1) % loop_audio.frames;
    return id;
}

/* What a caller sent comes back with its number in its first three octets. */
static int64_t echo_id(const unsigned char *frame)
{
    return frame[0] << 16 | frame[1] << 8 | frame[2];
}

static void identify(struct caller *c, const unsigned char *frame, int64_t now_ns)
{
    struct tally *tally = &tallies[c->cohort];
    int64_t ids = options.echo ? IDENTITIES : loop_audio.frames;
    int64_t id = options.echo ? echo_id(frame) : loop_id(frame, c->expected_id);
    uint32_t age = options.echo && id >= 0 ? (uint32_t)((c->chunks - id) & (IDENTITIES - 1)) : 1;
    if (id < 0 || age == 0 || age > (1u << 20)) {
        tally->unknown += in_window;
        return;
    }
    if (c->expected_id >= 0 && id != c->expected_id && in_window) {
        int64_t ahead = (id - c->expected_id + ids) % ids;
        if (ahead <= ids / 2)
            tally->missing += (uint64_t)ahead;
        else
            tally->repeated += (uint64_t)(ids - ahead);
    }
    c->expected_id = (id + 1) % ids;
    if (c->sent_ns && in_window && age <= ROUND_TRIPS)
        histogram_add(&tally->round_trip, now_ns - c->sent_ns[id % ROUND_TRIPS], 1);
}

/* --- hearing --- */

static void note_frame(struct caller *c, struct tally *tally, int64_t lateness_ns)
{
    tally->frames++;
    histogram_add(&tally->lateness, lateness_ns, 1);
    if (lateness_ns <= 0) {
        c->late_run = 0;
        return;
    }
    tally->late++;
    c->late_frames++;
    if (c->late_run++ == 0)
        tally->gaps++;
    if (c->late_run > tally->longest_gap)
        tally->longest_gap = c->late_run;
}

static void note_rate(struct caller *c, int64_t now_ns)
{
    int end = c->rate_ns[0] ? 1 : 0;
    c->rate_ns[end] = now_ns;
    c->rate_frames[end] = c->frames;
}

static void hear(struct caller *c, const unsigned char *audio, size_t octets, int64_t now_ns)
{
    struct tally *tally = &tallies[c->cohort];
    size_t frames = (c->part_octets + octets) / FRAME_OCTETS;
    bool whole = !c->part_octets && octets % FRAME_OCTETS == 0;
    c->part_octets = (uint32_t)((c->part_octets + octets) % FRAME_OCTETS);
    if (!c->playing) {
        c->playing = true;
        c->start_ns = now_ns + PLAYER_NS;
        c->played_frames = 0;
        c->late_run = 0;
    }
    if (in_window) {
        tally->messages++;
        note_rate(c, now_ns);
    }
    for (size_t i = 0; i < frames; i++) {
        if (in_window)
            note_frame(c, tally, now_ns - (c->start_ns + c->played_frames * FRAME_NS));
        if (whole && (options.echo || loop_audio.frames))
            identify(c, audio + i * FRAME_OCTETS, now_ns);
        else
            tally->unknown += in_window;
        c->played_frames++;
        c->frames++;
    }
}

/* Octets decoded, or -1 for what is not base64. `audio` has room for 3/4 of the characters. */
static ssize_t decode_base64(const char *chars, size_t count, unsigned char *audio)
{
    size_t octets = 0;
    if (count % 4)
        return -1;
    for (size_t i = 0; i < count; i += 4) {
        const unsigned char *group = (const unsigned char *)chars + i;
        int a = base64_values[group[0]], b = base64_values[group[1]];
        int c = base64_values[group[2]], d = base64_values[group[3]];
        if ((a | b | c | d) < 0) {
            bool one = group[2] == '=' && group[3] == '=', two = c >= 0 && group[3] == '=';
            if (a < 0 || b < 0 || i + 4 != count || !(one || two))
                return -1;
            audio[octets++] = (unsigned char)(a << 2 | b >> 4);
            if (two)
                audio[octets++] = (unsigned char)(b << 4 | c >> 2);
            return (ssize_t)octets;
        }
        audio[octets++] = (unsigned char)(a << 2 | b >> 4);
        audio[octets++] = (unsigned char)(b << 4 | c >> 2);
        audio[octets++] = (unsigned char)(c << 6 | d);
    }
    return (ssize_t)octets;
}

/* The text behind the first `key` (given in quotes), without its quotes; NULL when there is none.
 * Enough for messages whose texts hold no quotes, which those of the dialect do not. */
static const char *text_of(const char *message, size_t length, const char *key, size_t *found)
{
    const char *end = message + length;
    const char *at = memmem(message, length, key, strlen(key));
    if (!at)
        return NULL;
    at += strlen(key);
    while (at < end && (*at == ' ' || *at == ':'))
        at++;
    if (at == end || *at++ != '"')
        return NULL;
    const char *quote = memchr(at, '"', (size_t)(end - at));
    *found = quote ? (size_t)(quote - at) : 0;
    return quote ? at : NULL;
}

static void keep_mark(struct caller *c, const char *name, size_t length, int64_t now_ns)
{
    int64_t due_ns = c->playing ? c->start_ns + c->played_frames * FRAME_NS : now_ns;
    if (!c->marks)
        c->marks = allocate(MARKS_MAX * sizeof *c->marks);
    if (c->mark_count == MARKS_MAX)
        echo_marks(c, c->marks[c->first_mark].due_ns);
    if (c->state != OPEN)
        return;
    struct mark *mark = &c->marks[(c->first_mark + c->mark_count++) % MARKS_MAX];
    mark->due_ns = due_ns;
    mark->length = length < MARK_NAME_MAX ? length : MARK_NAME_MAX;
    memcpy(mark->name, name, mark->length);
    tallies[c->cohort].marks += in_window;
    echo_marks(c, now_ns);
}

static void on_clear(struct caller *c)
{
    c->playing = false;
    c->part_octets = 0;
    c->expected_id = -1;
    tallies[c->cohort].clears += in_window;
    options.dialect->cleared(c);
}

static bool is_word(const char *text, size_t length, const struct word *word)
{
    return length == word->length && !memcmp(text, word->text, length);
}

/* False when it breaks the dialect. */
static bool on_message(struct caller *c, const char *message, size_t length, int64_t now_ns)
{
    const struct dialect *dialect = options.dialect;
    static unsigned char audio[INBOX_OCTETS];
    size_t size;
    const char *text = text_of(message, length, "\"event\"", &size);
    if (!text)
        return false;
    if (is_word(text, size, &dialect->play)) {
        text = text_of(message, length, "\"payload\"", &size);
        ssize_t octets = text ? decode_base64(text, size, audio) : -1;
        if (octets >= 0)
            hear(c, audio, (size_t)octets, now_ns);
        return octets >= 0;
    }
    /* An echo server sends marks back that the caller has sent itself; only a player answers. */
    if (is_word(text, size, &dialect->place_mark)
        && !memmem(message, length, dialect->numbered.text, dialect->numbered.length)) {
        text = text_of(message, length, "\"name\"", &size);
        if (text)
            keep_mark(c, text, size, now_ns);
        return text != NULL;
    }
    if (is_word(text, size, &dialect->clear))
        on_clear(c);
    return true;
}

static void on_frame(struct caller *c, int opcode, const char *payload, size_t length, int64_t now_ns)
{
    switch (opcode) {
    case TEXT:
        if (!on_message(c, payload, length, now_ns))
            fail(c, LOST_PROTOCOL);
        break;
    case PING:
        if (length <= 125)
            send_frame(c, PONG, payload, length);
        break;
    case PONG:
        break;
    case CLOSE:
        fail(c, LOST_CLOSED);
        break;
    default:
        fail(c, LOST_PROTOCOL);        /* binary or in fragments */
    }
}

/* --- connecting --- */

static void dial(struct caller *c, int64_t now_ns)
{
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    c->state = CONNECTING;
    c->dialled_ns = now_ns;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        die("socket");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    /* The cheapest there is; BBR, where it is the default, arms a timer for each message. */
    setsockopt(c->fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
    if (connect(c->fd, (struct sockaddr *)&server, sizeof server) < 0 && errno != EINPROGRESS) {
        fail(c, FAILED_CONNECT);
        return;
    }
    watch(c);
}

static void on_connected(struct caller *c)
{
    char request[MESSAGE_MAX];
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) {
        fail(c, FAILED_CONNECT);
        return;
    }
    int length = snprintf(request, sizeof request,
        "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dm9pY2VjYWxsLWxvYWQhIQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        options.path, options.port);
    c->state = UPGRADING;
    transmit(c, request, (size_t)length);
}

/* Octets of the answer to the upgrade, 0 while it is not complete or when it is a refusal. */
static size_t read_upgrade(struct caller *c, const char *octets, size_t available, int64_t now_ns)
{
    const char *end = memmem(octets, available, "\r\n\r\n", 4);
    if (!end)
        return 0;
    if (available < 12 || memcmp(octets + 8, " 101", 4)) {
        fail(c, FAILED_STATUS);
        return 0;
    }
    c->state = OPEN;
    settled++;
    histogram_add(&connect_time, now_ns - c->dialled_ns, 1);
    send_start(c);
    return (size_t)(end - octets) + 4;
}

/* --- turns of the loop --- */

static void on_readable(struct caller *c)
{
    static char inbox[2 * INBOX_OCTETS];
    size_t available = c->inbox.length, at = 0, used;
    const char *payload;
    size_t length;
    int64_t now_ns = clock_ns();
    if (available)
        memcpy(inbox, c->inbox.octets, available);
    /* More than a whole inbox cannot have come: the rest would be seen with what comes next. */
    ssize_t got = recv(c->fd, inbox + available, INBOX_OCTETS, 0);
    if (got <= 0) {
        if (got == 0 || (errno != EAGAIN && errno != EINTR))
            fail(c, c->state == UPGRADING ? FAILED_STATUS : got ? LOST_RESET : LOST_CLOSED);
        return;
    }
    available += (size_t)got;
    if (c->state == UPGRADING)
        at = read_upgrade(c, inbox, available, now_ns);
    while (c->state == OPEN) {
        used = read_frame((unsigned char *)inbox + at, available - at, &payload, &length);
        if (!used)
            break;
        on_frame(c, (unsigned char)inbox[at] == (0x80 | TEXT) ? TEXT : inbox[at] & 0x80 ? inbox[at] & 15 : 0,
                 payload, length, now_ns);
        at += used;
    }
    if (c->state == GONE)
        return;
    if (available - at >= INBOX_OCTETS)
        fail(c, c->state == OPEN ? LOST_PROTOCOL : FAILED_STATUS);
    else if (available != at || c->inbox.length)
        buffer_set(&c->inbox, inbox + at, available - at);
}

static void on_event(struct caller *c, uint32_t events)
{
    if (c->state == CONNECTING && events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
        on_connected(c);
    if (c->state != GONE && c->state != CONNECTING && events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        on_readable(c);
    if (c->state != GONE && events & EPOLLOUT && c->outbox.length)
        flush(c);
}

static int64_t slot_start_ns;          /* of slot 0 */
static int64_t next_slot;

static int64_t slot_ns(int64_t slot)
{
    return slot_start_ns + slot / caller_count * FRAME_NS + slot % caller_count * FRAME_NS / caller_count;
}

/* Thousands of callers do not fit the nearer caches. */
static void prefetch_caller(int64_t slot)
{
    const char *next = (const char *)&callers[slot % caller_count];
    for (size_t at = 0; at < sizeof(struct caller); at += 64)
        __builtin_prefetch(next + at);
}

static void send_due(int64_t until_ns)
{
    int64_t due_ns;
    for (int sends = 0; sends < SENDS_MAX && (due_ns = slot_ns(next_slot)) <= until_ns; next_slot++) {
        struct caller *c = &callers[next_slot % caller_count];
        if (!is_mine(c) || c->state != OPEN)
            continue;
        if (until_ns - due_ns > GIVE_UP_NS) {
            media_skipped += in_window;
            continue;
        }
        prefetch_caller(next_slot + 8);
        int64_t now_ns = clock_ns();
        sends++;
        if (c->mark_count)
            echo_marks(c, now_ns);
        if (c->state == OPEN)
            send_media(c, due_ns, now_ns);
    }
}

static void wait_until(int64_t wake_ns)
{
    struct epoll_event events[EVENTS_MAX];
    struct timespec wake = {wake_ns / S_NS, wake_ns % S_NS};
    /* Asleep it is not woken by the server, whose sends would bear the cost of that. */
    if (wake_ns > clock_ns())
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &wake, NULL);
    int count = epoll_wait(epoll_fd, events, EVENTS_MAX, 0);
    if (count < 0 && errno != EINTR)
        die("epoll_wait");
    for (int i = 0; i < count; i++)
        on_event(&callers[events[i].data.u32], events[i].events);
}

static void turn(void)
{
    static int64_t last_ns, wake_ns;
    int64_t now_ns = clock_ns();
    if (in_window && now_ns - last_ns > STALL_NS) {
        stalls.count++;
        stalls.total_ns += now_ns - last_ns;
        if (now_ns - last_ns > stalls.worst_ns)
            stalls.worst_ns = now_ns - last_ns;
    }
    last_ns = now_ns;
    send_due(now_ns);
    if (helping)
        shared->helper_sent = media_sent;
    if (wake_ns <= now_ns)
        wake_ns = now_ns - now_ns % QUANTUM_NS + QUANTUM_NS;
    wait_until(slot_ns(next_slot) <= now_ns ? now_ns : wake_ns);
}

/* Dial callers `dialled` to `last`, `interval_ns` apart from `from_ns` on; what is due by now. */
static void dial_due(int first, int last, int64_t from_ns, int64_t interval_ns)
{
    int64_t now_ns = clock_ns();
    while (dialled < last && from_ns + (dialled - first) * interval_ns <= now_ns) {
        if (is_mine(&callers[dialled]))
            dial(&callers[dialled], now_ns);
        else
            settled++;
        dialled++;
    }
}

static void give_up_connecting(void)
{
    int64_t now_ns = clock_ns();
    for (int i = 0; i < dialled; i++) {
        struct caller *c = &callers[i];
        if (is_mine(c) && (c->state == CONNECTING || c->state == UPGRADING)
            && now_ns - c->dialled_ns > CONNECT_TIMEOUT_NS)
            fail(c, FAILED_TIMEOUT);
    }
}

static int open_callers(void)
{
    int count = 0;
    for (int i = 0; i < caller_count; i++)
        count += callers[i].state == OPEN;
    return count;
}

/* --- a run --- */

static void connect_regulars(void)
{
    int64_t from_ns = clock_ns(), checked_ns = from_ns;
    while (!stopped && (dialled < options.streams || settled < dialled)) {
        dial_due(0, options.streams, from_ns, options.connect_interval_ns);
        turn();
        if (clock_ns() - checked_ns > S_NS) {
            checked_ns = clock_ns();
            give_up_connecting();
        }
    }
    if (helping)
        return;
    printf("{\"event\":\"connected\",\"open\":%d,\"seconds\":%.3f}\n", open_callers(),
           (double)(clock_ns() - from_ns) / S_NS);
    fflush(stdout);
}

static void run_until(int64_t end_ns)
{
    while (!stopped && clock_ns() < end_ns) {
        if (dialled >= options.streams && window_from_ns)
            dial_due(options.streams, caller_count, window_from_ns, options.arrival_interval_ns);
        turn();
    }
}

static void print_edge(const char *event)
{
    printf("{\"event\":\"%s\",\"mediaSent\":%llu,\"open\":%d}\n", event,
           (unsigned long long)(media_sent + shared->helper_sent), open_callers());
    fflush(stdout);
}

static double cpu_s(const struct rusage *usage)
{
    return (double)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec)
           + (double)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec) / 1e6;
}

/* Frames of the window that have not come although they are due, all of them if none ever came. */
static uint64_t overdue_frames(const struct caller *c)
{
    int64_t from_ns = c->dialled_ns > window_from_ns ? c->dialled_ns : window_from_ns;
    int64_t possible = (window_to_ns - from_ns) / FRAME_NS;
    int64_t due = (window_to_ns - c->start_ns) / FRAME_NS + 1 - c->played_frames;
    if (c->state == IDLE || (!c->playing && c->frames))
        return 0;
    if (!c->playing || due > possible)
        return (uint64_t)possible;
    return due > 0 ? (uint64_t)due : 0;
}

static void note_overdue(void)
{
    for (int i = 0; i < caller_count; i++) {
        struct caller *c = &callers[i];
        struct tally *tally = &tallies[c->cohort];
        uint64_t frames = is_mine(c) ? overdue_frames(c) : 0;
        if (!frames)
            continue;
        tally->overdue += frames;
        if (c->late_run == 0)
            tally->gaps++;
        c->late_frames += (uint32_t)frames;
        c->late_run += (uint32_t)frames;
        if (c->late_run > tally->longest_gap)
            tally->longest_gap = c->late_run;
    }
}

/* --- the result --- */

static double ms(int64_t ns)
{
    return (double)ns / MS_NS;
}

static void print_quantiles(const char *name, const struct histogram *h)
{
    printf("\"%s\":", name);
    if (!h->total) {
        printf("null");
        return;
    }
    printf("{\"p50\":%.3f,\"p90\":%.3f,\"p99\":%.3f,\"p99.9\":%.3f,\"p99.99\":%.3f,\"worst\":%.3f}",
           ms(histogram_at(h, 0.5)), ms(histogram_at(h, 0.9)), ms(histogram_at(h, 0.99)),
           ms(histogram_at(h, 0.999)), ms(histogram_at(h, 0.9999)), ms(h->worst_ns));
}

/* Long-run speed of what was heard against the clock: mean and worst error of all streams, in ppm. */
static void print_rate_error(enum cohort cohort)
{
    double sum = 0, worst = 0;
    int counted = 0;
    for (int i = 0; i < caller_count; i++) {
        const struct caller *c = &callers[i];
        if (c->cohort != cohort || c->rate_ns[1] - c->rate_ns[0] < FRAME_NS)
            continue;
        double played_ns = (double)((c->rate_frames[1] - c->rate_frames[0]) * FRAME_NS);
        double error = (played_ns / (double)(c->rate_ns[1] - c->rate_ns[0]) - 1) * 1e6;
        sum += error;
        counted++;
        if (error * error > worst * worst)
            worst = error;
    }
    if (counted)
        printf("\"rateErrorPpm\":{\"mean\":%.1f,\"worst\":%.1f},", sum / counted, worst);
    else
        printf("\"rateErrorPpm\":null,");
}

static void print_tally(enum cohort cohort)
{
    const struct tally *t = &tallies[cohort];
    uint64_t due = t->frames + t->overdue, late = t->late + t->overdue;
    int count = 0, late_streams = 0;
    for (int i = 0; i < caller_count; i++) {
        count += callers[i].cohort == cohort;
        late_streams += callers[i].cohort == cohort && callers[i].late_frames;
    }
    printf("\"%s\":{\"streams\":%d,\"lateStreams\":%d,\"messages\":%llu,\"frames\":%llu,\"late\":%llu,"
           "\"overdue\":%llu,\"onTime\":%.6f,\"gaps\":%llu,\"longestGapMs\":%llu,",
           cohort_names[cohort], count, late_streams, (unsigned long long)t->messages,
           (unsigned long long)t->frames, (unsigned long long)late, (unsigned long long)t->overdue,
           due ? 1 - (double)late / (double)due : 0.0, (unsigned long long)t->gaps,
           (unsigned long long)t->longest_gap * 20);
    printf("\"missing\":%llu,\"repeated\":%llu,\"unknown\":%llu,\"clears\":%llu,\"marks\":%llu,"
           "\"marksReturned\":%llu,",
           (unsigned long long)t->missing, (unsigned long long)t->repeated,
           (unsigned long long)t->unknown, (unsigned long long)t->clears, (unsigned long long)t->marks,
           (unsigned long long)t->marks_returned);
    print_rate_error(cohort);
    print_quantiles("latenessMs", &t->lateness);
    printf(",");
    print_quantiles("roundTripMs", &t->round_trip);
    printf("},");
}

static void print_result(const struct rusage *before, const struct rusage *after)
{
    double seconds = (double)(window_to_ns - window_from_ns) / S_NS;
    printf("{\"event\":\"result\",\"seconds\":%.3f,", seconds);
    print_tally(REGULAR);
    if (options.arrivals)
        print_tally(ARRIVAL);
    printf("\"connections\":{\"wanted\":%d,\"open\":%d,", caller_count, open_callers());
    for (int why = 0; why < FAILURES; why++)
        printf("\"%s\":%llu,", failure_names[why], (unsigned long long)failures[why]);
    print_quantiles("connectMs", &connect_time);
    printf("},\"sent\":{\"messages\":%llu,\"octets\":%llu,\"dropped\":%llu},",
           (unsigned long long)window_sent, (unsigned long long)window_octets_sent,
           (unsigned long long)media_dropped);
    printf("\"generator\":{\"cpu\":%.4f,\"helped\":%d,\"helperCpu\":%.4f,\"stalls\":%llu,\"stalledMs\":%.3f,"
           "\"worstStallMs\":%.3f,",
           (cpu_s(after) - cpu_s(before)) / seconds, options.helped, shared->helper_cpu,
           (unsigned long long)stalls.count,
           ms(stalls.total_ns), ms(stalls.worst_ns));
    printf("\"skipped\":%llu,\"involuntarySwitches\":%ld,", (unsigned long long)media_skipped,
           after->ru_nivcsw - before->ru_nivcsw);
    print_quantiles("sendLatenessMs", &send_lateness);
    printf("}}\n");
    fflush(stdout);
}

static void say_goodbye(void)
{
    static const char going_away[] = {0x03, (char)0xe8};   /* 1000 */
    int64_t end_ns = clock_ns() + GOODBYE_NS;
    for (int i = 0; i < caller_count; i++) {
        struct caller *c = &callers[i];
        if (!is_mine(c) || c->state != OPEN)
            continue;
        c->messages++;
        if (!options.dialect->stop || send_text(c, options.dialect->stop))
            send_frame(c, CLOSE, going_away, sizeof going_away);
    }
    while (open_callers() && clock_ns() < end_ns)
        wait_until(clock_ns() + QUANTUM_NS);
    for (int i = 0; i < caller_count; i++)
        if (is_mine(&callers[i]) && callers[i].state != IDLE && callers[i].state != GONE)
            hang_up(&callers[i]);
}

/* The report's counts lie in memory that both processes see. */
static void share_counts(struct histogram *reported, const struct histogram *like)
{
    *reported = *like;
    reported->counts = allocate_shared((size_t)like->buckets * sizeof *like->counts);
}

static void report_init(void)
{
    share_counts(&shared->report.tally.lateness, &tallies[REGULAR].lateness);
    share_counts(&shared->report.tally.round_trip, &tallies[REGULAR].round_trip);
    share_counts(&shared->report.connect_time, &connect_time);
    share_counts(&shared->report.send_lateness, &send_lateness);
}

static void tally_merge(struct tally *t, const struct tally *from)
{
    t->messages += from->messages;
    t->frames += from->frames;
    t->late += from->late;
    t->overdue += from->overdue;
    t->gaps += from->gaps;
    if (from->longest_gap > t->longest_gap)
        t->longest_gap = from->longest_gap;
    t->missing += from->missing;
    t->repeated += from->repeated;
    t->unknown += from->unknown;
    t->clears += from->clears;
    t->marks += from->marks;
    t->marks_returned += from->marks_returned;
    histogram_merge(&t->lateness, &from->lateness);
    histogram_merge(&t->round_trip, &from->round_trip);
}

/* The helper's last words. */
static void report(double cpu)
{
    struct report *r = &shared->report;
    tally_merge(&r->tally, &tallies[REGULAR]);
    memcpy(r->failures, failures, sizeof failures);
    r->media_dropped = media_dropped;
    r->media_skipped = media_skipped;
    r->window_sent = window_sent;
    r->window_octets_sent = window_octets_sent;
    histogram_merge(&r->connect_time, &connect_time);
    histogram_merge(&r->send_lateness, &send_lateness);
    shared->helper_cpu = cpu;
    shared->helper_done = true;
}

static void take_report(void)
{
    const struct report *r = &shared->report;
    tally_merge(&tallies[REGULAR], &r->tally);
    for (int why = 0; why < FAILURES; why++)
        failures[why] += r->failures[why];
    media_dropped += r->media_dropped;
    media_skipped += r->media_skipped;
    window_sent += r->window_sent;
    window_octets_sent += r->window_octets_sent;
    histogram_merge(&connect_time, &r->connect_time);
    histogram_merge(&send_lateness, &r->send_lateness);
}

static void make_callers(void)
{
    caller_count = options.streams + options.arrivals;
    callers = allocate_shared((size_t)caller_count * sizeof *callers);
    shared = allocate_shared(sizeof *shared);
    for (int i = 0; i < caller_count; i++) {
        callers[i].fd = -1;
        callers[i].number = (uint32_t)i;
        callers[i].expected_id = -1;
        callers[i].cohort = i < options.streams ? REGULAR : ARRIVAL;
        /* Evenly among the first callers. */
        callers[i].helped = i < options.streams && (int64_t)(i + 1) * options.helped / options.streams
                                                       > (int64_t)i * options.helped / options.streams;
        if (options.echo)
            callers[i].sent_ns = allocate(ROUND_TRIPS * sizeof(int64_t));
    }
    for (int i = 0; i < COHORTS; i++) {
        histogram_init(&tallies[i].lateness, -2 * S_NS, MS_NS / 10, 120000);
        histogram_init(&tallies[i].round_trip, 0, MS_NS / 100, 500000);
    }
    histogram_init(&connect_time, 0, MS_NS / 10, 310000);
    histogram_init(&send_lateness, 0, MS_NS / 100, 100000);
    report_init();
}

static void read_options(int argc, char **argv)
{
    static const struct option known[] = {
        {"port", 1, 0, 'p'}, {"path", 1, 0, 'P'}, {"streams", 1, 0, 'n'}, {"arrivals", 1, 0, 'a'},
        {"connect-interval-us", 1, 0, 'c'}, {"arrival-interval-us", 1, 0, 'i'},
        {"warmup-ms", 1, 0, 'w'}, {"window-ms", 1, 0, 's'}, {"reference", 1, 0, 'r'},
        {"dialect", 1, 0, 'd'}, {"echo", 0, 0, 'e'}, {"cpu", 1, 0, 'u'}, {"helped", 1, 0, 'h'},
        {"helper-cpu", 1, 0, 'H'},
        {0, 0, 0, 0},
    };
    options.dialect = dialect_named("twilio");
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        long long number = optarg ? atoll(optarg) : 0;
        switch (option) {
        case 'p': options.port = (int)number; break;
        case 'P': options.path = optarg; break;
        case 'n': options.streams = (int)number; break;
        case 'a': options.arrivals = (int)number; break;
        case 'c': options.connect_interval_ns = number * 1000; break;
        case 'i': options.arrival_interval_ns = number * 1000; break;
        case 'w': options.warmup_ns = number * MS_NS; break;
        case 's': options.window_ns = number * MS_NS; break;
        case 'r': options.reference = optarg; break;
        case 'd': options.dialect = dialect_named(optarg); break;
        case 'e': options.echo = true; break;
        case 'u': options.cpu = (int)number; break;
        case 'h': options.helped = (int)number; break;
        case 'H': options.helper_cpu = (int)number; break;
        default: exit(2);
        }
    }
    if (!options.dialect || options.port <= 0 || options.port > 65535 || options.streams < 1 || options.arrivals < 0
        || options.helped < 0 || options.helped >= options.streams || options.window_ns < FRAME_NS || strlen(options.path) > 512) {
        fprintf(stderr, "generator: a port, a dialect, at least one stream and a window are needed\n");
        exit(2);
    }
}

static void on_signal(int number)
{
    (void)number;
    stopped = 1;
}

static void settle_in(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    prctl(PR_SET_TIMERSLACK, 1000UL);
    /* Others that run on this core, and for the helper that is the server, would be heard as a late
     * server; without the right to it, so be it. */
    setpriority(PRIO_PROCESS, 0, -20);
    int cpu = helping ? options.helper_cpu : options.cpu;
    if (cpu >= 0) {
        cpu_set_t cpus;
        CPU_ZERO(&cpus);
        CPU_SET((size_t)cpu, &cpus);
        if (sched_setaffinity(0, sizeof cpus, &cpus) < 0)
            die("sched_setaffinity");
    }
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0)
        die("epoll_create1");
}

/* Both connect, then the main process says when the window begins. */
static void meet(void)
{
    if (helping) {
        shared->helper_connected = true;
        while (!stopped && !shared->window_from_ns)
            turn();
        return;
    }
    while (!stopped && options.helped && !shared->helper_connected)
        turn();
    shared->window_from_ns = clock_ns() + options.warmup_ns;
}

int main(int argc, char **argv)
{
    struct rusage before, after;
    read_options(argc, argv);
    make_payload();
    note_epoch();
    if (options.reference)
        load_reference(options.reference);
    make_callers();
    slot_start_ns = clock_ns();
    if (options.helped)
        helping = fork() == 0;
    settle_in();
    connect_regulars();
    meet();
    run_until(shared->window_from_ns);
    if (!helping)
        print_edge("window");
    getrusage(RUSAGE_SELF, &before);
    window_from_ns = clock_ns();
    turn();                            /* printing is no stall of the window */
    in_window = true;
    run_until(window_from_ns + options.window_ns);
    in_window = false;
    window_to_ns = clock_ns();
    getrusage(RUSAGE_SELF, &after);
    note_overdue();
    if (helping)
        report((cpu_s(&after) - cpu_s(&before)) / ((double)(window_to_ns - window_from_ns) / S_NS));
    else
        print_edge("windowEnd");
    while (!stopped && options.helped && !shared->helper_done)
        turn();
    if (stopped) {
        say_goodbye();
        return 130;
    }
    if (!helping) {
        take_report();
        print_result(&before, &after);
    }
    run_until(window_to_ns + LINGER_NS);
    say_goodbye();
    return 0;
}
