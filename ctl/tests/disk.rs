//! Disks that are full or cannot be written: real ones, which takes the right to mount.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use ctl::proto::refusal::Code;
use ctl::proto::{self, ApplyRequest, Change, Outcome};
use ctl::state::State;
use support::{Daemon, runtime};
use tempfile::TempDir;

/// A small file system; gone when dropped.
struct Disk(TempDir);

impl Disk {
    fn mount(size: &str) -> Option<Disk> {
        let disk = Disk(tempfile::tempdir().unwrap());
        let options = format!("size={size}");
        let mounted = mount(&["-t", "tmpfs", "-o", &options, "none"], disk.path());
        if !mounted {
            println!("left out: only root can mount file systems");
        }
        mounted.then_some(disk)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn make_read_only(&self) {
        assert!(mount(&["-o", "remount,ro"], self.path()));
    }

    /// Takes all room but so many bytes.
    fn fill(&self, but: usize) {
        let filler = self.path().join("filler");
        let mut len = 64 << 20;
        while len > 0 {
            let mut bytes = fs::read(&filler).unwrap_or_default();
            bytes.resize(bytes.len() + len, 1);
            let fits = fs::write(&filler, &bytes).is_ok();
            if !fits {
                bytes.truncate(bytes.len() - len);
                fs::write(&filler, &bytes).unwrap();
                len /= 2;
            }
            if len < 4096 {
                break;
            }
        }
        let len = fs::metadata(&filler).unwrap().len();
        let file = fs::OpenOptions::new().write(true).open(&filler).unwrap();
        file.set_len(len.saturating_sub(but as u64)).unwrap();
    }

    fn make_room(&self) {
        fs::remove_file(self.path().join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        _ = Command::new("umount")
            .arg(self.path())
            .stderr(Stdio::null())
            .status();
    }
}

fn mount(options: &[&str], at: &Path) -> bool {
    let mut command = Command::new("mount");
    let command = command.args(options).arg(at).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// An address set with so many prefixes.
fn request(name: &str, prefixes: u32) -> ApplyRequest {
    let host = |i: u32| std::net::Ipv4Addr::from(0x0a00_0000 + i).to_string();
    let set = proto::AddressSet {
        name: name.into(),
        prefixes: (0..prefixes).map(host).collect(),
    };
    let object = Some(proto::object::Object::AddressSet(set));
    let upsert = proto::change::Change::Upsert(proto::Object { object });
    ApplyRequest {
        changes: vec![Change {
            change: Some(upsert),
        }],
        owner: "tester".into(),
        ..ApplyRequest::default()
    }
}

#[test]
fn a_full_disk_refuses_commits_by_name_until_there_is_room() {
    let Some(disk) = Disk::mount("8m") else {
        return;
    };
    let mut daemon = Daemon::start_in(disk.path());
    runtime().block_on(async {
        let mut client = daemon.client().await;
        let first = client.apply(request("first", 10)).await.unwrap();
        assert_eq!(first.outcome(), Outcome::Committed);
        disk.fill(0);
        // Some may still find room in the file itself.
        let mut kept = 1;
        let refused = loop {
            let name = format!("more-{kept}");
            let response = client.apply(request(&name, 20_000)).await.unwrap();
            match response.outcome() {
                Outcome::Committed => kept += 1,
                _ => break response,
            }
            assert!(kept < 1_000);
        };
        assert_eq!(refused.outcome(), Outcome::Refused);
        assert_eq!(refused.refusals[0].code(), Code::NotDurable);
        let reason = &refused.refusals[0].reason;
        assert!(
            reason.contains("state.redb: No space left on device"),
            "{reason}"
        );
        // Nothing was changed, and what asks is answered.
        let (objects, generation) = client.list(&[], None).await.unwrap();
        assert_eq!((objects.len() as u64, generation), (kept, kept));
        let again = client.apply(request("big", 20_000)).await.unwrap();
        assert_eq!(again.refusals[0].code(), Code::NotDurable);
        disk.make_room();
        let done = client.apply(request("big", 20_000)).await.unwrap();
        assert_eq!(done.outcome(), Outcome::Committed, "{done:?}");
        assert_eq!(done.generation, kept + 1);
        daemon.stop();
        let (_, saved) = State::open(disk.path()).unwrap();
        assert_eq!(saved.generation, kept + 1);
        assert_eq!(saved.objects.len() as u64, kept + 1);
    });
}

#[test]
fn a_disk_that_cannot_be_written_is_no_place_to_start_from() {
    let Some(disk) = Disk::mount("8m") else {
        return;
    };
    let mut daemon = Daemon::start_in(disk.path());
    runtime().block_on(async {
        let mut client = daemon.client().await;
        client.apply(request("first", 10)).await.unwrap();
    });
    daemon.stop();
    disk.make_read_only();
    let said = State::open(disk.path()).err().unwrap().to_string();
    assert!(said.contains("state.redb: Read-only file system"), "{said}");
    assert!(said.contains("--without-state"), "{said}");
}
