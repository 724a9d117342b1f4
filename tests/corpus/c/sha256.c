/* The SHA-256 of standard input, as sha256sum prints it. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static uint32_t k[64], h[8];

static uint32_t fraction(double x) { return (uint32_t)(long long)((x - (long long)x) * 4294967296.0); }

static double root(double x, int power)
{
    double y = x;
    for (int i = 0; i < 100; i++)
        y = power == 2 ? (y + x / y) / 2 : (2 * y + x / (y * y)) / 3;
    return y;
}

static void prepare(void)
{
    int count = 0;
    for (int n = 2; count < 64; n++) {
        int prime = 1;
        for (int d = 2; d * d <= n; d++)
            prime &= n % d != 0;
        if (!prime)
            continue;
        if (count < 8)
            h[count] = fraction(root(n, 2));
        k[count++] = fraction(root(n, 3));
    }
}

static uint32_t rotate(uint32_t x, int by) { return x >> by | x << (32 - by); }

static void block(const unsigned char *p)
{
    uint32_t w[64], v[8];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)p[4 * i] << 24 | p[4 * i + 1] << 16 | p[4 * i + 2] << 8 | p[4 * i + 3];
    for (int i = 16; i < 64; i++) {
        uint32_t a = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
        uint32_t b = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10;
        w[i] = w[i - 16] + a + w[i - 7] + b;
    }
    memcpy(v, h, sizeof v);
    for (int i = 0; i < 64; i++) {
        uint32_t s1 = rotate(v[4], 6) ^ rotate(v[4], 11) ^ rotate(v[4], 25);
        uint32_t t1 = v[7] + s1 + ((v[4] & v[5]) ^ (~v[4] & v[6])) + k[i] + w[i];
        uint32_t s0 = rotate(v[0], 2) ^ rotate(v[0], 13) ^ rotate(v[0], 22);
        uint32_t t2 = s0 + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof *v);
        v[4] += t1;
        v[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++)
        h[i] += v[i];
}

int main(void)
{
    unsigned char buffer[64];
    uint64_t total = 0;
    size_t have;
    prepare();
    while ((have = fread(buffer, 1, 64, stdin)) == 64) {
        block(buffer);
        total += 64;
    }
    total += have;
    buffer[have++] = 0x80;
    if (have > 56) {
        memset(buffer + have, 0, 64 - have);
        block(buffer);
        have = 0;
    }
    memset(buffer + have, 0, 56 - have);
    for (int i = 0; i < 8; i++)
        buffer[56 + i] = (unsigned char)(total * 8 >> (56 - 8 * i));
    block(buffer);
    for (int i = 0; i < 8; i++)
        printf("%08x", h[i]);
    printf("  -\n");
    return 0;
}
