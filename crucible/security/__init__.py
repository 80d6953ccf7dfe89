"""Isolation, verdicts, static validation and approval. Generated code runs nowhere else."""
