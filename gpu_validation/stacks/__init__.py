"""Many small networks trained in one computation: the tables of all cells of NAS-Bench-201 on a CPU."""
