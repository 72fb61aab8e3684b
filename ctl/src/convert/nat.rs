//! Floating addresses and pools of source addresses.

use std::ops::RangeInclusive;

use dataplane::tables::spec::{Filtering, FloatingIp, FloatingTarget, SnatPool};
use ipnet::{IpNet, Ipv6Net};

use super::policy::names;
use super::problems::Problems;
use super::{l4, text};
use crate::proto;

/// A public address or prefix, one for one.
pub(super) fn floating_ip(w: &proto::FloatingIp, p: &mut Problems) -> Option<FloatingIp> {
    let name = p.text("name", &w.name, text::name);
    let vrf = p.text("vrf", &w.vrf, text::name);
    let address = p.text("address", &w.address, text::public);
    let fixed = p.optional("fixed", w.fixed.as_ref(), |p, field, fixed| {
        p.text(field, fixed, text::public)
    });
    if let (Some(address), Some(Some(fixed))) = (address, fixed) {
        check_likeness(address, fixed, p);
    }
    let target = match (&*w.vifs, &w.inside_vrf) {
        ([], None) => p.missing(
            "vifs",
            "the vifs whose address it is, or `inside_vrf` and `fixed`",
        ),
        (vifs, None) => {
            let both = p.names("vifs", vifs).zip(fixed);
            both.map(|(vifs, fixed)| FloatingTarget::Vifs { vifs, fixed })
        }
        ([], Some(inside)) => {
            let inside = p.text("inside_vrf", inside, text::name);
            if inside.is_some() && inside == vrf {
                let reason = format!("`{}` is `vrf`, too; name another one", w.vrf);
                p.invalid::<()>("inside_vrf", reason);
            }
            if fixed == Some(None) {
                p.missing::<()>("fixed", "the address or prefix inside");
            }
            let both = inside.zip(fixed.flatten());
            both.map(|(vrf, fixed)| FloatingTarget::Prefix { vrf, fixed })
        }
        (_, Some(_)) => {
            let reason = "does not go with `vifs`; leave one out";
            p.invalid("inside_vrf", reason.into())
        }
    };
    Some(FloatingIp {
        name: name?,
        vrf: vrf?,
        address: address?,
        target: target?,
    })
}

/// One for one: both are as long as each other, of one IP version.
fn check_likeness(address: IpNet, fixed: IpNet, p: &mut Problems) {
    let shown = text::interface_text;
    let unlike = if address.max_prefix_len() != fixed.max_prefix_len() {
        "are of different IP versions"
    } else if address.prefix_len() != fixed.prefix_len() {
        "are of different lengths"
    } else {
        return;
    };
    let reason = format!(
        "{} and the address {} {unlike}",
        shown(&fixed),
        shown(&address)
    );
    p.invalid::<()>("fixed", reason);
}

/// Addresses shared by port.
pub(super) fn snat_pool(w: &proto::SnatPool, p: &mut Problems) -> Option<SnatPool> {
    use proto::Filtering as Written;
    let name = p.text("name", &w.name, text::name);
    let vrf = p.text("vrf", &w.vrf, text::name);
    let sources = p.texts("sources", &w.sources, text::prefix);
    let outside_vrf = p.text("outside_vrf", &w.outside_vrf, text::name);
    if outside_vrf.is_some() && outside_vrf == vrf {
        let reason = format!("`{}` is `vrf`, too; name another one", w.outside_vrf);
        p.invalid::<()>("outside_vrf", reason);
    }
    let addresses = addresses(w, p);
    let ports = match &*w.ports {
        "" => Some(1..=u16::MAX),
        written => p.text("ports", written, pool_ports),
    };
    let block_size = p.optional("block_size", w.block_size, |p, field, size| {
        let most = ports.as_ref().map_or(u64::from(u16::MAX), count);
        let size: u16 = p.number(field, size, 1..=most, "a block of these ports")?;
        size.try_into().ok()
    });
    let ports_per_vif = p.optional("ports_per_vif", w.ports_per_vif, |p, field, most| {
        p.number(field, most, 1..=u32::MAX.into(), "the number of ports")
    });
    let filtering = match Written::try_from(w.filtering) {
        Ok(Written::EndpointIndependent) => Some(Filtering::EndpointIndependent),
        Ok(Written::AddressDependent) => Some(Filtering::AddressDependent),
        Ok(Written::AddressAndPortDependent | Written::Unspecified) => {
            Some(Filtering::AddressAndPortDependent)
        }
        Err(_) => p.invalid("filtering", format!("{} is no filtering", w.filtering)),
    };
    let nat64_prefix = p.optional("nat64_prefix", w.nat64_prefix.as_ref(), |p, field, net| {
        p.text(field, net, nat64_prefix)
    });
    if let (Some(sources), Some(addresses)) = (&sources, &addresses) {
        check_families(sources, addresses, w.nat64_prefix.is_some(), p);
    }
    Some(SnatPool {
        name: name?,
        vrf: vrf?,
        sources: sources?,
        outside_vrf: outside_vrf?,
        addresses: addresses?,
        ports: ports?,
        block_size: block_size?,
        ports_per_vif: ports_per_vif?,
        filtering: filtering?,
        nat64_prefix: nat64_prefix?,
    })
}

