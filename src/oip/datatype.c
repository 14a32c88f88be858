/* SPDX-License-Identifier: Apache-2.0 */
#include "oip/datatype.h"

static const struct {
    const char *name;
    uint8_t width, contents;
} types[] = {
    [DT_UNKNOWN] = {"", 0, 0},      [DT_BOOL] = {"BOOL", 1, 1},     [DT_UINT8] = {"UINT8", 1, 4},
    [DT_UINT16] = {"UINT16", 2, 4}, [DT_UINT32] = {"UINT32", 4, 4}, [DT_UINT64] = {"UINT64", 8, 5},
    [DT_INT8] = {"INT8", 1, 2},     [DT_INT16] = {"INT16", 2, 2},   [DT_INT32] = {"INT32", 4, 2},
    [DT_INT64] = {"INT64", 8, 3},   [DT_FP16] = {"FP16", 2, 6},     [DT_FP32] = {"FP32", 4, 6},
    [DT_FP64] = {"FP64", 8, 7},     [DT_BF16] = {"BF16", 2, 6},     [DT_BYTES] = {"BYTES", 0, 8},
};

enum datatype datatype_of(struct str name)
{
    for (size_t i = 1; i < countof(types); i++)
        if (str_is(name, types[i].name)) return (enum datatype)i;
    return DT_UNKNOWN;
}

struct str datatype_name(enum datatype t)
{
    return str_of(types[t].name);
}

size_t datatype_width(enum datatype t)
{
    return types[t].width;
}

uint32_t datatype_contents_field(enum datatype t)
{
    return types[t].contents;
}

static float float_of_bits(uint32_t u)
{
    float f;

    memcpy(&f, &u, sizeof f);
    return f;
}

static uint32_t float_bits(float f)
{
    uint32_t u;

    memcpy(&u, &f, sizeof u);
    return u;
}

float half_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, fraction = h & 1023;

    if (exponent == 31) return float_of_bits(sign | 0x7f800000 | fraction << 13);
    if (exponent) return float_of_bits(sign | (exponent + 112) << 23 | fraction << 13);
    return float_of_bits(sign | float_bits((float)fraction * 0x1p-24f));
}

uint16_t half_of_float(float f)
{
    uint32_t u = float_bits(f), magnitude = u & 0x7fffffff;
    uint16_t sign = (uint16_t)(u >> 16 & 0x8000);

    if (magnitude > 0x7f800000) return sign | 0x7e00 | (uint16_t)(magnitude >> 13 & 0x1ff);
    if (magnitude >= 0x477ff000) return sign | 0x7c00; /* 65520 and more rounds to infinity */
    if (magnitude < 0x38800000) {                      /* below 2^-14: adding 0.5 rounds at 2^-24 */
        uint32_t subnormal = float_bits(float_of_bits(magnitude) + 0.5f) - float_bits(0.5f);

        return sign | (uint16_t)subnormal;
    }
    magnitude += 0xfff + (magnitude >> 13 & 1);
    return sign | (uint16_t)((magnitude - (112u << 23)) >> 13);
}

float bfloat_to_float(uint16_t h)
{
    return float_of_bits((uint32_t)h << 16);
}

uint16_t bfloat_of_float(float f)
{
    uint32_t u = float_bits(f);

    if ((u & 0x7fffffff) > 0x7f800000) return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}
