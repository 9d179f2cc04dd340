/* Faults on order: what shall go wrong in a session, and at which frame. */
#ifndef VPLSIM_FAULT_H
#define VPLSIM_FAULT_H

#include <stdbool.h>

enum fault_name {
    FAULT_DESC,
    FAULT_HANGLOAD,
    FAULT_SESSION,
    FAULT_QUERY,
    FAULT_IOSURF,
    FAULT_INIT,
    FAULT_HANGINIT,
    FAULT_PARAM,
    FAULT_NOHDR,
    FAULT_ASYNC,
    FAULT_BUSY,
    FAULT_HANG,
    FAULT_CRASH,
    FAULT_DROP,
    FAULT_GARBLE,
    FAULT_EXEC,
    FAULT_HANGSYNC,
    FAULT_SYNC,
    FAULT_SYNCQUIET,
    FAULT_NODATA,
    FAULT_TRUNC,
    FAULT_BADPTS,
    FAULT_NAMES
};

struct fault {
    bool set;
    int code;
    long frame; /* the first frame it strikes, from 1 */
    long left;  /* how often it still strikes; -1 = always */
};

struct faults {
    struct fault of[FAULT_NAMES];
};

/*
 * Read VPLSIM_FAULT and the file VPLSIM_FAULT_FILE, whose content is of the same form; a missing file is no fault.
 * False, and a line on stderr, when something there means nothing: a test with a slip of the pen must not pass.
 */
bool faults_read(struct faults *faults);

/* Whether the fault strikes at this frame (0: the call is about no frame); counts the strike. */
bool fault_strikes(struct faults *faults, enum fault_name name, long frame);

/* Never return, as a driver does that waits for a GPU without an end. */
_Noreturn void fault_hang(void);

#endif
