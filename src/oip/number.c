/* Numbers to text and back.
 *
 * Text to float is the method of Lemire ("Number Parsing at a Gigabyte per Second", 2021): one or
 * two multiplications of the digits with a 128-bit power of ten give the mantissa; what it cannot
 * decide (more than 19 digits that matter) goes to strtod. Float to text is Giulietti's Schubfach
 * (2020): the rounding interval of the value is scaled by a power of ten so that it holds one to a
 * few integers, and the shortest, then nearest, is taken. It only asks for mantissa and exponent,
 * so the same function serves 32 and 64 bits.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "oip/number.h"
#include "oip/json.h"
#include "pow10.h"
#include <math.h>

/* ---- reading ---- */

static const char *read_digits(const char *p, const char *end, struct decimal *d,
                               unsigned *significant, bool fraction)
{
    for (; p < end && *p >= '0' && *p <= '9'; p++) {
        if (*significant < 19) {
            d->digits = d->digits * 10 + (uint64_t)(*p - '0');
            *significant += d->digits != 0;
            d->exponent -= fraction;
        } else {
            d->cut = d->cut || *p != '0';
            d->exponent += !fraction;
        }
    }
    return p;
}

static const char *read_exponent(const char *p, const char *end, struct decimal *d)
{
    bool negative = p < end && *p == '-';
    int64_t v = 0;
    const char *first;

    p += p < end && (*p == '-' || *p == '+');
    first = p;
    for (; p < end && *p >= '0' && *p <= '9'; p++)
        v = MIN(v * 10 + (*p - '0'), (int64_t)1000000);
    d->exponent += negative ? -v : v;
    return p == first ? NULL : p;
}

const char *decimal_read(const char *p, const char *end, struct decimal *ret)
{
    const char *start = p, *first;
    unsigned significant = 0;

    *ret = (struct decimal){.negative = p < end && *p == '-'};
    p += ret->negative;
    first = p;
    if (p == end || *p < '0' || *p > '9') return NULL;
    p = *p == '0' ? p + 1 : read_digits(p, end, ret, &significant, false);
    if (p == first) return NULL;
    if (p < end && *p == '.') {
        first = ++p;
        p = read_digits(p, end, ret, &significant, true);
        if (p == first) return NULL;
    }
    if (p < end && (*p == 'e' || *p == 'E') && !(p = read_exponent(p + 1, end, ret))) return NULL;
    ret->text = (struct str){start, (size_t)(p - start)};
    return ret->text.n > NUMBER_TEXT_MAX ? NULL : p;
}

static double by_strtod(const struct decimal *d)
{
    char text[NUMBER_TEXT_MAX + 1];

    memcpy(text, d->text.p, d->text.n);
    text[d->text.n] = 0;
    return strtod(text, NULL);
}

static float by_strtof(const struct decimal *d)
{
    char text[NUMBER_TEXT_MAX + 1];

    memcpy(text, d->text.p, d->text.n);
    text[d->text.n] = 0;
    return strtof(text, NULL);
}

struct format {
    int bits; /* of the stored mantissa */
    int bias;
    int exponent_max;       /* the one of infinity */
    int q_min, q_max;       /* decimal exponents outside are zero or infinity for every mantissa */
    int even_min, even_max; /* where a product can be exactly half way */
};
static const struct format fp64 = {52, 1023, 2047, -342, 308, -4, 23};
static const struct format fp32 = {23, 127, 255, -64, 38, -17, 10};

/* The leading 128 bits of 10^q, rounded up for negative q and down otherwise, as the proof of the
 * method wants them. */
static void power_of_ten(int64_t q, uint64_t *hi, uint64_t *lo)
{
    *hi = pow10_table[q - POW10_FIRST].hi;
    *lo = pow10_table[q - POW10_FIRST].lo;
    if (q <= 55) return;
    *hi -= *lo == 0;
    *lo -= 1;
}

