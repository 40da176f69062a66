// Runs commands in turn and says what each run took. scripts/bench compiles it.
//
//   bench-runs pairs ROUNDS            commands from stdin, one a line; one run of each in every round
//   bench-runs rate JOBS SECONDS CMD   CMD with JOBS at a time; {} becomes a number of its own
//
// pairs prints for each run: command (from 0), wall ms, cpu ms, page faults, peak RSS in KiB, exit code. The figures
// are the kernel's for the process and for all below it that was waited for (wait4(2)). rate prints runs a second.

#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;
static posix_spawn_file_actions_t quiet;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

// Splits at spaces; the words stay in `line`.
static char **words(char *line) {
    char **argv = calloc(strlen(line) / 2 + 2, sizeof *argv), *word;
    for (int i = 0; (word = strsep(&line, " \n"));) if (*word) argv[i++] = word;
    return argv;
}

static pid_t start(char **argv) {
    pid_t pid;
    if (posix_spawn(&pid, argv[0], &quiet, NULL, argv, environ)) err(1, "%s", argv[0]);
    return pid;
}

static double ms(struct timeval t) { return t.tv_sec * 1e3 + t.tv_usec / 1e3; }

static void pairs(int rounds) {
    char *line = NULL, **commands[64];
    size_t size = 0;
    int n = 0, status;
    while (n < 64 && getline(&line, &size, stdin) > 1) commands[n++] = words(strdup(line));
    for (int round = 0; round < rounds; round++) {
        for (int i = 0; i < n; i++) {
            // Another command begins each round, and every second one goes backwards: what a run leaves to the kernel
            // (namespaces and groups that go) slows the next one.
            int c = (i + round / 2) % n;
            if (round % 2) c = n - 1 - c;
            struct rusage used;
            double begin = now();
            pid_t pid = start(commands[c]);
            if (wait4(pid, &status, 0, &used) != pid) err(1, "wait4");
            printf("%d %.4f %.3f %ld %ld %d\n", c, now() - begin, ms(used.ru_utime) + ms(used.ru_stime),
                used.ru_minflt + used.ru_majflt, used.ru_maxrss, WIFEXITED(status) ? WEXITSTATUS(status) : 255);
        }
    }
}

static void rate(int jobs, double seconds, const char *command) {
    double begin = now(), end = begin + seconds * 1e3;
    int started = 0, running = 0, done = 0, status;
    while (now() < end || running) {
        while (running < jobs && now() < end) {
            char line[4096], *at = strstr(command, "{}");
            if (at) snprintf(line, sizeof line, "%.*s%d%s", (int)(at - command), command, started, at + 2);
            else snprintf(line, sizeof line, "%s", command);
            char **argv = words(line);
            start(argv);
            free(argv);
            started++, running++;
        }
        if (wait(&status) > 0) {
            if (status) errx(1, "failed: %s", command);
            running--, done++;
        }
    }
    printf("%.1f\n", done / (now() - begin) * 1e3);
}

int main(int argc, char **argv) {
    posix_spawn_file_actions_init(&quiet);
    posix_spawn_file_actions_addopen(&quiet, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&quiet, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&quiet, 2, "/dev/null", O_WRONLY, 0);
    if (argc == 3 && !strcmp(argv[1], "pairs")) pairs(atoi(argv[2]));
    else if (argc == 5 && !strcmp(argv[1], "rate")) rate(atoi(argv[2]), atof(argv[3]), argv[4]);
    else errx(2, "see the source");
}
