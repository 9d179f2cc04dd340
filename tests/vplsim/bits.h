/* Bits in a row, as H.264 writes them (clause 7.2), and NAL units around them (7.3.1). */
#ifndef VPLSIM_BITS_H
#define VPLSIM_BITS_H

#include <stddef.h>
#include <stdint.h>

struct bits {
    uint8_t *data; /* the caller's, large enough */
    size_t size;   /* whole bytes written */
    unsigned held; /* bits not yet written, right-aligned */
    unsigned holds;
};

void bits_u(struct bits *bits, unsigned count, uint32_t value);
void bits_ue(struct bits *bits, uint32_t value);
void bits_align_zero(struct bits *bits);
/* rbsp_trailing_bits: a one, then zeros to the end of the byte. */
void bits_end(struct bits *bits);

/*
 * Append a NAL unit with start code and emulation prevention; returns the new `size` of `out`.
 * It grows by at most `nal_worst(length)`.
 */
size_t nal_append(uint8_t *out, size_t size, unsigned ref_idc, unsigned type, const uint8_t *payload, size_t length);
size_t nal_worst(size_t length);

#endif
