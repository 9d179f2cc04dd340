/* Intel's VPL interface as this library exports it: everything the headers declare is visible, nothing else is. */
#ifndef VPLSIM_VPL_H
#define VPLSIM_VPL_H

#pragma GCC visibility push(default)
#include <vpl/mfx.h>
#pragma GCC visibility pop

#endif
