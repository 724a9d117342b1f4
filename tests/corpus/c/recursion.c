/* Ackermann's function, a walk down a list as long as the argument says, and all solutions of the eight queens. */
#include <stdio.h>
#include <stdlib.h>

static unsigned ackermann(unsigned m, unsigned n)
{
    if (!m)
        return n + 1;
    return ackermann(m - 1, n ? ackermann(m, n - 1) : 1);
}

struct node {
    struct node *next;
    int value;
};

static __attribute__((noinline)) double walk(const struct node *node, int depth)
{
    volatile int kept[4] = {depth, depth * 2, depth * 3, node ? node->value : 0};
    if (!node)
        return 0.5;
    double below = walk(node->next, depth + 1);
    return below / 2 + kept[3] + kept[1] - 2 * kept[0];
}

static int queens(int row, unsigned columns, unsigned left, unsigned right)
{
    if (row == 8)
        return 1;
    int count = 0;
    for (unsigned free = ~(columns | left | right) & 0xff; free; free &= free - 1) {
        unsigned bit = free & -free;
        count += queens(row + 1, columns | bit, (left | bit) << 1, (right | bit) >> 1);
    }
    return count;
}

int main(int argc, char **argv)
{
    int length = argc > 1 ? atoi(argv[1]) : 1000;
    struct node *nodes = calloc((size_t)length, sizeof *nodes);
    for (int i = 0; i < length; i++) {
        nodes[i].value = i % 17;
        nodes[i].next = i + 1 < length ? &nodes[i + 1] : NULL;
    }
    printf("%u %d\n", ackermann(2, 300), queens(0, 0, 0, 0));
    fflush(stdout);
    printf("%.17g\n", walk(nodes, 0));
    return 0;
}
