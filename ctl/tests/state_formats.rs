//! State files that other versions have written, kept beside this file.
//!
//! `UPDATE_STATE_SAMPLES=1` writes them anew: only what this version writes, and never
//! a sample of a format that was released.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

use ctl::convert;
use ctl::files::ObjectFiles;
use ctl::proto::{self, SavedCommit, SavedHeader};
use ctl::state::record::seal;
use ctl::state::{Entry, FILE_NAME, Saved, State, StateError};
use dataplane::Tables;
use prost::Message;

/// An object of every kind.
const OBJECTS: &str = r#"
vrfs:
  - {name: front, gateways: [10.1.0.1/24, "fd01::1/64"], learning: true, flow_quota: 1000}
  - {name: public}
vifs:
  - {name: up0, role: fabric, device: net_null0, addresses: [192.0.2.1/24]}
  - {name: web-1, role: tenant, device: net_null1, vrf: front, mac: "02:00:00:00:01:05", addresses: [10.1.0.5], ingress_policies: [web], ingress_meter: gold, mirror: tap}
nexthops:
  - {name: to-node2, tunnel: {encap: vxlan, remote: 192.0.2.2, vni: 5001}}
  - {name: to-tap, tunnel: {encap: vxlan, remote: 192.0.2.3, vni: 7}}
  - {name: leak, vrf: public}
routes:
  - {vrf: front, prefix: 10.1.0.9/32, nexthop: to-node2}
  - {vrf: front, prefix: 0.0.0.0/0, nexthop: leak}
macs:
  - {vrf: front, mac: "02:00:00:00:09:09", nexthop: to-node2, ip: 10.1.0.9}
vnis:
  - {vni: 5001, vrf: front}
labels:
  - {label: 100, vrf: front}
address_sets:
  - {name: lb, prefixes: [10.9.0.0/24, "fd09::/64"]}
policies:
  - name: web
    rules:
      - {id: 10, action: allow, protocol: tcp, source_sets: [lb], destination_ports: ["80", "8000-8100"]}
floating_ips:
  - {name: web-public, vrf: public, address: 198.51.100.7, vifs: [web-1]}
snat_pools:
  - {name: out, vrf: front, outside_vrf: public, addresses: [198.51.100.16/30]}
services:
  - {name: redis, vrf: front, address: 10.200.0.1, protocol: tcp, port: 6379, backends: [{address: 10.1.0.9}]}
mirrors:
  - {name: tap, nexthop: to-tap}
meters:
  - {name: gold, bits_per_second: 1000000}
"#;

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/state_samples")
}

fn commit() -> SavedCommit {
    let mut files = ObjectFiles::default();
    files.read("samples", OBJECTS);
    assert!(files.mistakes().is_empty(), "{:?}", files.mistakes());
    SavedCommit {
        owner: "tester".into(),
        upserts: files.objects().cloned().collect(),
        deletes: vec![],
    }
}

/// Opens a copy of a sample: opening writes to it.
fn open(name: &str) -> Result<Saved, StateError> {
    let dir = tempfile::tempdir().unwrap();
    let sample = samples().join(name);
    fs::copy(&sample, dir.path().join(FILE_NAME)).unwrap();
    State::open(dir.path()).map(|(_, saved)| saved)
}

fn write(name: &str, change: impl FnOnce(&redb::WriteTransaction)) {
    let dir = tempfile::tempdir().unwrap();
    let (mut state, _) = State::open(dir.path()).unwrap();
    state.commit(&[Entry::new(1, &commit())]).unwrap();
    drop(state);
    let file = dir.path().join(FILE_NAME);
    let db = redb::Database::open(&file).unwrap();
    let transaction = db.begin_write().unwrap();
    change(&transaction);
    transaction.commit().unwrap();
    drop(db);
    fs::create_dir_all(samples()).unwrap();
    fs::copy(&file, samples().join(name)).unwrap();
}

const HEADER: redb::TableDefinition<u64, &[u8]> = redb::TableDefinition::new("header");
const LOG: redb::TableDefinition<u64, &[u8]> = redb::TableDefinition::new("log");

#[test]
fn samples_are_written_on_request() {
    if std::env::var_os("UPDATE_STATE_SAMPLES").is_none() {
        return;
    }
    write("format-1.redb", |_| {});
    write("later-field.redb", |transaction| {
        let mut log = transaction.open_table(LOG).unwrap();
        let later = seal(b"log\x01\0\0\0\0\0\0\0", &LaterCommit::default());
        log.insert(1, &*later).unwrap();
    });
    write("format-2.redb", |transaction| {
        let header = SavedHeader {
            format: 2,
            written_by: "9.9.9".into(),
        };
        let mut table = transaction.open_table(HEADER).unwrap();
        table.insert(0, &*seal(b"header", &header)).unwrap();
    });
}

/// A commit of a version whose commits say more.
#[derive(Clone, PartialEq, Message)]
struct LaterCommit {
    #[prost(string, tag = "1")]
    owner: String,
    #[prost(message, optional, tag = "100")]
    more: Option<proto::RouteKey>,
}

impl LaterCommit {
    fn default() -> LaterCommit {
        LaterCommit {
            owner: "tester".into(),
            more: Some(proto::RouteKey::default()),
        }
    }
}

#[test]
fn objects_of_every_kind_are_read_as_they_were_written() {
    let saved = open("format-1.redb").unwrap();
    let commit = commit();
    assert_eq!(
        (saved.generation, saved.objects.len()),
        (1, commit.upserts.len())
    );
    for written in &commit.upserts {
        let object = convert::object(written).unwrap();
        let stored = &saved.objects[&object.key()];
        assert_eq!((&stored.object, &*stored.owner), (&object, "tester"));
    }
    let draft = Tables::new(1).restore(saved.generation, &saved.objects);
    let (tables, _) = draft.unwrap().finish(|_| None);
    assert_eq!(tables.generation(), 1);
    assert_eq!(tables.objects().count(), commit.upserts.len());
}

#[test]
fn a_later_format_is_refused_with_the_version_that_reads_it() {
    let said = open("format-2.redb").err().unwrap().to_string();
    assert!(
        said.contains("has format 2, written by vrouterd 9.9.9"),
        "{said}"
    );
    assert!(said.contains("--without-state"), "{said}");
}

#[test]
fn a_field_that_came_later_is_not_passed_over() {
    let said = open("later-field.redb").err().unwrap().to_string();
    assert!(
        said.contains("the commit of generation 1 was written by a later version"),
        "{said}"
    );
}
