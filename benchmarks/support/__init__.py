"""What several benchmarks share: the machine, methods, markets to judge on, drawing."""
