//! Replays of captures whose clocks do as they please.

use std::num::NonZeroU32;
use std::path::PathBuf;

use crate::common::*;
use dataplane::DropReason;
use dataplane::io::pcap::{PcapReader, PcapWriter};
use dataplane::replay;
use dataplane::tables::spec::Object;
use encap::MacAddr;

const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);

const SECOND: u64 = 1_000_000_000;
const DAY: u64 = 86_400 * SECOND;

/// Packets of one flow at these times; returns the flows that live at the end
/// with how many packets they saw.
fn replay(name: &str, times: &[u64]) -> Vec<u64> {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut writer = PcapWriter::create(&path).expect("a writable directory");
    let frame = udp((A, "10.1.0.10"), (ROUTER, "10.1.0.11"), 64);
    for time in times {
        writer.write(*time, &frame).expect("room on the disk");
    }
    writer.finish().expect("room on the disk");
    let objects = vec![
        vrf("red", &["10.1.0.1/24"]),
        tenant("a", "red", A, &["10.1.0.10"]),
        tenant("b", "red", B, &["10.1.0.11"]),
    ];
    let input = PcapReader::open(&path).expect("it was just written");
    let mut sent = 0;
    let report = replay::run(objects, vec![("a".into(), input)], 1, |_| {
        sent += 1;
        Ok(())
    });
    assert_eq!(sent, times.len());
    let report = report.expect("a valid configuration");
    report
        .flows
        .iter()
        .map(|flow| flow.forward_counters.packets)
        .collect()
}

#[test]
fn a_flow_lives_as_long_as_its_packets_come() {
    assert_eq!(replay("steady.pcap", &[0, SECOND, 2 * SECOND]), [3]);
    assert_eq!(replay("pause.pcap", &[0, SECOND, 3_600 * SECOND]), [1]);
}

#[test]
fn a_clock_that_jumps_by_weeks_or_years_ends_flows_and_nothing_else() {
    for days in [20, 26, 49, 50, 60, 365, 20_000] {
        let times = [
            0,
            SECOND,
            days * DAY,
            days * DAY + SECOND,
            (days + 50) * DAY,
        ];
        assert_eq!(replay("jump.pcap", &times), [1], "{days} days");
    }
}

#[test]
fn a_quota_holds_in_a_replay_too() {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("quota.pcap");
    let mut writer = PcapWriter::create(&path).expect("a writable directory");
    for to in ["10.1.0.11", "10.1.0.12"] {
        let frame = udp((A, "10.1.0.10"), (ROUTER, to), 64);
        writer.write(SECOND, &frame).expect("room on the disk");
    }
    writer.finish().expect("room on the disk");
    let mut a = tenant("a", "red", A, &["10.1.0.10"]);
    if let Object::Vif(vif) = &mut a {
        vif.flow_quota = NonZeroU32::new(1);
    }
    let b = tenant("b", "red", B, &["10.1.0.11", "10.1.0.12"]);
    let objects = vec![vrf("red", &["10.1.0.1/24"]), a, b];
    let input = PcapReader::open(&path).expect("it was just written");
    let report = replay::run(objects, vec![("a".into(), input)], 1, |_| Ok(()));
    let report = report.expect("a valid configuration");
    let drops: Vec<_> = report.vifs["a"].drops().collect();
    assert_eq!(drops, [(DropReason::FlowQuotaVif, 1)]);
    assert_eq!(report.flows.len(), 1);
}
