//! An independent reader of what we send.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::run;

/// Captures merged into one, for as few calls of tshark as possible: each takes
/// a third of a second.
pub struct Capture {
    file: PathBuf,
    home: PathBuf,
}

impl Capture {
    /// Merges captures one behind the other into a file in `directory`.
    ///
    /// # Panics
    /// If that fails.
    pub fn merge(captures: &[PathBuf], directory: &Path) -> Capture {
        let file = directory.join("all.pcap");
        let mut merge = Command::new("mergecap");
        merge.args(["-a", "-F", "pcap", "-w"]).arg(&file);
        run(merge.args(captures));
        Capture {
            file,
            home: directory.into(),
        }
    }

    /// The fields of all frames that a display filter selects, a line each,
    /// separated by tabs; of a field that occurs more than once the first.
    pub fn fields(&self, filter: &str, fields: &[&str]) -> String {
        let mut command = Command::new("tshark");
        command.arg("-r").arg(&self.file);
        for check in ["ip", "tcp", "udp"] {
            command.args(["-o", &format!("{check}.check_checksum:TRUE")]);
        }
        // Legal for tunnels (RFC 6935 §5); whether it was meant is checked elsewhere.
        command.args(["-o", "udp.ignore_ipv6_zero_checksum:TRUE"]);
        // The captures are of many conversations that never were, with the same
        // ports and fragment ids.
        for follows in [
            "tcp.analyze_sequence_numbers",
            "ip.defragment",
            "ipv6.defragment",
        ] {
            command.args(["-o", &format!("{follows}:FALSE")]);
        }
        command.args(["-d", "udp.port==6635,mpls"]);
        command.args(["-Y", filter, "-T", "fields", "-E", "occurrence=f"]);
        for field in fields {
            command.args(["-e", field]);
        }
        run(command.env("HOME", &self.home))
    }

    /// What is malformed, has a wrong checksum, or earns an expert's warning, a line
    /// each: empty if all is well.
    pub fn objections(&self) -> String {
        // Not of a conversation: that it is reset, or a sequence number comes twice.
        const WARNING: &str =
            "(_ws.expert.severity >= 0x600000 && !(tcp.flags.reset == 1) && !esp)";
        let wrong = "_ws.malformed || ip.checksum.status == 0 || tcp.checksum.status == 0 \
                     || udp.checksum.status == 0 || icmp.checksum.status == 0 \
                     || icmpv6.checksum.status == 0";
        let fields = ["frame.number", "frame.protocols", "_ws.expert.message"];
        self.fields(&format!("{wrong} || {WARNING}"), &fields)
    }
}
