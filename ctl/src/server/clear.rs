//! `ClearFlows`: ending live flows.

use dataplane::tables::Tables;
use flowtable::{FlowTable, WalkCursor};
use tonic::Status;

use crate::flows::Filter;
use crate::proto::FlowsRequest;

/// Places of the flow table looked at between two chances for others to run.
const STEP: usize = 4096;

/// Ends the flows that match, `limit` at most; how many those were.
///
/// # Errors
/// INVALID_ARGUMENT for a filter that makes no sense, or for none.
pub(super) fn run(
    request: &FlowsRequest,
    tables: &Tables,
    flows: &FlowTable,
) -> Result<u64, Status> {
    let filter = Filter::new(request, tables).map_err(Status::invalid_argument)?;
    if filter == Filter::default() {
        return Err(Status::invalid_argument(
            "say which flows: a vrf, a protocol, an address or a port",
        ));
    }
    let mut left = request.limit.unwrap_or(u64::MAX);
    let mut cleared = 0;
    let mut cursor = WalkCursor::default();
    let mut found = Vec::new();
    while !cursor.is_done() && left > 0 {
        flows.walk(&mut cursor, STEP, |flow| {
            if left > 0 && filter.matches(flow) {
                found.push((flow.id, flow.version));
                left -= 1;
            }
        });
        cleared += flows.worker(0).remove_all(&found) as u64;
        found.clear();
    }
    Ok(cleared)
}
