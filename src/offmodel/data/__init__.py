"""Prompts, benchmarks and chat rendering: everything that is text before a model sees it."""
