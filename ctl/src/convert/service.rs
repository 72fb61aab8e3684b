//! Services, their backends and how these are asked after.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::ops::RangeInclusive;

use dataplane::tables::maglev::is_prime;
use dataplane::tables::spec::{
    Backend, BackendState, HealthCheck, MAGLEV_TABLE_SIZE, Name, OnDown, Probe, Service,
};
use encap::protocol;

use super::problems::Problems;
use super::{l4, text};
use crate::proto;
use crate::proto::health_check as written;

const PORTS: RangeInclusive<u64> = 1..=65_535;

/// A virtual address with backends.
pub(super) fn service(w: &proto::Service, p: &mut Problems) -> Option<Service> {
    let name = p.text("name", &w.name, text::name);
    let vrf = p.text("vrf", &w.vrf, text::name);
    let address = p.text("address", &w.address, text::ip);
    let protocol = p.text("protocol", &w.protocol, l4::service_protocol);
    let port = match w.port {
        Some(port) => p.number("port", port, PORTS, "a service's port"),
        None => p.missing("port", "the port called, 1 to 65535"),
    };
    let backends = backends(w, address, port, p);
    let affinity = p.optional(
        "affinity_timeout_s",
        w.affinity_timeout_s,
        |p, field, timeout| p.number(field, timeout, 1..=864_000, "a timeout in seconds"),
    );
    let table_size = table_size(w, p);
    let on_down = match proto::OnDown::try_from(w.on_down) {
        Ok(proto::OnDown::Move | proto::OnDown::Unspecified) => Some(OnDown::Move),
        Ok(proto::OnDown::Reset) => Some(OnDown::Reset),
        Err(_) => p.invalid("on_down", format!("{} is no choice", w.on_down)),
    };
    let health = p.optional("health", w.health.as_ref(), |p, field, w| {
        p.inside(field, |p| health(w, protocol, p))
    });
    let backend_vrf = p.name("backend_vrf", w.backend_vrf.as_ref());
    Some(Service {
        name: name?,
        vrf: vrf?,
        address: address?,
        protocol: protocol?,
        port: port?,
        backend_vrf: backend_vrf?,
        backends: backends?,
        affinity_timeout_s: affinity?,
        table_size: table_size?,
        on_down: on_down?,
        direct_return: w.direct_return,
        health: health?,
    })
}

fn backends(
    w: &proto::Service,
    address: Option<IpAddr>,
    port: Option<u16>,
    p: &mut Problems,
) -> Option<Vec<Backend>> {
    let mut places = HashMap::new();
    let backends = w.backends.iter().enumerate().map(|(index, of)| {
        p.within("backends", index, |p| {
            let backend = backend(of, port, p)?;
            let (at, port) = (backend.address, backend.port);
            if address.is_some_and(|address| address.is_ipv4() != at.is_ipv4()) {
                let reason = format!("{at} is of another IP version than the service's address");
                p.invalid::<()>("address", reason);
            }
            if w.direct_return && of.port.is_some_and(|own| Some(own) != w.port) {
                let reason = "with `direct_return` it is the service's; leave it out";
                p.invalid::<()>("port", reason.into());
            }
            let earlier = *places.entry((at, port)).or_insert(index);
            if earlier != index {
                let reason = format!("{at} port {port} is backends[{earlier}], too; keep one");
                p.invalid::<()>("address", reason);
            }
            Some(backend)
        })
    });
    let backends: Vec<Option<Backend>> = backends.collect();
    backends.into_iter().collect()
}

/// A machine behind a service; its port is the service's unless it says otherwise.
fn backend(w: &proto::Backend, service_port: Option<u16>, p: &mut Problems) -> Option<Backend> {
    use proto::BackendState as Written;
    let address = p.text("address", &w.address, text::ip);
    let port = match w.port {
        Some(port) => p.number("port", port, PORTS, "a backend's port"),
        None => service_port,
    };
    let weight: Option<u16> = p.number("weight", w.weight.unwrap_or(1), 1..=65_535, "a weight");
    let state = match Written::try_from(w.state) {
        Ok(Written::Active | Written::Unspecified) => Some(BackendState::Active),
        Ok(Written::Draining) => Some(BackendState::Draining),
        Ok(Written::Down) => Some(BackendState::Down),
        Err(_) => p.invalid("state", format!("{} is no state", w.state)),
    };
    Some(Backend {
        address: address?,
        port: port?,
        weight: NonZeroU16::new(weight?)?,
        state: state?,
    })
}

/// A prime, so that every backend's permutation visits the whole table (Maglev, NSDI 2016, §3.4).
fn table_size(w: &proto::Service, p: &mut Problems) -> Option<u32> {
    const MOST: u64 = 5_000_011;
    let what = "the size of a Maglev table";
    let size = w.table_size.unwrap_or(MAGLEV_TABLE_SIZE);
    let size: u32 = p.number("table_size", size, 3..=MOST, what)?;
    if !is_prime(size) {
        let near = (size..).find(|size| is_prime(*size)).unwrap_or(size);
        let reason = format!("{size} is not a prime; write {near}");
        return p.invalid("table_size", reason);
    }
    if w.backends.len() > size as usize {
        let reason = format!(
            "{size} are fewer entries than the {} backends; write a larger prime",
            w.backends.len()
        );
        return p.invalid("table_size", reason);
    }
    Some(size)
}

