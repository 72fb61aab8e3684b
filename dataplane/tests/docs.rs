//! The table of drop reasons in `docs/` is what the code says.
//!
//! `UPDATE_DOCS=1 cargo test -p dataplane --test docs` writes it anew.

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
