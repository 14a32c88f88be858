/* oip/datatype.h - the element types of the Open Inference Protocol V2 and what one element looks like.
 *
 * "Raw" everywhere in oip/ means: little endian, row major, the element's own width (FP16 and BF16 are 2 bytes); a
 * BYTES element is its length as 4 bytes, then that many bytes. Pure. Used by: oip/, flow, gateway, upstream.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/bytes.h"

enum datatype {
    DT_UNKNOWN = 0,         /* not one of the protocol's names; such a tensor can only be passed on */
    DT_BOOL,
    DT_UINT8, DT_UINT16, DT_UINT32, DT_UINT64,
    DT_INT8, DT_INT16, DT_INT32, DT_INT64,
    DT_FP16, DT_FP32, DT_FP64,
    DT_BF16,
    DT_BYTES
};

enum datatype datatype_of(struct str name);                      /* "FP32", case matters */
struct str    datatype_name(enum datatype t);                    /* "" for DT_UNKNOWN */
size_t        datatype_width(enum datatype t);                   /* bytes of one raw element; 0 for BYTES and unknown */

/* Field number inside InferTensorContents (spec 10.2); FP16 and BF16 travel as fp32_contents. 0 for unknown. */
uint32_t datatype_contents_field(enum datatype t);

float    half_to_float(uint16_t h);
uint16_t half_of_float(float f);                                 /* nearest even; too large becomes infinity */
float    bfloat_to_float(uint16_t h);
uint16_t bfloat_of_float(float f);