/* Magnitude of w * 10^q as the bits of the format. w > 0. */
static uint64_t binary_of(uint64_t w, int64_t q, const struct format *f)
{
    uint64_t hi, lo, mantissa, infinity = (uint64_t)f->exponent_max << f->bits;
    unsigned __int128 product;
    int zeros, upper, shift;
    int64_t exponent;

    if (q < f->q_min) return 0;
    if (q > f->q_max) return infinity;
    zeros = __builtin_clzll(w);
    w <<= zeros;
    power_of_ten(q, &hi, &lo);
    product = (unsigned __int128)w * hi;
    if (((uint64_t)(product >> 64) & (UINT64_MAX >> (f->bits + 3))) == UINT64_MAX >> (f->bits + 3))
        product += (uint64_t)(((unsigned __int128)w * lo) >> 64);
    hi = (uint64_t)(product >> 64);
    lo = (uint64_t)product;
    upper = (int)(hi >> 63);
    shift = upper + 64 - f->bits - 3;
    mantissa = hi >> shift;
    exponent = ((217706 * q) >> 16) + 63 + upper - zeros + f->bias;
    if (exponent <= 0) {
        if (exponent <= -63) return 0;
        mantissa >>= 1 - exponent;
        return (mantissa + (mantissa & 1)) >> 1;
    }
    if (lo <= 1 && q >= f->even_min && q <= f->even_max && (mantissa & 3) == 1 &&
        mantissa << shift == hi)
        mantissa &= ~1ULL;
    mantissa = (mantissa + (mantissa & 1)) >> 1;
    if (mantissa >= 2ULL << f->bits) {
        mantissa = 1ULL << f->bits;
        exponent++;
    }
    if (exponent >= f->exponent_max) return infinity;
    return (uint64_t)exponent << f->bits | (mantissa & ((1ULL << f->bits) - 1));
}

