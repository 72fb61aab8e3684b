//! The drop reasons in `docs/` and in the protocol are what the code says.
//!
//! `UPDATE_DOCS=1 cargo test -p dataplane --test docs` writes it anew.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::{env, fs};

use dataplane::DropReason;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/drop-reasons.md");

#[test]
fn the_table_of_drop_reasons_is_up_to_date() {
    let mut page = String::from(
        "# Drop reasons\n\n\
         Every packet that is dropped counts under one of these names, in `vrctl drops`, \
         `vrctl stats`, replay reports and tests alike.\n\n\
         | reason | what it means |\n|---|---|\n",
    );
    for reason in DropReason::ALL {
        writeln!(page, "| `{}` | {} |", reason.name(), reason.meaning()).expect("a string grows");
    }
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(PATH, &page).expect("docs/ can be written");
    }
    let written = fs::read_to_string(PATH).unwrap_or_default();
    assert!(
        written == page,
        "run UPDATE_DOCS=1 cargo test -p dataplane --test docs"
    );
}

const PROTO: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../ctl/proto/vrouter/v1/drop_reason.proto"
);

/// The numbers that reasons have in the protocol: those they have had, and new ones for new reasons.
fn numbers(written: &str) -> BTreeMap<String, u32> {
    let line = |line: &str| {
        let (name, number) = line.trim().strip_suffix(';')?.split_once(" = ")?;
        let name = name.strip_prefix("DROP_REASON_")?.to_lowercase();
        Some((name, number.parse().ok()?))
    };
    let mut numbers: BTreeMap<String, u32> = written.lines().filter_map(line).collect();
    for reason in DropReason::ALL {
        let next = numbers.values().max().map_or(1, |most| most + 1);
        numbers.entry(reason.name().into()).or_insert(next);
    }
    numbers
}

#[test]
fn the_drop_reasons_of_the_protocol_are_up_to_date() {
    let written = fs::read_to_string(PROTO).unwrap_or_default();
    let numbers = numbers(&written);
    let mut proto = String::from(
        "// Why a packet was dropped. Made from the engine's own list by\n\
         // `UPDATE_DOCS=1 cargo test -p dataplane --test docs`; a reason keeps its number.\n\
         syntax = \"proto3\";\n\npackage vrouter.v1;\n\n\
         // Why a packet was dropped; the same names, in lower case and without the prefix, stand\n\
         // in counters and metrics.\n\
         enum DropReason {\n  // A reason that this version of the protocol has no name for.\n  \
         DROP_REASON_UNSPECIFIED = 0;\n",
    );
    for reason in DropReason::ALL {
        let (meaning, name) = (reason.meaning(), reason.name().to_uppercase());
        let number = numbers[reason.name()];
        writeln!(proto, "  // {meaning}\n  DROP_REASON_{name} = {number};")
            .expect("a string grows");
    }
    proto += "}\n";
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(PROTO, &proto).expect("the protocol can be written");
    }
    let written = fs::read_to_string(PROTO).unwrap_or_default();
    assert!(
        written == proto,
        "run UPDATE_DOCS=1 cargo test -p dataplane --test docs"
    );
}
