//! Services, resolved.

/// Index of a service in a snapshot; stays the same while the object lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceId(pub u32);
