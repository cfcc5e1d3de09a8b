"""What a frame costs, in machine instructions: the same on a busy machine as on a quiet one.

`make budget` counts what `cases` lists and compares it with `budget.json`; `make budget-renew`
writes that file anew; `make budget-profile CASE=in_heard` shows where a case's instructions go.
They need valgrind, with its header, and a C compiler.

Method. `driver` runs under callgrind in one process, instrumented only once everything is imported.
It calls each case a number of times, and then twice as often; callgrind writes down its count after
each. The difference of the two is the cost of the calls alone. They are made by a loop in C (`map`
into a `deque` that keeps nothing), whose own cost, counted with a function that does nothing, is
taken off. Hashes are not randomised, the environment is fixed, and the garbage collector rests.

What the numbers are. Instructions, not time: they find work that crept in, not a cache that is
missed. They include the call from Python, some 150 to 350, which a socket's own messages do not
pay. They hold for one compiler and one build of Python, which `budget.json` names; elsewhere the
limit is wider. The processor matters little, since valgrind shows every program the same one: with
AVX2 where there is AVX2, never with more. Without it the vector loops do not run, and nothing is
compared.
"""
