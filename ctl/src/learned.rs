//! Learned MACs for people: numbers of the engine to names.

use dataplane::stage::Ingress;
use dataplane::tables::Tables;
use flowtable::Ticks;

use crate::proto::{LearnedMac, LearnedMacsRequest};

/// The MACs asked for, by vrf and MAC.
///
/// # Errors
/// A sentence, if there is no such vrf.
pub fn macs(
    request: &LearnedMacsRequest,
    tables: &Tables,
    now: Ticks,
) -> Result<Vec<LearnedMac>, String> {
    let wanted = match &request.vrf {
        Some(name) => {
            let vrf = tables.vrf_named(name);
            Some(vrf.ok_or(format!("there is no vrf `{name}`"))?.id)
        }
        None => None,
    };
    let entries = tables.learned().entries(now).into_iter();
    let named = entries
        .filter(|entry| wanted.is_none_or(|vrf| vrf == entry.vrf))
        .filter_map(|entry| {
            // What is just being removed has no name any more.
            Some(LearnedMac {
                vrf: tables.vrf(entry.vrf)?.name.to_string(),
                mac: entry.mac.to_string(),
                place: place(tables, entry.place)?,
                idle_ms: entry.idle_ms.into(),
            })
        });
    let mut macs: Vec<LearnedMac> = named.collect();
    macs.sort_by(|a, b| (&a.vrf, &a.mac).cmp(&(&b.vrf, &b.mac)));
    Ok(macs)
}

fn place(tables: &Tables, place: Ingress) -> Option<String> {
    if let Some(vif) = place.as_vif() {
        return Some(format!("vif {}", tables.vif(vif)?.name));
    }
    let addr = tables.underlay().peer_addr(place.as_peer()?)?;
    Some(format!("tunnel {addr}"))
}
