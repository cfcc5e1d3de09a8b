/*
 * The bound: a WebSocket echo server in C, one thread, one epoll, no dependencies.
 *
 *     c_epoll PORT
 *
 * It does the least that one message per 20 ms each way can cost: read, unmask, write. Every text or
 * binary frame goes back as it came, a ping as a pong, a close as a close. It prints one JSON line
 * when it accepts connections on loopback and ends on SIGTERM or SIGINT.
 *
 * Sources: RFC 6455 (WebSocket), RFC 3174 (SHA-1), RFC 4648 (base64).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    BUFFER_OCTETS = 16384, /* no frame and no handshake may be longer */
    BACKLOG = 2048,
    EVENTS = 256,
    SHA1_OCTETS = 20,
    ACCEPT_OCTETS = 28, /* base64 of a SHA-1 */
    KEY_OCTETS = 24,    /* base64 of the client's 16 octets */
};

enum { OP_CONTINUATION = 0x0, OP_TEXT = 0x1, OP_BINARY = 0x2, OP_CLOSE = 0x8, OP_PING = 0x9, OP_PONG = 0xA };

struct connection {
    int fd;
    bool open;    /* the handshake is done */
    bool closing; /* close once `out` is written */
    bool writing; /* waits for EPOLLOUT, and reads nothing until then */
    size_t in_octets;
    size_t out_octets;
    uint8_t in[BUFFER_OCTETS];
    uint8_t out[BUFFER_OCTETS];
};

static int epoll_fd;

/* Handshake --------------------------------------------------------------------------------- */

static uint32_t rotate_left(uint32_t word, int bits) {
    return word << bits | word >> (32 - bits);
}

