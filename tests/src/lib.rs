//! Whole-system scenarios: namespaces, real peers, golden captures.
