//! The fields of bridging: replication, learning, storm limits, and what the
//! router says of itself on a link.

use dataplane::tables::spec::{self, MAX_MEMBERS, Name, RouterAdvertisement};

use super::problems::Problems;
use crate::proto;

/// A vif's storm limit in frames per second.
pub(super) fn storm_limit(p: &mut Problems, field: &str, limit: u32) -> Option<u32> {
    const MOST: u32 = 4_000_000;
    if limit <= MOST {
        return Some(limit);
    }
    let reason = format!("{limit} is out of range; 1 to {MOST} frames a second, or 0 for no limit");
    p.invalid(field, reason)
}

/// How many MACs are learned behind a vif.
pub(super) fn max_learned_macs(p: &mut Problems, field: &str, count: u32) -> Option<u32> {
    if (1..=spec::MAX_LEARNED_MACS).contains(&count) {
        return Some(count);
    }
    let most = spec::MAX_LEARNED_MACS;
    let reason = format!("{count} is out of range; 1 to {most}, or left out for the default");
    p.invalid(field, reason)
}

/// The members of a replication.
pub(super) fn replicate(
    written: &proto::nexthop::Replicate,
    p: &mut Problems,
) -> Option<Vec<Name>> {
    const FIELD: &str = "replicate.members";
    let count = written.members.len();
    if count == 0 {
        return p.missing(FIELD, "the names of nexthops, or `discard` for none");
    }
    if count > MAX_MEMBERS {
        let reason =
            format!("{count} are too many; a frame is replicated to {MAX_MEMBERS} at most");
        return p.invalid(FIELD, reason);
    }
    p.names(FIELD, &written.members)
}

/// Router advertisements as RFC 4861 §6.2.1 bounds them.
pub(super) fn router_advertisement(
    p: &mut Problems,
    field: &str,
    written: &proto::RouterAdvertisement,
) -> Option<RouterAdvertisement> {
    let defaults = RouterAdvertisement::default();
    let interval = written.interval_s.unwrap_or(defaults.interval_s.into());
    let interval_s = u16::try_from(interval)
        .ok()
        .filter(|s| (4..=1800).contains(s))
        .or_else(|| {
            let reason = format!("{interval} is out of range; an interval is 4 to 1800 seconds");
            p.invalid(&format!("{field}.interval_s"), reason)
        })?;
    let lifetime = written.lifetime_s.unwrap_or(u32::from(interval_s) * 3);
    let lifetime_s = u16::try_from(lifetime)
        .ok()
        .filter(|s| *s == 0 || (interval_s..=9000).contains(s))
        .or_else(|| {
            let reason = format!(
                "{lifetime} is out of range; a lifetime is 0, or the interval ({interval_s}) \
                 to 9000 seconds"
            );
            p.invalid(&format!("{field}.lifetime_s"), reason)
        })?;
    Some(RouterAdvertisement {
        disabled: written.disabled,
        interval_s,
        lifetime_s,
        autonomous: written.autonomous,
        managed: written.managed,
        other_config: written.other_config,
        mtu: written.mtu.unwrap_or(defaults.mtu),
    })
}

/// The way back.
pub(super) fn written(said: &RouterAdvertisement) -> proto::RouterAdvertisement {
    proto::RouterAdvertisement {
        disabled: said.disabled,
        interval_s: Some(said.interval_s.into()),
        lifetime_s: Some(said.lifetime_s.into()),
        autonomous: said.autonomous,
        managed: said.managed,
        other_config: said.other_config,
        mtu: Some(said.mtu),
    }
}
