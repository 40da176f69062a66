// Runs a command one instruction at a time, with all processes that it forks, and prints where its own program has been:
// the addresses below each other, first visit first, one for each 16 bytes. scripts/order compiles it.
//
//   order START END COMMAND...     START and END of the program's code, in hexadecimal
//
// A process is followed until it executes another program, and none longer than the first.

#define _GNU_SOURCE
#include <elf.h>
#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __x86_64__
#define PC rip
#else
#define PC pc
#endif

static unsigned long start, end;
static unsigned char *seen;
static pid_t others[64];
static int count;

// Lets a process go on at its own pace: only one that has stopped can be let go.
static void leave(pid_t pid) {
    kill(pid, SIGSTOP);
    if (waitpid(pid, NULL, __WALL) == pid) ptrace(PTRACE_DETACH, pid, 0, 0);
    // It may have stopped for another reason, with this signal still to come.
    kill(pid, SIGCONT);
}

static void visit(pid_t pid) {
    struct user_regs_struct regs;
    struct iovec to = { &regs, sizeof regs };
    if (ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &to)) return;
    unsigned long at = regs.PC;
    if (at < start || at >= end || seen[(at - start) >> 4]) return;
    seen[(at - start) >> 4] = 1;
    printf("%lx\n", at);
}

int main(int argc, char **argv) {
    if (argc < 4) errx(2, "see the source");
    start = strtoul(argv[1], NULL, 16), end = strtoul(argv[2], NULL, 16);
    seen = calloc(((end - start) >> 4) + 1, 1);
    pid_t first = fork();
    if (!first) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        // What the command prints is not an address.
        dup2(2, 1);
        execv(argv[3], argv + 3);
        err(1, "%s", argv[3]);
    }
    int status, began = 0;
    pid_t pid;
    while ((pid = waitpid(-1, &status, __WALL)) > 0 || errno == EINTR) {
        if (WIFEXITED(status) && pid == first) {
            for (int i = 0; i < count; i++) if (others[i]) leave(others[i]);
            return WEXITSTATUS(status);
        }
        int known = pid == first;
        for (int i = 0; i < count; i++) {
            known |= others[i] == pid;
            if (others[i] == pid && (!WIFSTOPPED(status) || status >> 16 == PTRACE_EVENT_EXEC)) others[i] = 0;
        }
        if (!WIFSTOPPED(status)) continue;
        if (!known && count < 64) others[count++] = pid;
        int signal = WSTOPSIG(status), event = status >> 16;
        if (pid == first && !began) {
            began = 1, signal = 0;
            long follow = PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC;
            ptrace(PTRACE_SETOPTIONS, pid, 0, follow);
        } else if (event == PTRACE_EVENT_EXEC) {
            ptrace(PTRACE_DETACH, pid, 0, 0);
            continue;
        } else if (event || signal == SIGTRAP || signal == SIGSTOP) {
            // A step, a new process, or the stop that a new process begins with.
            signal = 0;
        }
        visit(pid);
        ptrace(PTRACE_SINGLESTEP, pid, 0, signal);
    }
    return 1;
}
