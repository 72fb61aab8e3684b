//! The forwarding engine: tables, the decision, packet stages, workers, io.
