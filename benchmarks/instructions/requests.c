/* The two things the driver asks of callgrind; outside valgrind they do nothing. */
#include <valgrind/callgrind.h>

/* Count from here, starting with the whole instrumentation the first time. */
void count_begin(void)
{
    CALLGRIND_START_INSTRUMENTATION;
    CALLGRIND_ZERO_STATS;
}

/* Write down what was counted, under this name. */
void count_end(const char *name)
{
    CALLGRIND_DUMP_STATS_AT(name);
}
