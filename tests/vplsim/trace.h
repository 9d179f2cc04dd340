/* The record of calls: a line each in the file named by VPLSIM_TRACE. */
#ifndef VPLSIM_TRACE_H
#define VPLSIM_TRACE_H

/* Write "<pid> <session> <the text>"; nothing without VPLSIM_TRACE. Errno is kept. */
void trace(unsigned session, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
