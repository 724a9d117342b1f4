/* The orbits of the sun and four planets for as many steps as the argument says, in double precision. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct body {
    double x[3], v[3], mass;
};

static struct body bodies[5] = {
    {{0, 0, 0}, {0, 0, 0}, 39.47841760435743},
    {{4.84143144246472090e+00, -1.16032004402742839e+00, -1.03622044471123109e-01},
     {6.06326392995832e-01, 2.81198684491626e+00, -2.52183616598876e-02}, 3.76936749096e-02},
    {{8.34336671824457987e+00, 4.12479856412430479e+00, -4.03523417114321381e-01},
     {-1.01077434617879e+00, 1.82566237123041e+00, 8.41576137658415e-03}, 1.12863261319687e-02},
    {{1.28943695621391310e+01, -1.51111514016986312e+01, -2.23307578892655734e-01},
     {1.08279100644154e+00, 8.68713018169608e-01, -1.08326374013636e-02}, 1.72372405705971e-03},
    {{1.53796971148509165e+01, -2.59193146099879641e+01, 1.79258772950371181e-01},
     {9.79090732243898e-01, 5.94698998647676e-01, -3.47559555040781e-02}, 2.03368686992463e-03},
};

static double energy(void)
{
    double sum = 0;
    for (int i = 0; i < 5; i++) {
        for (int d = 0; d < 3; d++)
            sum += bodies[i].mass * bodies[i].v[d] * bodies[i].v[d] / 2;
        for (int j = i + 1; j < 5; j++) {
            double square = 0;
            for (int d = 0; d < 3; d++)
                square += (bodies[i].x[d] - bodies[j].x[d]) * (bodies[i].x[d] - bodies[j].x[d]);
            sum -= bodies[i].mass * bodies[j].mass / sqrt(square);
        }
    }
    return sum;
}

static void advance(double dt)
{
    for (int i = 0; i < 5; i++)
        for (int j = i + 1; j < 5; j++) {
            double delta[3], square = 0;
            for (int d = 0; d < 3; d++) {
                delta[d] = bodies[i].x[d] - bodies[j].x[d];
                square += delta[d] * delta[d];
            }
            double pull = dt / (square * sqrt(square));
            for (int d = 0; d < 3; d++) {
                bodies[i].v[d] -= delta[d] * bodies[j].mass * pull;
                bodies[j].v[d] += delta[d] * bodies[i].mass * pull;
            }
        }
    for (int i = 0; i < 5; i++)
        for (int d = 0; d < 3; d++)
            bodies[i].x[d] += dt * bodies[i].v[d];
}

int main(int argc, char **argv)
{
    int steps = argc > 1 ? atoi(argv[1]) : 1000;
    printf("%.17g\n", energy());
    for (int i = 0; i < steps; i++)
        advance(0.01);
    printf("%.17g\n", energy());
    for (int i = 0; i < 5; i++)
        printf("%a %a %a\n", bodies[i].x[0], bodies[i].x[1], bodies[i].x[2]);
    return 0;
}
