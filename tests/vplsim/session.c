#include "session.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "trace.h"

static unsigned next_number(void)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static unsigned sessions;

    pthread_mutex_lock(&lock);
    unsigned number = ++sessions;
    pthread_mutex_unlock(&lock);
    return number;
}

mfxVersion session_version(void)
{
#ifdef VPLSIM_LEGACY
    return (mfxVersion){{.Major = 1, .Minor = 35}};
#else
    return (mfxVersion){{.Major = 2, .Minor = 8}};
#endif
}

static mfxStatus open_with(struct _mfxSession *session)
{
    const char *codec = getenv("VPLSIM_CODEC");

    if (!faults_read(&session->faults))
        return MFX_ERR_UNKNOWN;
    session->platform = platform_chosen();
    if (session->platform == NULL)
        return MFX_ERR_UNKNOWN;
    session->h264.free_of_cost = codec != NULL && strcmp(codec, "free") == 0;
    if (codec != NULL && *codec != '\0' && strcmp(codec, "pcm") != 0 && !session->h264.free_of_cost) {
        fprintf(stderr, "vplsim: there is no codec \"%s\" (VPLSIM_CODEC)\n", codec);
        return MFX_ERR_UNKNOWN;
    }
    if (session->h264.free_of_cost && session->faults.of[FAULT_GARBLE].set) {
        fprintf(stderr, "vplsim: the codec \"free\" has no pixels to garble\n");
        return MFX_ERR_UNKNOWN;
    }
    if (!platform_has_runtime(session->platform))
        return MFX_ERR_UNSUPPORTED;
    if (fault_strikes(&session->faults, FAULT_SESSION, 0))
        return session->faults.of[FAULT_SESSION].code;
    session->place = place_take();
    return session->place == PLACE_NONE ? MFX_ERR_MEMORY_ALLOC : MFX_ERR_NONE;
}

mfxStatus session_open(mfxSession *out)
{
    struct _mfxSession *session = calloc(1, sizeof *session);

    *out = NULL;
    if (session == NULL)
        return MFX_ERR_MEMORY_ALLOC;
    session->number = next_number();
    mfxStatus status = open_with(session);
    const char *platform = session->platform == NULL ? "?" : session->platform->name;
    trace(session->number, "open platform=%s codec=%s -> %d", platform, session->h264.free_of_cost ? "free" : "pcm",
          status);
    if (status != MFX_ERR_NONE) {
        free(session);
        return status;
    }
    *out = session;
    return MFX_ERR_NONE;
}

static void free_pictures(struct picture **list)
{
    while (*list != NULL) {
        struct picture *picture = *list;
        *list = picture->next;
        free(picture->pixels);
        free(picture);
    }
}

void encoder_close(mfxSession session)
{
    free_pictures(&session->order.waiting);
    free_pictures(&session->order.ready);
    free_pictures(&session->tasks);
    free_pictures(&session->spare);
    free(session->scratch);
    session->scratch = NULL;
    session->order = (struct order){0};
    session->initialised = false;
}

void session_close(mfxSession session)
{
    trace(session->number, "close frames=%ld -> 0", session->frames);
    encoder_close(session);
    place_give_back(session->place);
    free(session);
}