/// At least one, and none within another: an address that is there twice would be given out twice.
fn addresses(w: &proto::SnatPool, p: &mut Problems) -> Option<Vec<IpNet>> {
    if w.addresses.is_empty() {
        return p.missing("addresses", "the pool's addresses or prefixes");
    }
    let addresses = p.texts("addresses", &w.addresses, text::public)?;
    let mut order: Vec<usize> = (0..addresses.len()).collect();
    order.sort_by_key(|index| addresses[*index]);
    // In this order a prefix is followed by those within it.
    let mut around: Option<usize> = None;
    let mut within = Vec::new();
    for index in order {
        match around.filter(|outer| addresses[*outer].contains(&addresses[index])) {
            Some(outer) => within.push((index.max(outer), index.min(outer))),
            None => around = Some(index),
        }
    }
    within.sort_unstable();
    for (later, earlier) in within {
        let shown = text::interface_text;
        let reason = format!(
            "{} overlaps with {}",
            shown(&addresses[later]),
            shown(&addresses[earlier])
        );
        p.invalid::<()>(&format!("addresses[{later}]"), reason);
    }
    Some(addresses)
}

/// Who can be translated to these addresses at all.
fn check_families(sources: &[IpNet], addresses: &[IpNet], is_nat64: bool, p: &mut Problems) {
    let Some(first) = addresses.first() else {
        return; // said to be missing
    };
    let is_v4 = |net: &IpNet| net.addr().is_ipv4();
    let version = |is_v4: bool| if is_v4 { "IPv4" } else { "IPv6" };
    let wanted = is_nat64 || is_v4(first);
    let why = match is_nat64 {
        true => "a pool with `nat64_prefix` has IPv4 addresses".to_owned(),
        false => format!(
            "the first is {}; a pool has one IP version",
            version(wanted)
        ),
    };
    for (index, net) in addresses.iter().enumerate() {
        if is_v4(net) != wanted {
            let reason = format!("{} does not fit: {why}", text::interface_text(net));
            p.invalid::<()>(&format!("addresses[{index}]"), reason);
        }
    }
    let inside = version(!is_nat64 && wanted);
    for (index, net) in sources.iter().enumerate() {
        if version(is_v4(net)) != inside {
            let reason = format!(
                "{} does not fit: the pool translates {inside}",
                text::interface_text(net)
            );
            p.invalid::<()>(&format!("sources[{index}]"), reason);
        }
    }
}

/// Port 0 is nobody's.
fn pool_ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let ports = l4::ports(text)?;
    match ports.start() {
        0 => Err("0 is not given out; write ports like 1024-65535, 1 to 65535".into()),
        _ => Ok(ports),
    }
}

fn count(ports: &RangeInclusive<u16>) -> u64 {
    u64::from(*ports.end()) - u64::from(*ports.start()) + 1
}

/// Where IPv4 addresses are embedded: RFC 6052 §2.2 has other lengths, too, which need a
/// translation of their own and are not wanted by anybody with a prefix of 96 bits.
fn nat64_prefix(text: &str) -> Result<Ipv6Net, String> {
    let reason = match text::prefix(text)? {
        IpNet::V6(net) if net.prefix_len() == 96 => {
            // "Bits 64 to 71 of the address are reserved for compatibility with the host identifier
            // format […] these bits MUST be set to zero."
            if net.addr().octets()[8] == 0 {
                return Ok(net);
            }
            format!("{net} has bits set among 64 to 71, which are zero (RFC 6052)")
        }
        net => format!("{net} is not of 96 bits; write one like 64:ff9b::/96"),
    };
    Err(reason)
}

impl From<&FloatingIp> for proto::FloatingIp {
    fn from(floating: &FloatingIp) -> Self {
        let (vifs, fixed, inside_vrf) = match &floating.target {
            FloatingTarget::Vifs { vifs, fixed } => (names(vifs), *fixed, None),
            FloatingTarget::Prefix { vrf, fixed } => {
                (Vec::new(), Some(*fixed), Some(vrf.to_string()))
            }
        };
        proto::FloatingIp {
            name: floating.name.to_string(),
            vrf: floating.vrf.to_string(),
            address: text::interface_text(&floating.address),
            vifs,
            fixed: fixed.as_ref().map(text::interface_text),
            inside_vrf,
        }
    }
}

impl From<&SnatPool> for proto::SnatPool {
    fn from(pool: &SnatPool) -> Self {
        let filtering = match pool.filtering {
            Filtering::EndpointIndependent => proto::Filtering::EndpointIndependent,
            Filtering::AddressDependent => proto::Filtering::AddressDependent,
            Filtering::AddressAndPortDependent => proto::Filtering::AddressAndPortDependent,
        };
        proto::SnatPool {
            name: pool.name.to_string(),
            vrf: pool.vrf.to_string(),
            sources: text::prefix_texts(&pool.sources),
            outside_vrf: pool.outside_vrf.to_string(),
            addresses: text::prefix_texts(&pool.addresses),
            ports: l4::ports_text(&pool.ports),
            block_size: pool.block_size.map(|size| size.get().into()),
            ports_per_vif: pool.ports_per_vif,
            filtering: filtering.into(),
            nat64_prefix: pool.nat64_prefix.map(|net| net.to_string()),
        }
    }
}
