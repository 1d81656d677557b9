"""What the benchmark programs share: the clock, the machine, the peers, the workloads."""
