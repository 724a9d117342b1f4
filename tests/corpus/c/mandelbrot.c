/* The Mandelbrot set in double and in single precision, side by side, and how often they differ. */
#include <stdio.h>

enum { WIDTH = 60, HEIGHT = 40, TURNS = 60 };

static int turns_double(double cx, double cy)
{
    double x = 0, y = 0;
    int n = 0;
    for (; n < TURNS && x * x + y * y <= 4; n++) {
        double next = x * x - y * y + cx;
        y = 2 * x * y + cy;
        x = next;
    }
    return n;
}

static int turns_single(float cx, float cy)
{
    float x = 0, y = 0;
    int n = 0;
    for (; n < TURNS && x * x + y * y <= 4; n++) {
        float next = x * x - y * y + cx;
        y = 2 * x * y + cy;
        x = next;
    }
    return n;
}

int main(void)
{
    static const char shades[] = " .:-=+*#%@";
    unsigned sum = 0;
    int differing = 0;
    for (int row = 0; row < HEIGHT; row++) {
        char line[2 * WIDTH + 2];
        for (int column = 0; column < WIDTH; column++) {
            int a = turns_double(column * 3.0 / WIDTH - 2.2, row * 2.4 / HEIGHT - 1.2);
            int b = turns_single((float)column * 3.0f / WIDTH - 2.2f, (float)row * 2.4f / HEIGHT - 1.2f);
            sum = sum * 31 + (unsigned)a * 61 + (unsigned)b;
            differing += a != b;
            line[column] = shades[a * 9 / TURNS];
            line[WIDTH + 1 + column] = shades[b * 9 / TURNS];
        }
        line[WIDTH] = '|';
        line[2 * WIDTH + 1] = 0;
        puts(line);
    }
    printf("%u %d\n", sum, differing);
    return 0;
}
