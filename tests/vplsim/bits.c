#include "bits.h"

#include <string.h>

void bits_u(struct bits *bits, unsigned count, uint32_t value)
{
    while (count-- > 0) {
        bits->held = bits->held << 1 | (value >> count & 1);
        if (++bits->holds == 8) {
            bits->data[bits->size++] = (uint8_t)bits->held;
            bits->held = bits->holds = 0;
        }
    }
}

void bits_ue(struct bits *bits, uint32_t value)
{
    unsigned length = 0;

    while (((value + 1) >> length) > 1)
        length++;
    bits_u(bits, length, 0);
    bits_u(bits, length + 1, value + 1);
}

void bits_align_zero(struct bits *bits)
{
    if (bits->holds > 0)
        bits_u(bits, 8 - bits->holds, 0);
}

void bits_end(struct bits *bits)
{
    bits_u(bits, 1, 1);
    bits_align_zero(bits);
}

size_t nal_worst(size_t length)
{
    return 5 + length + length / 2 + 1;
}

size_t nal_append(uint8_t *out, size_t size, unsigned ref_idc, unsigned type, const uint8_t *payload, size_t length)
{
    const uint8_t start[] = {0, 0, 0, 1, (uint8_t)(ref_idc << 5 | type)};
    const uint8_t *end = payload + length;

    memcpy(out + size, start, sizeof start);
    size += sizeof start;
    /* Zeros are rare in pictures, so look for them with the fastest tool and copy what lies between. */
    while (payload < end) {
        const uint8_t *zero = memchr(payload, 0, (size_t)(end - payload));
        size_t run = zero == NULL ? (size_t)(end - payload) : (size_t)(zero - payload) + 1;
        memcpy(out + size, payload, run);
        size += run;
        payload += run;
        if (zero != NULL && payload < end && *payload == 0) {
            out[size++] = *payload++;
            if (payload < end && *payload <= 3)
                out[size++] = 3;
        }
    }
    return size;
}