fn health(
    w: &proto::HealthCheck,
    service_protocol: Option<u8>,
    p: &mut Problems,
) -> Option<HealthCheck> {
    let probe = match &w.probe {
        Some(written::Probe::Tcp(_)) => Some(Probe::Tcp),
        Some(written::Probe::Http(w)) => p.inside("http", |p| http(w, p)),
        None => p.missing("", "what to ask: one of tcp, http"),
    };
    let port = p.optional("port", w.port, |p, field, port| {
        p.number(field, port, PORTS, "a port to ask")
    });
    if w.port.is_none() && service_protocol.is_some_and(|number| number != protocol::TCP) {
        p.missing::<()>("port", "the TCP port to ask; the service's is not TCP");
    }
    let interval = w.interval_ms.unwrap_or(2_000);
    let interval_ms = p.number("interval_ms", interval, 100..=3_600_000, "an interval");
    let longest: u32 = interval_ms.unwrap_or(3_600_000);
    let timeout = w.timeout_ms.unwrap_or(longest.min(1_000));
    let timeout_ms = p.number(
        "timeout_ms",
        timeout,
        10..=longest.into(),
        "a timeout within the interval",
    );
    let rise = p.number("rise", w.rise.unwrap_or(2), 1..=255, "a number of answers");
    let fall = p.number("fall", w.fall.unwrap_or(3), 1..=255, "a number of answers");
    Some(HealthCheck {
        probe: probe?,
        port: port?,
        interval_ms: interval_ms?,
        timeout_ms: timeout_ms?,
        rise: rise?,
        fall: fall?,
    })
}

fn http(w: &written::Http, p: &mut Problems) -> Option<Probe> {
    let path = match &*w.path {
        "" => Some("/".into()),
        path => p.text("path", path, http_path),
    };
    let host = p.optional("host", w.host.as_ref(), |p, field, host| {
        p.text(field, host, http_host)
    });
    let what = "an HTTP status";
    let least = p.number("status_min", w.status_min.unwrap_or(200), 100..=599, what);
    let most = w.status_max.unwrap_or(least.unwrap_or(200).max(399).into());
    let most = p.number("status_max", most, 100..=599, what);
    if let (Some(least), Some(most)) = (least, most)
        && least > most
    {
        let reason = format!("{most} is less than `status_min`, {least}");
        return p.invalid("status_max", reason);
    }
    Some(Probe::Http {
        path: path?,
        host: host?,
        status: (least?, most?),
    })
}

fn http_path(text: &str) -> Result<Name, String> {
    if !text.starts_with('/') {
        let text = text::quoted(text);
        return Err(format!("{text} is not a path; it begins with /"));
    }
    http_word(text, 1024)
}

fn http_host(text: &str) -> Result<Name, String> {
    // RFC 1035 §2.3.4.
    http_word(text, 255)
}

/// What may stand in a request's first line or header without ending it.
fn http_word(text: &str, most: usize) -> Result<Name, String> {
    if text.len() <= most && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(text.into());
    }
    let text = text::quoted(text);
    Err(format!(
        "{text} does not do; at most {most} bytes of printable ASCII without spaces"
    ))
}

impl From<&Service> for proto::Service {
    fn from(service: &Service) -> Self {
        let on_down = match service.on_down {
            OnDown::Move => proto::OnDown::Move,
            OnDown::Reset => proto::OnDown::Reset,
        };
        proto::Service {
            name: service.name.to_string(),
            vrf: service.vrf.to_string(),
            address: service.address.to_string(),
            protocol: l4::protocol_name(service.protocol),
            port: Some(service.port.into()),
            backends: service.backends.iter().map(Into::into).collect(),
            affinity_timeout_s: service.affinity_timeout_s,
            table_size: Some(service.table_size),
            on_down: on_down.into(),
            direct_return: service.direct_return,
            health: service.health.as_ref().map(Into::into),
            backend_vrf: super::policy::name(&service.backend_vrf),
        }
    }
}

/// What a backend may get, as written.
pub(crate) fn backend_state(state: BackendState) -> proto::BackendState {
    match state {
        BackendState::Active => proto::BackendState::Active,
        BackendState::Draining => proto::BackendState::Draining,
        BackendState::Down => proto::BackendState::Down,
    }
}

impl From<&Backend> for proto::Backend {
    fn from(backend: &Backend) -> Self {
        let state = backend_state(backend.state);
        let weight = u32::from(backend.weight.get());
        proto::Backend {
            address: backend.address.to_string(),
            port: Some(backend.port.into()),
            weight: (weight != 1).then_some(weight),
            state: state.into(),
        }
    }
}

impl From<&HealthCheck> for proto::HealthCheck {
    fn from(health: &HealthCheck) -> Self {
        let probe = match &health.probe {
            Probe::Tcp => written::Probe::Tcp(written::Tcp {}),
            Probe::Http { path, host, status } => written::Probe::Http(written::Http {
                path: path.to_string(),
                host: host.as_ref().map(ToString::to_string),
                status_min: Some(status.0.into()),
                status_max: Some(status.1.into()),
            }),
        };
        proto::HealthCheck {
            probe: Some(probe),
            port: health.port.map(u32::from),
            interval_ms: Some(health.interval_ms),
            timeout_ms: Some(health.timeout_ms),
            rise: Some(health.rise.into()),
            fall: Some(health.fall.into()),
        }
    }
}
