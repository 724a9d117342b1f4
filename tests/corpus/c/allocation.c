/* malloc, calloc, realloc and free in a random order, growth of memory, and what is given back when there is none. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t state = 12345;

static uint32_t next(void)
{
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

int main(void)
{
    enum { SLOTS = 200 };
    unsigned char *blocks[SLOTS] = {0};
    size_t sizes[SLOTS] = {0};
    uint64_t sum = 0;
    for (int turn = 0; turn < 20000; turn++) {
        int slot = next() % SLOTS;
        size_t size = next() % 3000;
        if (next() % 3 == 0) {
            free(blocks[slot]);
            blocks[slot] = calloc(1, size + 1);
            sizes[slot] = size + 1;
        } else {
            unsigned char *moved = realloc(blocks[slot], size + 1);
            if (!moved)
                return 1;
            if (size + 1 > sizes[slot])
                memset(moved + sizes[slot], slot, size + 1 - sizes[slot]);
            blocks[slot] = moved;
            sizes[slot] = size + 1;
        }
        blocks[slot][size] ^= (unsigned char)turn;
        sum = sum * 31 + blocks[slot][size / 2] + (uintptr_t)blocks[slot] % 16;
    }
    printf("sum %llu, pages %zu\n", (unsigned long long)sum, (size_t)__builtin_wasm_memory_size(0));
    for (int slot = 0; slot < SLOTS; slot++)
        free(blocks[slot]);
    int count = 0;
    void *volatile kept; /* or the compiler takes the allocations away */
    while ((kept = malloc(1 << 20)))
        count++;
    printf("%d MiB more, pages %zu\n", count, (size_t)__builtin_wasm_memory_size(0));
    return 0;
}
