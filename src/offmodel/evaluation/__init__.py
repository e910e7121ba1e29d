"""Benchmarks as lm-eval tasks: which there are, how their items are drawn, and how answers are checked."""
