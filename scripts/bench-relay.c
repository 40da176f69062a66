/* bench-relay PROGRAM...: what the kernel alone costs of the network by name (scripts/bench-network).
 *
 * Runs PROGRAM in a new network namespace in which every address is local, and carries its connections to the same port of
 * 203.0.113.2 in the caller's: the two TCP hops and the splice(2) of safebox's helper, with pipes of 1 MiB, and nothing else:
 * no names, no rules, no checks, no limits.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define LARGE (1 << 20)
#define CHECK(call) ({ int r_ = (call); if (r_ < 0) { perror(#call); exit(1); } r_; })

static const int PORTS[] = {7004, 7005, 7006};
enum { N = 3 };

/* A connection: sockets (0 inside, 1 outside), and for each direction its pipe and how far it is. */
struct conn {
    int fd[2], pipe[2][2], readable[2], writable[2], ended[2], told[2];
    long held[2];
};

/* Carries from fd[d] to the other; -1: the connection is broken. */
static int carry(struct conn *c, int d) {
    for (;;) {
        ssize_t n;
        while (c->held[d]) {
            if (!c->writable[!d]) return 0;
            n = splice(c->pipe[d][0], 0, c->fd[!d], 0, c->held[d], SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
            if (n < 0 && errno != EAGAIN) return -1;
            if (n < 0) c->writable[!d] = 0;
            else c->held[d] -= n;
        }
        if (c->ended[d]) {
            if (!c->told[d]) shutdown(c->fd[!d], SHUT_WR);
            c->told[d] = 1;
            return 0;
        }
        if (!c->readable[d]) return 0;
        n = splice(c->fd[d], 0, c->pipe[d][1], 0, LARGE, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        if (n < 0 && errno != EAGAIN) return -1;
        if (n < 0) c->readable[d] = 0;
        else if (n == 0) c->ended[d] = 1;
        else c->held[d] = n;
    }
}

static void begin(int epoll, int listener, int port) {
    int yes = 1, inside = accept4(listener, 0, 0, SOCK_NONBLOCK);
    if (inside < 0) return;
    struct conn *c = calloc(1, sizeof *c);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = inet_addr("203.0.113.2")};
    c->fd[0] = inside;
    c->fd[1] = CHECK(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    setsockopt(c->fd[0], IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    setsockopt(c->fd[1], IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    connect(c->fd[1], (void *)&to, sizeof to);
    for (int d = 0; d < 2; d++) {
        CHECK(pipe2(c->pipe[d], O_NONBLOCK));
        /* Two pipes for each of 300 connections would be slow to make: those of the stream are large. */
        if (port != 7005) CHECK(fcntl(c->pipe[d][1], F_SETPIPE_SZ, LARGE));
        struct epoll_event event = {EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, {.u64 = (unsigned long)c | d}};
        CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd[d], &event));
    }
}

static void go_on(struct conn *c) {
    if (carry(c, 0) == 0 && carry(c, 1) == 0 && !(c->told[0] && c->told[1])) return;
    for (int d = 0; d < 2; d++) close(c->fd[d]), close(c->pipe[d][0]), close(c->pipe[d][1]);
    free(c);
}

int main(int argc, char **argv) {
    int listeners[N], yes = 1, host = CHECK(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
    if (argc < 2) return 1;
    CHECK(unshare(CLONE_NEWNET));
    if (system("ip link set lo up && ip route add local 0.0.0.0/0 dev lo")) return 1;
    for (int i = 0; i < N; i++) {
        struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(PORTS[i])};
        listeners[i] = CHECK(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
        setsockopt(listeners[i], SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
        CHECK(bind(listeners[i], (void *)&at, sizeof at));
        CHECK(listen(listeners[i], 4096));
    }
    pid_t child = CHECK(fork());
    if (!child) {
        execvp(argv[1], argv + 1);
        _exit(127);
    }
    CHECK(setns(host, CLONE_NEWNET));
    int epoll = CHECK(epoll_create1(EPOLL_CLOEXEC)), status = 0;
    for (int i = 0; i < N; i++) {
        struct epoll_event event = {EPOLLIN, {.u64 = i}};
        CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, listeners[i], &event));
    }
    while (waitpid(child, &status, WNOHANG) != child) {
        struct epoll_event events[64];
        int n = epoll_wait(epoll, events, 64, 50);
        for (int i = 0; i < n; i++) {
            unsigned long token = events[i].data.u64;
            if (token < N) continue;
            struct conn *c = (void *)(token & ~1ul);
            int d = token & 1, bad = events[i].events & (EPOLLHUP | EPOLLERR);
            c->readable[d] |= bad || events[i].events & (EPOLLIN | EPOLLRDHUP);
            c->writable[d] |= bad || events[i].events & EPOLLOUT;
        }
        /* Of two events of one connection the first goes on with both. */
        for (int i = 0; i < n; i++) {
            unsigned long token = events[i].data.u64;
            struct conn *c = (void *)(token & ~1ul);
            if (token < N) {
                begin(epoll, listeners[token], PORTS[token]);
                continue;
            }
            int seen = 0;
            for (int j = 0; j < i; j++) seen |= events[j].data.u64 >= N && (events[j].data.u64 & ~1ul) == (unsigned long)c;
            if (!seen) go_on(c);
        }
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
