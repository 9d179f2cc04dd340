/* The one video engine that all sessions share, and the places that sessions take. */
#ifndef VPLSIM_ENGINE_H
#define VPLSIM_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Put one picture at the end of the engine's work; returns when it will be done, in ns of CLOCK_MONOTONIC.
 * VPLSIM_MS is its price in milliseconds. With VPLSIM_STATE, a folder, the engine is that of all processes.
 */
int64_t engine_submit(void);

/* Sleep until then, but no longer than `limit_ms`; whether it is done. */
bool engine_wait(int64_t done_ns, unsigned limit_ms);

enum { PLACE_NONE = -1, PLACE_UNLIMITED = -2, PLACE_COUNTED = -3 };

/*
 * Take one of VPLSIM_SESSIONS places; PLACE_NONE when all are taken. With VPLSIM_STATE they are counted over all
 * processes, and a process that is killed gives its places back.
 */
int place_take(void);
void place_give_back(int place);

#endif
