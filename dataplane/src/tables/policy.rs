//! Policies, compiled.

/// Index of a rule in a snapshot; stays the same while a policy has a rule of that id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleId(pub u32);
