/* What busybox cannot do inside a container. One line per attempt: NAME ERRNO (0: it worked). */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/file.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

static void said(const char *name, long ret) { printf("%s %d\n", name, ret < 0 ? errno : 0); }

/* The kernel surface that the built-in profile and the policy close. */
static void surface(void) {
    char args[88] = {0};
    said("unshare_user", unshare(CLONE_NEWUSER));
    long pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) _exit(0);
    said("clone_user", pid);
    /* The kernel cuts the flags of clone to 32 bits. */
    pid = syscall(SYS_clone, 1UL << 32 | CLONE_NEWNS | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) _exit(0);
    said("clone_mnt_high", pid);
    said("clone3", syscall(SYS_clone3, args, sizeof args));
    said("io_uring_setup", syscall(425, 1, args));
    said("bpf", syscall(SYS_bpf, 0, args, sizeof args));
    said("userfaultfd", syscall(SYS_userfaultfd, 0));
    said("perf_event_open", syscall(SYS_perf_event_open, args, 0, -1, -1, 0));
    said("keyctl", syscall(SYS_keyctl, 0, -3, 0));
    said("mount", mount("none", "/tmp", "tmpfs", 0, ""));
    said("fsopen", syscall(430, "tmpfs", 0));
    said("unshare_cgroup", unshare(CLONE_NEWCGROUP));
    said("mount_cgroup", mount("cgroup", "/tmp", "cgroup", 0, "rdma"));
    said("ptrace_unknown", syscall(1000));
    said("vsock", socket(40, SOCK_STREAM, 0));
    said("vsock_high", syscall(SYS_socket, 1UL << 32 | 40, SOCK_STREAM, 0));
    said("packet", socket(17, SOCK_RAW, 0));
    said("tiocsti", syscall(SYS_ioctl, 0, TIOCSTI, "x"));
    said("tiocsti_high", syscall(SYS_ioctl, 0, 1UL << 32 | TIOCSTI, "x"));
    said("tioclinux", syscall(SYS_ioctl, 0, 0x541c, args));
    said("tioclinux_high", syscall(SYS_ioctl, 0, 1UL << 32 | 0x541c, args));
}

/* Pushes a byte into the terminal's input, both ways. */
static void inject(void) {
    said("tiocsti", syscall(SYS_ioctl, 0, TIOCSTI, "x"));
    said("tiocsti_high", syscall(SYS_ioctl, 0, 1UL << 32 | TIOCSTI, "x"));
}

/* Programs of others, held with O_PATH until nobody executes them: then they can be opened for writing. */
static int held[512], n_held;

static int mine(const char *path) {
    struct stat a, b, c;
    if (stat(path, &a) != 0 || stat("/bin/busybox", &b) != 0 || stat("/bin/probe", &c) != 0) return 1;
    return (a.st_dev == b.st_dev && a.st_ino == b.st_ino) || (a.st_dev == c.st_dev && a.st_ino == c.st_ino);
}

static void overwrite(const char *name, const char *path) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    printf("%s %d\n", name, fd < 0 ? errno : 0);
    if (fd < 0) return;
    if (write(fd, "overwritten", 11) == 11) printf("wrote\n");
    close(fd);
}

static void look(int pid) {
    char path[300], to[300];
    snprintf(path, sizeof path, "/proc/%d/exe", pid);
    /* Held first: between two looks by name the process may become another program. */
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd >= 0) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        if (mine(path) || n_held == 512) close(fd);
        else {
            overwrite("exe", path);
            held[n_held++] = fd;
        }
    }
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    DIR *fds = opendir(path);
    for (struct dirent *f; fds && (f = readdir(fds));) {
        if (atoi(f->d_name) <= 2) continue;
        snprintf(path, sizeof path, "/proc/%d/fd/%s", pid, f->d_name);
        ssize_t n = readlink(path, to, sizeof to - 1);
        /* The root of another tree is shown as "/", too: the container's own is told apart by its inode. */
        struct stat there, own;
        if (n == 1 && to[0] == '/' && stat("/", &own) == 0) {
            if (stat(path, &there) < 0) continue; /* closed meanwhile: it cannot be opened either */
            if (there.st_dev == own.st_dev && there.st_ino == own.st_ino) continue;
        }
        if (n > 0) printf("fd %s -> %.*s\n", f->d_name, (int)n, to);
    }
    if (fds) closedir(fds);
}

