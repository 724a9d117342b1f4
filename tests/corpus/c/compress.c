/* Compresses standard input with LZ77 and an adaptive binary range coder, unpacks it again, and compares. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIMIT = 1 << 20, WINDOW = 1 << 15, LONGEST = 273, SHORTEST = 3, HASHES = 1 << 14 };

static unsigned char input[LIMIT], packed[LIMIT + LIMIT / 8 + 64], output[LIMIT];
static size_t packed_size, read_at;

/* Probabilities of a zero bit, of 2048. */
static struct model {
    uint16_t literal[3][256], is_match[4], length[512], distance[16][64];
} model;

static uint32_t range, code;
static uint64_t low;

static void reset(void)
{
    uint16_t *p = (uint16_t *)&model;
    for (size_t i = 0; i < sizeof model / sizeof *p; i++)
        p[i] = 1024;
    range = 0xffffffff;
    low = 0;
}

static void carry(void)
{
    for (size_t i = packed_size; i-- > 0 && ++packed[i] == 0;)
        ;
}

static void encode(uint16_t *p, int bit)
{
    uint32_t bound = (range >> 11) * *p;
    if (!bit) {
        range = bound;
        *p += (2048 - *p) >> 5;
    } else {
        low += bound;
        range -= bound;
        *p -= *p >> 5;
    }
    if (low >> 32) {
        carry();
        low &= 0xffffffff;
    }
    while (range < 1 << 24) {
        packed[packed_size++] = (unsigned char)(low >> 24);
        low = (low << 8) & 0xffffffff;
        range <<= 8;
    }
}

static int decode(uint16_t *p)
{
    uint32_t bound = (range >> 11) * *p;
    int bit = code >= bound;
    if (!bit) {
        range = bound;
        *p += (2048 - *p) >> 5;
    } else {
        code -= bound;
        range -= bound;
        *p -= *p >> 5;
    }
    while (range < 1 << 24) {
        code = code << 8 | packed[read_at++];
        range <<= 8;
    }
    return bit;
}

static void encode_tree(uint16_t *tree, int bits, uint32_t value)
{
    uint32_t node = 1;
    while (bits--) {
        int bit = value >> bits & 1;
        encode(&tree[node], bit);
        node = node << 1 | bit;
    }
}

static uint32_t decode_tree(uint16_t *tree, int bits)
{
    uint32_t node = 1;
    for (int i = 0; i < bits; i++)
        node = node << 1 | decode(&tree[node]);
    return node - (1u << bits);
}

static int log2_of(uint32_t value) { return 31 - __builtin_clz(value); }

static void pack(size_t size)
{
    static int32_t heads[HASHES], chain[WINDOW];
    memset(heads, -1, sizeof heads);
    reset();
    int after_match = 0;
    for (size_t at = 0; at < size;) {
        size_t best = 0, from = 0;
        uint32_t hash = 0;
        if (at + SHORTEST <= size) {
            hash = (input[at] * 0x1e35a7bdu ^ input[at + 1] * 0x9e3779b1u ^ input[at + 2] * 0x85ebca6bu) >> 18;
            int tries = 24;
            for (int32_t c = heads[hash]; c >= 0 && at - c < WINDOW && tries--; c = chain[c % WINDOW]) {
                size_t n = 0;
                while (n < LONGEST && at + n < size && input[c + n] == input[at + n])
                    n++;
                if (n > best) {
                    best = n;
                    from = c;
                }
            }
        }
        int match = best >= SHORTEST;
        encode(&model.is_match[after_match], match);
        if (match) {
            uint32_t distance = (uint32_t)(at - from);
            int bits = log2_of(distance);
            encode_tree(model.length, 9, (uint32_t)(best - SHORTEST));
            encode_tree(model.distance[0], 4, bits);
            for (int i = bits; i-- > 0;)
                encode(&model.distance[1 + i % 15][bits], distance >> i & 1);
        } else {
            best = 1;
            encode_tree(model.literal[after_match], 8, input[at]);
        }
        for (; best--; at++) {
            if (at + SHORTEST <= size) {
                hash = (input[at] * 0x1e35a7bdu ^ input[at + 1] * 0x9e3779b1u ^ input[at + 2] * 0x85ebca6bu) >> 18;
                chain[at % WINDOW] = heads[hash];
                heads[hash] = (int32_t)at;
            }
        }
        after_match = match;
    }
    for (int i = 0; i < 4; i++) {
        packed[packed_size++] = (unsigned char)(low >> 24);
        low = (low << 8) & 0xffffffff;
    }
}

static void unpack(size_t size)
{
    reset();
    for (int i = 0; i < 4; i++)
        code = code << 8 | packed[read_at++];
    int after_match = 0;
    for (size_t at = 0; at < size;) {
        int match = decode(&model.is_match[after_match]);
        if (match) {
            size_t length = decode_tree(model.length, 9) + SHORTEST;
            int bits = (int)decode_tree(model.distance[0], 4);
            uint32_t distance = 1;
            for (int i = bits; i-- > 0;)
                distance = distance << 1 | decode(&model.distance[1 + i % 15][bits]);
            while (length-- && at < size) {
                output[at] = output[at - distance];
                at++;
            }
        } else {
            output[at++] = (unsigned char)decode_tree(model.literal[after_match], 8);
        }
        after_match = match;
    }
}

int main(void)
{
    size_t size = fread(input, 1, LIMIT, stdin);
    pack(size);
    unpack(size);
    int same = memcmp(input, output, size) == 0;
    fprintf(stderr, "%zu -> %zu %s\n", size, packed_size, same ? "and back" : "and not back");
    fwrite(packed, 1, packed_size, stdout);
    return !same;
}
