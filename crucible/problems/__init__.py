"""Problem sets: what there is to solve and to measure with; rewards; benchmarks; training by experience."""
