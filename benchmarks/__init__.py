"""Benchmarks: Proa and the peers that are installed, interleaved in one run."""
