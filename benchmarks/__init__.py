"""One file a question. Each prints a table and writes it, dated, to benchmarks/results/."""