/* Looks into every other process for some seconds: descriptors beyond 0 to 2, and a program to overwrite. */
static void spy(int seconds) {
    char path[300];
    long seen = 0;
    time_t end = time(NULL) + seconds;
    printf("spying\n");
    while (time(NULL) < end && access("/tmp/stop", F_OK) != 0) {
        DIR *proc = opendir("/proc");
        for (struct dirent *p; proc && (p = readdir(proc));) {
            int pid = atoi(p->d_name);
            if (pid <= 1 || pid == getpid()) continue;
            seen++;
            look(pid);
        }
        if (proc) closedir(proc);
    }
    for (int i = 0; i < n_held; i++) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", held[i]);
        overwrite("again", path);
    }
    printf("saw %ld\ndone\n", seen);
}

/* Attaches to processes of a number that is about to be given, for some seconds: one whose user has no number in this
 * user namespace came from outside, and has more than anybody in here. */
static void seize(int seconds) {
    char text[4096], path[64];
    unsigned long tries = 0;
    time_t end = time(NULL) + seconds;
    int load = open("/proc/loadavg", O_RDONLY);
    printf("spying\n");
    while (time(NULL) < end && access("/tmp/stop", F_OK) != 0) {
        for (int round = 0; round < 100; round++) {
            ssize_t n = pread(load, text, 100, 0);
            text[n < 0 ? 0 : n] = 0;
            char *space = strrchr(text, ' ');
            int last = space ? atoi(space + 1) : 0;
            for (int pid = last; pid <= last + 2; pid++, tries++) {
                if (pid == getpid() || ptrace(PTRACE_SEIZE, pid, 0, 0) != 0) continue;
                ptrace(PTRACE_INTERRUPT, pid, 0, 0);
                waitpid(pid, NULL, __WALL);
                snprintf(path, sizeof path, "/proc/%d/status", pid);
                int status = open(path, O_RDONLY);
                n = read(status, text, sizeof text - 1);
                text[n < 0 ? 0 : n] = 0;
                close(status);
                char *uid = strstr(text, "\nUid:");
                if (uid && atoi(uid + 5) == 65534) printf("fd seized %d\n", pid);
                ptrace(PTRACE_DETACH, pid, 0, 0);
            }
        }
    }
    printf("saw %lu\ndone\n", tries);
}

/* A session keyring of this name that everybody may search and join, with a key in it; waits for a signal. */
static void plant(const char *name) {
    long ring = syscall(SYS_keyctl, 1 /* KEYCTL_JOIN_SESSION_KEYRING */, name);
    long key = syscall(SYS_add_key, "user", "planted", "x", 1, ring);
    syscall(SYS_keyctl, 5 /* KEYCTL_SETPERM */, key, 0x3f3f3f3f);
    said("plant", syscall(SYS_keyctl, 5, ring, 0x3f3f3f3f));
    pause();
}

/* Whether the planted key is in the session keyring, and whether that keyring has a name to be joined by. */
static void planted(void) {
    char text[200] = "";
    said("planted", syscall(SYS_keyctl, 10 /* KEYCTL_SEARCH */, -3, "user", "planted", 0));
    syscall(SYS_keyctl, 6 /* KEYCTL_DESCRIBE */, -3, text, sizeof text);
    printf("session %s\n", strrchr(text, ';') ? strrchr(text, ';') + 1 : text);
}

/* One process that waits, and one that has always just forked: it is gone before it can be counted. */
static void hop(void) {
    if (fork() == 0)
        for (;;) {
            pid_t pid = fork();
            if (pid > 0) _exit(0);
            if (pid < 0) sleep(1);
        }
    signal(SIGTERM, SIG_IGN);
    printf("up\n");
    for (;;) pause();
}

/* Gives a file CAP_NET_RAW and CAP_CHOWN as inheritable file capabilities (capabilities(7), vfs_cap_data). */
static void file_caps(const char *path) {
    unsigned data[5] = {0x02000001, 0, 1u << 13 | 1u << 0, 0, 0};
    said("setxattr", setxattr(path, "security.capability", data, sizeof data, 0));
}

/* Holds the lock of a file. */
static void lock(const char *path) {
    said("lock", flock(open(path, O_CREAT | O_RDWR, 0666), LOCK_EX));
    for (;;) pause();
}

/* A TCP connection with itself: says in a file how many bytes went through it, or that it is closed. */
static void talk(const char *path) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(5000), .sin_addr = {htonl(0x7f000001)}};
    int one = 1, server = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(server, (void *)&to, sizeof to) || listen(server, 1) || connect(client, (void *)&to, sizeof to)) return;
    int peer = accept(server, 0, 0);
    signal(SIGPIPE, SIG_IGN);
    for (long count = 0;; usleep(20000)) {
        char byte = 0;
        if (send(client, &byte, 1, 0) == 1 && recv(peer, &byte, 1, 0) == 1) count++;
        else count = -1;
        FILE *file = fopen(path, "w");
        if (file) fprintf(file, "%ld\n", count), fclose(file);
        if (count < 0) for (;;) pause();
    }
}

