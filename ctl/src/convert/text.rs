//! Values written as text: each parser returns the value, or a sentence that
//! says what was written and what would be right.

use std::net::IpAddr;

use dataplane::tables::spec::Name;
use encap::MacAddr;
use ipnet::IpNet;

/// The longest name, in bytes; a longer one does not fit a screen either.
const MAX_NAME_LEN: usize = 128;

/// The longest device, in bytes; DPDK's own limit on a device's arguments is of this order.
const MAX_DEVICE_LEN: usize = 1024;

/// A caller-chosen name. Names stand in file names, between spaces and in
/// front of `=`, so none of those characters may be in one.
pub(super) fn name(text: &str) -> Result<Name, String> {
    if text.len() > MAX_NAME_LEN {
        return Err(format!(
            "{} is {} bytes long; a name has at most {MAX_NAME_LEN}",
            quoted(text),
            text.len()
        ));
    }
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-:@".contains(c);
    if starts_well && text.chars().all(allowed) {
        Ok(text.into())
    } else {
        Err(format!(
            "{} is not a name; use letters, digits and . _ - : @, beginning with a letter or digit",
            quoted(text)
        ))
    }
}

/// A device and its arguments in its driver's words.
pub(super) fn device(text: &str) -> Result<Name, String> {
    if text.len() > MAX_DEVICE_LEN || text.chars().any(char::is_control) {
        return Err(format!(
            "{} is not a device; write a driver and its arguments like net_af_packet0,iface=eth1",
            quoted(text)
        ));
    }
    Ok(text.into())
}

/// The MAC of one station, or of a group of them.
pub(super) fn mac_or_group(text: &str) -> Result<MacAddr, String> {
    match six_bytes(text)? {
        MacAddr::ZERO => Err(format!("{} is nobody's address", MacAddr::ZERO)),
        mac => Ok(mac),
    }
}

/// The MAC of one station.
pub(super) fn mac(text: &str) -> Result<MacAddr, String> {
    let mac = six_bytes(text)?;
    if mac.is_unicast() {
        Ok(mac)
    } else {
        Err(format!(
            "{mac} is not the address of one station; the first byte must be even and not all may be zero"
        ))
    }
}

fn six_bytes(text: &str) -> Result<MacAddr, String> {
    text.parse().map_err(|_| {
        format!(
            "{} is not a MAC address; write six hex bytes like 02:00:00:00:01:05",
            quoted(text)
        )
    })
}

/// The address of one host.
pub(super) fn ip(text: &str) -> Result<IpAddr, String> {
    let addr: IpAddr = text.parse().map_err(|_| {
        let hint = if text.contains('/') {
            "; leave out the length after /"
        } else {
            "; write one like 10.1.0.5 or fd01::5"
        };
        format!("{} is not an IP address{hint}", quoted(text))
    })?;
    unicast(addr)?;
    Ok(addr)
}

/// A host's address, with the length of the prefix around it when there is one.
pub(super) fn interface(text: &str) -> Result<IpNet, String> {
    let net = net(text)?;
    unicast(net.addr())?;
    Ok(net)
}

/// A range of addresses: host bits are zero.
pub(super) fn prefix(text: &str) -> Result<IpNet, String> {
    let net = net(text)?;
    if net == net.trunc() {
        Ok(net)
    } else {
        Err(format!(
            "{net} has bits set after its length; write {} or {}/{}",
            net.trunc(),
            net.addr(),
            net.max_prefix_len()
        ))
    }
}

/// An address or prefix that packets come from or go to: no group's, not all of them.
pub(super) fn public(text: &str) -> Result<IpNet, String> {
    let net = prefix(text)?;
    if net.prefix_len() == net.max_prefix_len() {
        unicast(net.addr())?;
    } else if net.prefix_len() == 0 || net.addr().is_multicast() {
        return Err(format!("{net} are not the addresses of hosts"));
    }
    Ok(net)
}

/// Prefixes as text, those of one address without the length.
pub(super) fn prefix_texts(nets: &[IpNet]) -> Vec<String> {
    nets.iter().map(interface_text).collect()
}

/// An interface as text: without the length when it is one address.
pub(super) fn interface_text(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() {
        net.addr().to_string()
    } else {
        net.to_string()
    }
}

fn net(text: &str) -> Result<IpNet, String> {
    if let Ok(addr) = text.parse::<IpAddr>() {
        return Ok(addr.into());
    }
    text.parse().map_err(|_| {
        format!(
            "{} is not an address or prefix; write one like 10.1.0.0/24 or fd01::/64",
            quoted(text)
        )
    })
}

fn unicast(addr: IpAddr) -> Result<(), String> {
    let broadcast = matches!(addr, IpAddr::V4(v4) if v4.is_broadcast());
    if addr.is_unspecified() || addr.is_multicast() || broadcast {
        Err(format!("{addr} is not the address of one host"))
    } else {
        Ok(())
    }
}

/// What was written, as it may stand in a message: on one line, not endless.
pub(crate) fn quoted(text: &str) -> String {
    const SHOWN: usize = 48;
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("`{}`", shown.escape_debug())
}