static void sha1_block(uint32_t state[5], const uint8_t *block) {
    uint32_t w[80];
    for (int t = 0; t < 16; t++)
        w[t] = (uint32_t)block[4 * t] << 24 | block[4 * t + 1] << 16 | block[4 * t + 2] << 8 | block[4 * t + 3];
    for (int t = 16; t < 80; t++)
        w[t] = rotate_left(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    for (int t = 0; t < 80; t++) {
        uint32_t f, k;
        if (t < 20)
            f = (b & c) | (~b & d), k = 0x5A827999;
        else if (t < 40)
            f = b ^ c ^ d, k = 0x6ED9EBA1;
        else if (t < 60)
            f = (b & c) | (b & d) | (c & d), k = 0x8F1BBCDC;
        else
            f = b ^ c ^ d, k = 0xCA62C1D6;
        uint32_t next = rotate_left(a, 5) + f + e + k + w[t];
        e = d, d = c, c = rotate_left(b, 30), b = a, a = next;
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d, state[4] += e;
}

/* SHA-1 of fewer than 120 octets: the padded message always fits two blocks. */
static void sha1_short(const char *text, size_t octets, uint8_t digest[SHA1_OCTETS]) {
    uint32_t state[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
    uint8_t message[128] = {0};
    size_t padded = octets < 56 ? 64 : 128;
    memcpy(message, text, octets);
    message[octets] = 0x80;
    message[padded - 2] = (uint8_t)(octets * 8 >> 8);
    message[padded - 1] = (uint8_t)(octets * 8);
    for (size_t at = 0; at < padded; at += 64)
        sha1_block(state, message + at);
    for (int i = 0; i < SHA1_OCTETS; i++)
        digest[i] = (uint8_t)(state[i / 4] >> (24 - 8 * (i % 4)));
}

/* Base64 of a SHA-1: six groups of three octets and one of two. */
static void base64_digest(const uint8_t digest[SHA1_OCTETS], char text[ACCEPT_OCTETS]) {
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int i = 0, o = 0; i < SHA1_OCTETS; i += 3, o += 4) {
        uint32_t group = (uint32_t)digest[i] << 16 | digest[i + 1] << 8 | (i + 2 < SHA1_OCTETS ? digest[i + 2] : 0);
        for (int j = 0; j < 4; j++)
            text[o + j] = alphabet[group >> (18 - 6 * j) & 63];
    }
    text[ACCEPT_OCTETS - 1] = '=';
}

/* Answers the upgrade request in `in`. False when it is none that can be answered. */
static bool shake_hands(struct connection *connection) {
    char *end = memmem(connection->in, connection->in_octets, "\r\n\r\n", 4);
    if (end == NULL)
        return connection->in_octets < BUFFER_OCTETS;
    *end = '\0';
    char *key = strcasestr((char *)connection->in, "\r\nsec-websocket-key:");
    if (key == NULL)
        return false;
    key += strlen("\r\nsec-websocket-key:");
    key += strspn(key, " \t");
    if (strcspn(key, " \t\r") != KEY_OCTETS)
        return false;
    char text[64], accept[ACCEPT_OCTETS];
    uint8_t digest[SHA1_OCTETS];
    int octets = snprintf(text, sizeof text, "%.*s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", KEY_OCTETS, key);
    sha1_short(text, (size_t)octets, digest);
    base64_digest(digest, accept);
    connection->out_octets = (size_t)snprintf(
        (char *)connection->out, BUFFER_OCTETS,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Accept: %.*s\r\n\r\n",
        ACCEPT_OCTETS, accept);
    size_t used = (size_t)((uint8_t *)end + 4 - connection->in);
    connection->in_octets -= used;
    memmove(connection->in, connection->in + used, connection->in_octets);
    connection->open = true;
    return true;
}

/* Frames ------------------------------------------------------------------------------------ */

static void unmask(uint8_t *to, const uint8_t *from, size_t octets, const uint8_t mask[4]) {
    uint64_t wide;
    memcpy(&wide, mask, 4);
    memcpy((uint8_t *)&wide + 4, mask, 4);
    size_t at = 0;
    for (; at + 8 <= octets; at += 8) {
        uint64_t word;
        memcpy(&word, from + at, 8);
        word ^= wide;
        memcpy(to + at, &word, 8);
    }
    for (; at < octets; at++)
        to[at] = from[at] ^ mask[at % 4];
}

static uint8_t answer_to(uint8_t opcode) {
    return opcode == OP_PING ? OP_PONG : opcode;
}

/* Appends the answer to the frame at `in + *at` to `out` and moves `*at` behind it. Returns 1 when it
 * did, 0 when the frame is not complete or `out` has no room, -1 when the peer breaks the rules. */
static int echo_frame(struct connection *connection, size_t *at) {
    const uint8_t *frame = connection->in + *at;
    size_t there = connection->in_octets - *at;
    if (there < 2)
        return 0;
    uint8_t opcode = frame[0] & 0x0F;
    size_t payload = frame[1] & 0x7F, head = 2;
    /* A client masks; a length of 64 bits is never needed below BUFFER_OCTETS. */
    if (!(frame[1] & 0x80) || payload == 127)
        return -1;
    if (payload == 126) {
        if (there < 4)
            return 0;
        payload = (size_t)frame[2] << 8 | frame[3];
        head = 4;
    }
    size_t whole = head + 4 + payload;
    if (whole > BUFFER_OCTETS)
        return -1;
    if (there < whole || head + payload > BUFFER_OCTETS - connection->out_octets)
        return 0;
    *at += whole;
    if (opcode == OP_PONG)
        return 1;
    uint8_t *answer = connection->out + connection->out_octets;
    answer[0] = (uint8_t)((frame[0] & 0xF0) | answer_to(opcode));
    answer[1] = frame[1] & 0x7F;
    memcpy(answer + 2, frame + 2, head - 2);
    unmask(answer + head, frame + head + 4, payload, frame + head);
    connection->out_octets += head + payload;
    connection->closing = opcode == OP_CLOSE;
    return 1;
}

static bool echo_frames(struct connection *connection) {
    size_t at = 0;
    int outcome = 1;
    while (outcome > 0 && !connection->closing)
        outcome = echo_frame(connection, &at);
    connection->in_octets -= at;
    if (at > 0 && connection->in_octets > 0)
        memmove(connection->in, connection->in + at, connection->in_octets);
    return outcome >= 0;
}

/* Connections ------------------------------------------------------------------------------- */

static void watch(struct connection *connection, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = connection};
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, connection->fd, &event);
}

