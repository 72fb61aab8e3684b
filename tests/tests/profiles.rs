//! The traffic profiles of `bench/profiles` for TRex: the packets that they make are right, of as
//! many flows and of such sizes as asked for, and a vrouter with the configuration beside them
//! sends every one on.

use std::collections::BTreeSet;
use std::path::PathBuf;

use tests::replay::{replay, try_python};
use tests::tshark::Capture;
use tests::{Ledger, Scratch};

const PACKETS: usize = 4_000;

/// A profile, what is typed behind it, and what its packets are like.
struct Profile {
    name: &'static str,
    tunables: &'static [&'static str],
    configuration: &'static str,
    ingress: &'static str,
    egress: &'static str,
    /// Fields that tell the flow.
    flow: [&'static str; 2],
    flows: usize,
    /// Sizes of the frames, without their checksum.
    sizes: &'static [&'static str],
}

const ENCAP: Profile = Profile {
    name: "encap",
    tunables: &["--flows", "500"],
    configuration: "plain",
    ingress: "machine",
    egress: "uplink",
    flow: ["ip.src", "udp.srcport"],
    flows: 500,
    sizes: &["60"],
};

const PROFILES: &[Profile] = &[
    ENCAP,
    Profile {
        tunables: &["--flows", "100", "--family", "6", "--size", "imix"],
        flow: ["ipv6.src", "udp.srcport"],
        flows: 100,
        sizes: &["62", "590", "1514"],
        ..ENCAP
    },
    Profile {
        // More than there are addresses, so that ports vary, too.
        tunables: &["--flows", "1000000", "--size", "512"],
        flows: PACKETS,
        sizes: &["508"],
        ..ENCAP
    },
    Profile {
        name: "whole",
        tunables: &["--flows", "300", "--latency"],
        configuration: "whole",
        flows: 300,
        sizes: &["60", "80"],
        ..ENCAP
    },
    Profile {
        name: "new_flows",
        tunables: &[],
        configuration: "whole",
        flows: PACKETS,
        ..ENCAP
    },
    DECAP,
    Profile {
        tunables: &["--flows", "300", "--encap", "mpls_udp"],
        sizes: &["92"],
        ..DECAP
    },
    Profile {
        tunables: &["--flows", "300", "--encap", "mpls_gre", "--family", "6"],
        flow: ["ipv6.src", "udp.srcport"],
        sizes: &["90"],
        ..DECAP
    },
];

const DECAP: Profile = Profile {
    name: "decap",
    tunables: &["--flows", "300"],
    configuration: "whole",
    ingress: "uplink",
    egress: "machine",
    flow: ["ip.src", "udp.srcport"],
    flows: 300,
    sizes: &["110"],
};

#[test]
fn every_packet_of_every_profile_is_right_and_goes_through() {
    for profile in PROFILES {
        let what = format!("{} {}", profile.name, profile.tunables.join(" "));
        let scratch = Scratch::new("profile");
        let input = scratch.join(format!("{}.pcap", profile.ingress));
        let script = format!("{}/trex/packets.py", env!("CARGO_MANIFEST_DIR"));
        let file = format!("{}/trex/{}.py", profiles().display(), profile.name);
        let (count, out) = (PACKETS.to_string(), input.display().to_string());
        let arguments = ["--count", &count, "--out", &out, "-t"];
        let arguments = [&[script.as_str(), &file][..], &arguments, profile.tunables].concat();
        let Some(made) = try_python(&arguments) else {
            return;
        };
        assert!(made.status == Some(0), "{what}: {made}");

        let capture = Capture::merge(std::slice::from_ref(&input), &scratch);
        assert_eq!(capture.objections(), "", "{what}");
        let sizes = distinct(&capture.fields("frame", &["frame.len"]));
        assert_eq!(
            sizes,
            profile.sizes.iter().copied().map(str::to_owned).collect(),
            "{what}"
        );

        let objects = profiles().join(format!("{}.yaml", profile.configuration));
        let report = replay(&objects, &[&input], &scratch);
        let ledger = Ledger::of_report(&report);
        assert_eq!(
            (ledger.rx, ledger.tx),
            (PACKETS as u64, PACKETS as u64),
            "{what}: {report}"
        );
        let sent = &report["vifs"][profile.egress]["tx_packets"];
        assert_eq!(tests::ledger::number(sent), PACKETS as u64, "{what}");

        // Of what is in the tunnel where there is one: what the machine sends or receives.
        let inside = match profile.egress {
            "machine" => Capture::merge(&[scratch.join("out/machine.pcap")], &scratch),
            _ => capture,
        };
        let flows = distinct(&inside.fields("udp", &profile.flow)).len();
        let range = profile.flows * 9 / 10..=profile.flows;
        assert!(range.contains(&flows), "{what}: {flows} flows");
    }
}

fn profiles() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../bench/profiles"))
}

fn distinct(lines: &str) -> BTreeSet<String> {
    lines.lines().map(str::to_owned).collect()
}
