// SPDX-License-Identifier: GPL-3.0-or-later
// Copyright: the hull.engine authors
//
// What the kernel alone takes for a container: new namespaces, an overlay, pivot_root, execve, the end.
//
//     floor DIRECTORY COMMAND [ARGUMENT ...]
//
// DIRECTORY holds lower (the root file system), upper, work and root, all on one file system. No cgroup, no device
// nodes, no filter, no log: nothing that an engine is for. The benchmark compiles it where there is a compiler.
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void check(int result, const char *what)
{
    if (result < 0) {
        perror(what);
        _exit(1);
    }
}

static int run(char **arguments)
{
    char options[4096];
    snprintf(options, sizeof options, "lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work", arguments[0], arguments[0],
             arguments[0]);
    check(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "private mounts");
    check(chdir(arguments[0]), "chdir");
    check(mount("overlay", "root", "overlay", 0, options), "mount overlay");
    check(chdir("root"), "chdir root");
    check(mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL), "mount proc");
    check(syscall(SYS_pivot_root, ".", "."), "pivot_root");
    check(umount2(".", MNT_DETACH), "detach the host's root");
    execv(arguments[1], arguments + 1);
    perror(arguments[1]);
    return 127;
}

int main(int count, char **arguments)
{
    if (count < 3) {
        fputs("floor DIRECTORY COMMAND [ARGUMENT ...]\n", stderr);
        return 2;
    }
    unsigned long flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
    pid_t pid = (pid_t)syscall(SYS_clone, flags | 17 /* SIGCHLD */, NULL, NULL, NULL, 0);
    check(pid, "clone");
    if (pid == 0)
        _exit(run(arguments + 1));
    int status;
    check(waitpid(pid, &status, 0), "wait");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