/* Writes what is in `out`; while some of it stays the peer is not read, so nothing can pile up. */
static bool flush(struct connection *connection) {
    size_t sent = 0;
    while (sent < connection->out_octets) {
        ssize_t octets = send(connection->fd, connection->out + sent, connection->out_octets - sent, MSG_NOSIGNAL);
        if (octets < 0 && errno == EINTR)
            continue;
        if (octets < 0 && errno != EAGAIN)
            return false;
        if (octets < 0)
            break;
        sent += (size_t)octets;
    }
    connection->out_octets -= sent;
    if (connection->out_octets > 0)
        memmove(connection->out, connection->out + sent, connection->out_octets);
    bool writing = connection->out_octets > 0;
    if (writing != connection->writing)
        watch(connection, writing ? EPOLLOUT : EPOLLIN);
    connection->writing = writing;
    return writing || !connection->closing;
}

/* One turn of a connection that epoll named. False when it is over. */
static bool serve(struct connection *connection) {
    if (!connection->writing) {
        ssize_t octets = recv(connection->fd, connection->in + connection->in_octets,
                              BUFFER_OCTETS - connection->in_octets, 0);
        if (octets < 0)
            return errno == EAGAIN || errno == EINTR;
        if (octets == 0)
            return false;
        connection->in_octets += (size_t)octets;
    }
    if (!connection->open && !shake_hands(connection))
        return false;
    /* Again after a write has made room: frames may wait in `in` with nothing left to read. */
    for (;;) {
        size_t before = connection->in_octets;
        if (connection->open && !connection->closing && !echo_frames(connection))
            return false;
        if (!flush(connection))
            return false;
        if (connection->writing || connection->in_octets == before)
            return true;
    }
}

static void accept_all(int listener) {
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct connection *connection = calloc(1, sizeof *connection);
        if (connection == NULL) {
            close(fd);
            continue;
        }
        connection->fd = fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
    }
}

static int fail(const char *what) {
    perror(what);
    return 1;
}

static int listen_on(uint16_t *port) {
    int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(*port)};
    socklen_t octets = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, BACKLOG) < 0)
        return -1;
    getsockname(listener, (struct sockaddr *)&address, &octets);
    *port = ntohs(address.sin_port);
    return listener;
}

int main(int argc, char **argv) {
    uint16_t port = argc == 2 ? (uint16_t)atoi(argv[1]) : 0;
    if (argc != 2)
        return fprintf(stderr, "usage: %s PORT\n", argv[0]), 2;
    int listener = listen_on(&port);
    if (listener < 0)
        return fail("listen");
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    sigprocmask(SIG_BLOCK, &ends, NULL);
    int signals = signalfd(-1, &ends, SFD_CLOEXEC);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    /* The two descriptors without a connection are told apart by the address of their variable. */
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &listener};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event);
    event.data.ptr = &signals;
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, signals, &event);
    printf("{\"pid\": %d, \"port\": %d, \"name\": \"c_epoll\", \"versions\": {\"compiler\": \"%s\"}}\n", getpid(), port,
           __VERSION__);
    fflush(stdout);
    for (;;) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(epoll_fd, events, EVENTS, -1);
        if (count < 0 && errno != EINTR)
            return fail("epoll_wait");
        for (int i = 0; i < count; i++) {
            struct connection *connection = events[i].data.ptr;
            if (events[i].data.ptr == &signals)
                return 0;
            if (events[i].data.ptr == &listener)
                accept_all(listener);
            else if (!serve(connection)) {
                close(connection->fd);
                free(connection);
            }
        }
    }
}
