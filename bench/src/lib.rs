//! Benchmarks: the engine in process and beside its peers.
