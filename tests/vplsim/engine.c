#define _GNU_SOURCE
#include "engine.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

enum { NS_PER_S = 1000000000, NS_PER_MS = 1000000 };
/* Nobody queues this much; a state folder from before a reboot holds times of another clock. */
static const int64_t longest_queue_ns = 60LL * NS_PER_S;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int64_t free_at_ns;
static int places_taken;

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

/* Open and lock a file of the state folder; -1 when there is none, or somebody else holds it and we do not wait. */
static int locked_file(const char *name, bool wait)
{
    const char *folder = getenv("VPLSIM_STATE");
    char path[4096];

    if (folder == NULL || *folder == '\0')
        return -1;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (file < 0) {
        fprintf(stderr, "vplsim: %s: cannot be opened (VPLSIM_STATE), errno %d\n", path, errno);
        return -1;
    }
    while (flock(file, wait ? LOCK_EX : LOCK_EX | LOCK_NB) < 0) {
        if (errno == EINTR)
            continue;
        close(file);
        return -1;
    }
    return file;
}

int64_t engine_submit(void)
{
    const char *given = getenv("VPLSIM_MS");
    int64_t price_ns = given == NULL ? 0 : (int64_t)(strtod(given, NULL) * NS_PER_MS);

    if (price_ns <= 0)
        return 0;
    pthread_mutex_lock(&lock);
    int file = locked_file("engine", true);
    if (file >= 0 && pread(file, &free_at_ns, sizeof free_at_ns, 0) != (ssize_t)sizeof free_at_ns)
        free_at_ns = 0;
    int64_t now = now_ns();
    if (free_at_ns < now || free_at_ns > now + longest_queue_ns)
        free_at_ns = now;
    free_at_ns += price_ns;
    int64_t done = free_at_ns;
    if (file >= 0) {
        if (pwrite(file, &done, sizeof done, 0) < 0)
            perror("vplsim: engine");
        close(file);
    }
    pthread_mutex_unlock(&lock);
    return done;
}

bool engine_wait(int64_t done_ns, unsigned limit_ms)
{
    if (done_ns == 0)
        return true;
    int64_t until_ns = now_ns() + (int64_t)limit_ms * NS_PER_MS;
    bool done = done_ns <= until_ns;

    if (done)
        until_ns = done_ns;
    struct timespec until = {.tv_sec = (time_t)(until_ns / NS_PER_S), .tv_nsec = (long)(until_ns % NS_PER_S)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
        continue;
    return done;
}

int place_take(void)
{
    const char *given = getenv("VPLSIM_SESSIONS");
    const char *folder = getenv("VPLSIM_STATE");
    int taken = PLACE_NONE;

    if (given == NULL || *given == '\0')
        return PLACE_UNLIMITED;
    int places = atoi(given);
    if (folder != NULL && *folder != '\0') {
        for (int place = 0; place < places && taken < 0; place++) {
            char name[32];
            snprintf(name, sizeof name, "session-%d", place);
            taken = locked_file(name, false);
        }
        return taken;
    }
    pthread_mutex_lock(&lock);
    if (places_taken < places) {
        places_taken++;
        taken = PLACE_COUNTED;
    }
    pthread_mutex_unlock(&lock);
    return taken;
}

void place_give_back(int place)
{
    if (place >= 0) {
        close(place);
    } else if (place == PLACE_COUNTED) {
        pthread_mutex_lock(&lock);
        places_taken--;
        pthread_mutex_unlock(&lock);
    }
}
