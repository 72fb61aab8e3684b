//! Packet headers as views, checksums, one-pass parse, tunnel push and pop.