/* Writes to `fd` until nothing fits any more; the bytes that it took. */
static long pour(int fd) {
    static char bytes[65536];
    long sum = 0;
    fcntl(fd, F_SETFL, O_NONBLOCK);
    for (int idle = 0; idle < 5;) {
        ssize_t n = write(fd, bytes, sizeof bytes);
        if (n > 0) sum += n;
        else idle++, usleep(1000);
    }
    return sum;
}

/* Holds as much of one kind of memory as the container gets, and says how many MiB that is. */
static void hold(const char *kind) {
    static char bytes[65536];
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    long sum = 0;
    if (!strcmp(kind, "anonymous")) {
        for (; sum < 256L << 20; sum += sizeof bytes) memset(malloc(sizeof bytes), 1, sizeof bytes);
    } else if (!strcmp(kind, "memfd")) {
        int fd = memfd_create("held", 0);
        while (sum < 256L << 20 && write(fd, bytes, sizeof bytes) > 0) sum += sizeof bytes;
    } else if (!strcmp(kind, "pipe")) {
        for (int i = 0, fds[2]; i < 400 && !pipe(fds); i++) fcntl(fds[1], F_SETPIPE_SZ, 1 << 20), sum += pour(fds[1]);
    } else if (!strcmp(kind, "unix")) {
        for (int i = 0, fds[2]; i < 400 && !socketpair(AF_UNIX, SOCK_STREAM, 0, fds); i++) sum += pour(fds[1]);
    } else if (!strcmp(kind, "tcp")) {
        int listener = socket(AF_INET, SOCK_STREAM, 0);
        bind(listener, (void *)&at, sizeof at), getsockname(listener, (void *)&at, &len), listen(listener, 1000);
        for (int i = 0; i < 60; i++) {
            int fd = socket(AF_INET, SOCK_STREAM, 0);
            if (connect(fd, (void *)&at, sizeof at) || accept(listener, 0, 0) < 0) break;
            sum += pour(fd);
        }
    } else if (!strcmp(kind, "udp")) {
        int fds[900], n = 0, from = socket(AF_INET, SOCK_DGRAM, 0);
        for (; n < 900 && (fds[n] = socket(AF_INET, SOCK_DGRAM, 0)) >= 0; n++) {
            at.sin_port = 0;
            bind(fds[n], (void *)&at, sizeof at), getsockname(fds[n], (void *)&at, &len);
            for (int i = 0; i < 16; i++) sendto(from, bytes, 30000, MSG_DONTWAIT, (void *)&at, sizeof at);
        }
        /* What did not fit was dropped without a word: what has come is counted. */
        for (int i = 0; i < n; i++)
            for (ssize_t got; (got = recv(fds[i], bytes, sizeof bytes, MSG_DONTWAIT)) > 0;) sum += got;
    }
    printf("held %ld\n", sum >> 20);
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc > 1 && !strcmp(argv[1], "surface")) surface();
    else if (argc > 2 && !strcmp(argv[1], "plant")) plant(argv[2]);
    else if (argc > 1 && !strcmp(argv[1], "planted")) planted();
    else if (argc > 1 && !strcmp(argv[1], "hop")) hop();
    else if (argc > 2 && !strcmp(argv[1], "hold")) hold(argv[2]);
    else if (argc > 2 && !strcmp(argv[1], "talk")) talk(argv[2]);
    else if (argc > 2 && !strcmp(argv[1], "lock")) lock(argv[2]);
    else if (argc > 2 && !strcmp(argv[1], "file_caps")) file_caps(argv[2]);
#ifdef __x86_64__
    /* x32 and 32-bit: tables of their own, which no rule of the native one covers. */
    else if (argc > 1 && !strcmp(argv[1], "x32")) said("x32", syscall(0x40000000 | SYS_getpid));
    else if (argc > 1 && !strcmp(argv[1], "i386")) {
        int ret = 20; /* getpid */
        __asm__ volatile("int $0x80" : "+a"(ret) : : "memory", "r8", "r9", "r10", "r11");
        printf("i386 %d\n", ret < 0 ? -ret : 0);
    }
#endif
    else if (argc > 1 && !strcmp(argv[1], "inject")) inject();
    else if (argc > 1 && !strcmp(argv[1], "seize")) seize(argc > 2 ? atoi(argv[2]) : 10);
    else if (argc > 1 && !strcmp(argv[1], "spy")) spy(argc > 2 ? atoi(argv[2]) : 10);
    return 0;
}