double decimal_fp64(const struct decimal *d)
{
    static const double exact[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                   1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                   1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    uint64_t bits = 0;
    double v;

    if (d->digits <= 1ULL << 53 && d->exponent >= -22 && d->exponent <= 22 && !d->cut) {
        v = (double)d->digits;
        v = d->exponent < 0 ? v / exact[-d->exponent] : v * exact[d->exponent];
        return d->negative ? -v : v;
    }
    if (d->digits) bits = binary_of(d->digits, d->exponent, &fp64);
    if (d->cut && bits != binary_of(d->digits + 1, d->exponent, &fp64)) return by_strtod(d);
    bits |= (uint64_t)d->negative << 63;
    memcpy(&v, &bits, sizeof v);
    return v;
}

float decimal_fp32(const struct decimal *d)
{
    uint32_t bits = 0;
    float v;

    if (d->digits) bits = (uint32_t)binary_of(d->digits, d->exponent, &fp32);
    if (d->cut && bits != (uint32_t)binary_of(d->digits + 1, d->exponent, &fp32))
        return by_strtof(d);
    bits |= (uint32_t)d->negative << 31;
    memcpy(&v, &bits, sizeof v);
    return v;
}

bool decimal_u64(const struct decimal *d, uint64_t *ret)
{
    uint64_t v = d->digits;

    if (v == 0) return *ret = 0, true;
    if (d->cut && d->exponent > 0) { /* a 20th digit: only integers up to 18446744073709551615 */
        struct str s = {d->text.p + d->negative, d->text.n - d->negative};

        if (d->exponent != 1 || s.n != 20 || s.p[19] < '0' || s.p[19] > '9') return false;
        if (__builtin_mul_overflow(v, 10ULL, &v) ||
            __builtin_add_overflow(v, (uint64_t)(s.p[19] - '0'), &v))
            return false;
        return *ret = v, true;
    }
    if (d->cut || d->exponent > 19 || d->exponent < -19) return false;
    for (int64_t k = d->exponent; k > 0; k--)
        if (__builtin_mul_overflow(v, 10ULL, &v)) return false;
    for (int64_t k = d->exponent; k < 0; k++) {
        if (v % 10) return false;
        v /= 10;
    }
    return *ret = v, true;
}

/* ---- writing ---- */

char *u64_text(uint64_t v, char *p)
{
    static const char pairs[] = "000102030405060708091011121314151617181920212223242526272829303132"
                                "33343536373839404142434445"
                                "464748495051525354555657585960616263646566676869707172737475767778"
                                "79808182838485868788899091"
                                "9293949596979899";
    char text[20], *at = text + sizeof text;

    for (; v >= 100; v /= 100)
        memcpy(at -= 2, pairs + v % 100 * 2, 2);
    if (v >= 10)
        memcpy(at -= 2, pairs + v * 2, 2);
    else
        *--at = (char)('0' + v);
    memcpy(p, at, (size_t)(text + sizeof text - at));
    return p + (text + sizeof text - at);
}

/* cp * g / 2^128 with a sticky last bit. */
static uint64_t round_to_odd(uint64_t hi, uint64_t lo, uint64_t cp)
{
    uint64_t low = (uint64_t)(((unsigned __int128)lo * cp) >> 64);
    unsigned __int128 sum = (unsigned __int128)hi * cp + low;

    return (uint64_t)(sum >> 64) | ((uint64_t)sum > 1);
}

struct shortest {
    uint64_t digits;
    int exponent;
};

/* The shortest decimal within the rounding interval of c * 2^q. `closer`: the neighbour below is at
 * half the distance. */
static struct shortest shortest_of(uint64_t c, int q, bool closer)
{
    bool odd = c & 1, up, down;
    int k = (q * 1262611 - (closer ? 524031 : 0)) >> 22;
    int h = q + ((-k * 1741647) >> 19) + 1;
    uint64_t hi = pow10_table[-k - POW10_FIRST].hi, lo = pow10_table[-k - POW10_FIRST].lo;
    uint64_t below = round_to_odd(hi, lo, (4 * c - 2 + closer) << h) + odd;
    uint64_t value = round_to_odd(hi, lo, (4 * c) << h);
    uint64_t above = round_to_odd(hi, lo, (4 * c + 2) << h) - odd;
    uint64_t s = value / 4;

    if (s >= 10) {
        uint64_t tens = s / 10;

        down = below <= 40 * tens;
        up = 40 * tens + 40 <= above;
        if (up != down) return (struct shortest){tens + up, k + 1};
    }
    down = below <= 4 * s;
    up = 4 * s + 4 <= above;
    if (up == down) up = value > 4 * s + 2 || (value == 4 * s + 2 && (s & 1));
    return (struct shortest){s + up, k};
}

/* As JavaScript writes numbers: plain from 1e-6 to 1e21, otherwise with an exponent. */
static char *decimal_text(struct shortest d, char *p)
{
    char digits[20];
    int n, point;

    while (d.digits % 10 == 0)
        d.digits /= 10, d.exponent++;
    n = (int)(u64_text(d.digits, digits) - digits);
    point = n + d.exponent; /* value = 0.digits * 10^point */
    if (point < -5 || point > 21) {
        *p++ = digits[0];
        if (n > 1) *p++ = '.';
        memcpy(p, digits + 1, (size_t)n - 1);
        p += n - 1;
        *p++ = 'e';
        *p++ = point > 0 ? '+' : '-';
        return u64_text((uint64_t)(point > 0 ? point - 1 : 1 - point), p);
    }
    if (point <= 0) {
        memcpy(p, "0.000000", 8);
        p += 2 - point;
        memcpy(p, digits, (size_t)n);
        return p + n;
    }
    for (int i = 0; i < MAX(n, point); i++) {
        if (i == point) *p++ = '.';
        *p++ = i < n ? digits[i] : '0';
    }
    return p;
}

/* `bits` without the sign: exponent field above `width` bits of mantissa. */
static size_t float_text(uint64_t bits, bool negative, int width, int bias, char *ret)
{
    uint64_t fraction = bits & ((1ULL << width) - 1);
    int exponent = (int)(bits >> width);
    char *p = ret;

    if (negative) *p++ = '-';
    if (!bits) {
        *p++ = '0';
        return (size_t)(p - ret);
    }
    p = decimal_text(exponent ? shortest_of(fraction | 1ULL << width, exponent - bias - width,
                                            !fraction && exponent > 1)
                              : shortest_of(fraction, 1 - bias - width, false),
                     p);
    return (size_t)(p - ret);
}

size_t fp64_text(double v, char *ret)
{
    uint64_t bits;

    memcpy(&bits, &v, sizeof bits);
    return float_text(bits & (UINT64_MAX >> 1), bits >> 63, 52, 1023, ret);
}

size_t fp32_text(float v, char *ret)
{
    uint32_t bits;

    memcpy(&bits, &v, sizeof bits);
    return float_text(bits & 0x7fffffff, bits >> 31, 23, 127, ret);
}
