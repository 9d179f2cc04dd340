#define _GNU_SOURCE
#include "fault.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "trace.h"
#include "vpl.h"

enum { HAS_CODE = 1, HAS_FRAME = 2 };

static const struct {
    const char *name;
    int takes;
    int code; /* when none is given */
} grammar[FAULT_NAMES] = {
    [FAULT_DESC] = {"desc", 0, 0},
    [FAULT_HANGLOAD] = {"hangload", 0, 0},
    [FAULT_SESSION] = {"session", HAS_CODE, MFX_ERR_DEVICE_FAILED},
    [FAULT_QUERY] = {"query", HAS_CODE, MFX_ERR_UNSUPPORTED},
    [FAULT_IOSURF] = {"iosurf", HAS_CODE, MFX_ERR_UNSUPPORTED},
    [FAULT_INIT] = {"init", HAS_CODE, MFX_ERR_DEVICE_FAILED},
    [FAULT_HANGINIT] = {"hanginit", 0, 0},
    [FAULT_PARAM] = {"param", HAS_CODE, MFX_ERR_NOT_INITIALIZED},
    [FAULT_NOHDR] = {"nohdr", 0, 0},
    [FAULT_ASYNC] = {"async", HAS_CODE | HAS_FRAME, MFX_ERR_DEVICE_FAILED},
    [FAULT_BUSY] = {"busy", HAS_FRAME, 0},
    [FAULT_HANG] = {"hang", HAS_FRAME, 0},
    [FAULT_CRASH] = {"crash", HAS_FRAME, 0},
    [FAULT_DROP] = {"drop", HAS_FRAME, 0},
    [FAULT_GARBLE] = {"garble", HAS_FRAME, 0},
    [FAULT_EXEC] = {"exec", HAS_FRAME, 0},
    [FAULT_HANGSYNC] = {"hangsync", HAS_FRAME, 0},
    [FAULT_SYNC] = {"sync", HAS_CODE | HAS_FRAME, MFX_ERR_GPU_HANG},
    [FAULT_SYNCQUIET] = {"syncquiet", HAS_CODE | HAS_FRAME, MFX_ERR_GPU_HANG},
    [FAULT_NODATA] = {"nodata", HAS_FRAME, 0},
    [FAULT_TRUNC] = {"trunc", HAS_FRAME, 0},
    [FAULT_BADPTS] = {"badpts", HAS_CODE | HAS_FRAME, 90000},
};

/* Read "<sign><number>" when it comes next; false when the sign is there and the number is not. */
static bool number_after(const char **text, char sign, long *number)
{
    char *end;

    if (**text != sign)
        return true;
    *number = strtol(*text + 1, &end, 10);
    if (end == *text + 1)
        return false;
    *text = end;
    return true;
}

static bool parse_one(struct faults *faults, const char *text)
{
    size_t length = strspn(text, "abcdefghijklmnopqrstuvwxyz");
    const char *rest = text + length;

    for (int name = 0; name < FAULT_NAMES; name++) {
        if (strlen(grammar[name].name) != length || strncmp(grammar[name].name, text, length) != 0)
            continue;
        long code = grammar[name].code, frame = 0, count = -1;
        bool has_code = *rest == '=';
        if (!number_after(&rest, '=', &code))
            return false;
        bool has_frame = *rest == '@';
        if (!number_after(&rest, '@', &frame) || !number_after(&rest, 'x', &count) || *rest != '\0')
            return false;
        if (has_code && !(grammar[name].takes & HAS_CODE))
            return false;
        if (has_frame && (!(grammar[name].takes & HAS_FRAME) || frame < 1))
            return false;
        faults->of[name] = (struct fault){.set = true, .code = (int)code, .frame = frame, .left = count};
        return true;
    }
    return false;
}

static bool parse(struct faults *faults, char *text)
{
    char *next = NULL;

    for (char *one = strtok_r(text, ", \t\r\n", &next); one != NULL; one = strtok_r(NULL, ", \t\r\n", &next)) {
        if (!parse_one(faults, one)) {
            fprintf(stderr, "vplsim: \"%s\" is no fault (VPLSIM_FAULT, VPLSIM_FAULT_FILE)\n", one);
            return false;
        }
    }
    return true;
}

bool faults_read(struct faults *faults)
{
    char text[1024] = "";
    const char *given = getenv("VPLSIM_FAULT");
    const char *path = getenv("VPLSIM_FAULT_FILE");

    memset(faults, 0, sizeof *faults);
    if (given != NULL) {
        if (strlen(given) >= sizeof text) {
            fprintf(stderr, "vplsim: VPLSIM_FAULT is too long\n");
            return false;
        }
        strcpy(text, given);
        if (!parse(faults, text))
            return false;
    }
    FILE *file = path != NULL && *path != '\0' ? fopen(path, "re") : NULL;
    if (file == NULL)
        return true;
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    return parse(faults, text);
}

bool fault_strikes(struct faults *faults, enum fault_name name, long frame)
{
    struct fault *fault = &faults->of[name];

    if (!fault->set || frame < fault->frame || fault->left == 0)
        return false;
    if (fault->left > 0)
        fault->left--;
    return true;
}

_Noreturn void fault_hang(void)
{
    for (;;)
        pause();
}

/* A library may already hang while it is loaded, in its constructors. */
__attribute__((constructor)) static void loaded(void)
{
    struct faults faults;

    if (faults_read(&faults) && faults.of[FAULT_HANGLOAD].set) {
        trace(0, "load hangs");
        fault_hang();
    }
}
