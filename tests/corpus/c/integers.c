/* 64-bit and 128-bit integer arithmetic at its edges: products, quotients, shifts, roots, powers, bits. */
#include <stdint.h>
#include <stdio.h>

static const int64_t values[] = {
    0, 1, -1, 2, -2, 7, -7, 10, 255, 256, INT32_MAX, INT32_MIN, (int64_t)UINT32_MAX, 1LL << 32, -(1LL << 32),
    0x123456789abcdef, -0x123456789abcdef, INT64_MAX, INT64_MIN, INT64_MAX - 1, INT64_MIN + 1,
};

static uint64_t mix(uint64_t hash, uint64_t value) { return (hash ^ value) * 0x9e3779b97f4a7c15u; }

static uint64_t product(uint64_t a, uint64_t b, uint64_t modulus)
{
    uint64_t result = 0;
    for (a %= modulus; b; b >>= 1) {
        if (b & 1)
            result = result >= modulus - a ? result - (modulus - a) : result + a;
        a = a >= modulus - a ? a - (modulus - a) : a + a;
    }
    return result;
}

static uint64_t power(uint64_t base, uint64_t exponent, uint64_t modulus)
{
    uint64_t result = 1;
    for (base %= modulus; exponent; exponent >>= 1) {
        if (exponent & 1)
            result = product(result, base, modulus);
        base = product(base, base, modulus);
    }
    return result;
}

static uint64_t root(uint64_t n)
{
    uint64_t x = 0;
    for (int bit = 31; bit >= 0; bit--) {
        uint64_t tried = x | 1ull << bit;
        if (tried * tried <= n)
            x = tried;
    }
    return x;
}

static uint64_t gcd(uint64_t a, uint64_t b)
{
    while (b) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

int main(void)
{
    enum { COUNT = sizeof values / sizeof *values };
    for (int i = 0; i < COUNT; i++) {
        uint64_t hash = 0;
        int64_t a = values[i];
        uint64_t u = (uint64_t)a;
        for (int j = 0; j < COUNT; j++) {
            int64_t b = values[j];
            uint64_t w = (uint64_t)b;
            hash = mix(hash, u * w);
            hash = mix(hash, (uint64_t)((__int128)a * b >> 64));
            hash = mix(hash, (uint64_t)((unsigned __int128)u * w >> 64));
            if (b && !(a == INT64_MIN && b == -1)) {
                hash = mix(hash, (uint64_t)(a / b));
                hash = mix(hash, (uint64_t)(a % b));
            }
            if (w) {
                hash = mix(hash, u / w);
                hash = mix(hash, u % w);
                hash = mix(hash, power(u, w >> 40, w | 1));
            }
            hash = mix(hash, u << (w & 63));
            hash = mix(hash, (uint64_t)(a >> (w & 63)));
            hash = mix(hash, gcd(u, w));
            hash = mix(hash, (uint64_t)((a > b) * 4 + (u > w) * 2 + (a == b)));
        }
        int zeros = u ? __builtin_clzll(u) * 100 + __builtin_ctzll(u) : -1;
        printf("%20lld %016llx %d %d %llu %016llx\n", (long long)a, (unsigned long long)hash, zeros,
               __builtin_popcountll(u), (unsigned long long)root(u), (unsigned long long)__builtin_bswap64(u));
    }
    /* Doubles from and to integers. */
    for (int i = 0; i < COUNT; i++)
        printf("%.17g %.17g %.9g %lld\n", (double)values[i], (double)(uint64_t)values[i], (float)values[i],
               (long long)((double)values[i] / 3));
    return 0;
}
