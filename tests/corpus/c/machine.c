/* What the C library makes of the clocks, of random numbers, of the environment, of waiting, and of files. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void show(const char *what, int result)
{
    printf("%s: %d %s\n", what, result, result < 0 ? strerror(errno) : "ok");
}

int main(int argc, char **argv)
{
    for (int i = 0; i < argc; i++)
        printf("%d %s\n", i, argv[i]);
    printf("%s %s\n", getenv("LANG") ? getenv("LANG") : "no LANG", getenv("HOME") ? getenv("HOME") : "no HOME");

    struct timespec now;
    show("realtime", clock_gettime(CLOCK_REALTIME, &now));
    printf("%lld.%09ld\n", (long long)now.tv_sec, now.tv_nsec);
    show("monotonic", clock_gettime(CLOCK_MONOTONIC, &now));
    printf("%lld.%09ld\n", (long long)now.tv_sec, now.tv_nsec);
    time_t seconds = time(NULL);
    struct tm *parts = gmtime(&seconds);
    char text[64];
    strftime(text, sizeof text, "%A %d %B %Y %H:%M:%S", parts);
    puts(text);
    struct timespec pause = {3600, 500};
    show("nanosleep", nanosleep(&pause, NULL));
    show("monotonic", clock_gettime(CLOCK_MONOTONIC, &now));
    printf("%lld.%09ld\n", (long long)now.tv_sec, now.tv_nsec);

    unsigned char bytes[48];
    show("getentropy", getentropy(bytes, sizeof bytes));
    for (size_t i = 0; i < sizeof bytes; i++)
        printf("%02x", bytes[i]);
    printf("\n");

    struct pollfd fds[] = {{0, POLLIN, 0}, {1, POLLOUT, 0}, {2, POLLIN, 0}};
    show("poll", poll(fds, 3, 1000));
    printf("%d %d %d\n", fds[0].revents, fds[1].revents, fds[2].revents);
    show("poll nothing", poll(fds, 0, 1000));

    struct stat stat;
    show("open", open("file", O_RDONLY));
    show("stat", fstat(0, &stat));
    printf("%d %lld\n", (int)stat.st_mode, (long long)stat.st_size);
    show("lseek", (int)lseek(1, 0, SEEK_SET));
    show("isatty", isatty(1));
    show("write to input", (int)write(0, "x", 1));
    show("read from output", (int)read(1, bytes, 1));
    char letter;
    while (read(0, &letter, 1) == 1)
        putchar(letter);
    show("close", close(0));
    show("read", (int)read(0, &letter, 1));
    fflush(stdout);
    _Exit(argc > 1 ? atoi(argv[1]) : 0);
}
