"""What single calls into the compiled core cost, next to what else would do the same work.

`python -m benchmarks.micro` runs every `bench_*.py` here under pytest-benchmark and prints one
table of ratios. All of a row comes from the same run on the same machine; the times by themselves
mean little elsewhere.

To add to it, write a `bench_<part>.py` with tests that use the `benchmark` fixture:

* Tests that do the same work share a group: `@pytest.mark.benchmark(group="decode 160 mu-law")`.
* A test whose name begins with `test_baseline_<rival>` is a rival's; the rest of the name, up to a
  double underscore, is the name of its column (`test_baseline_numpy__decode`: `numpy`).
* A test whose name begins with `test_bound_<what>` is no rival but the least that is possible, such
  as copying the memory once.
* Every other test of a group is ours; each gets a row.
* The baselines check their result against ours, so that no row compares different work.
"""
