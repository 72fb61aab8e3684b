//! Services: which backend a flow gets.

use super::Sessions;
use super::routed::Walk;
use crate::reason::DropReason;
use crate::tables::service::ServiceId;

/// The destination is a service's: it becomes that of a backend, in the backends' network.
pub(super) fn inward(
    walk: &mut Walk,
    id: ServiceId,
    sessions: &mut impl Sessions,
) -> Result<(), DropReason> {
    let _ = (walk, id, sessions);
    Err(DropReason::NoBackend)
}
