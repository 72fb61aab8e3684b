//! Aligned columns, printed in pieces so that a long table needs no memory.

use std::io::{self, Write};

use crate::paint::{Colour, paint};

/// A table: rows wait until [`Table::flush`]; columns only ever grow.
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
    head_is_due: bool,
}

struct Column {
    title: &'static str,
    /// In characters.
    width: usize,
    right: bool,
}

impl Table {
    /// A table with these titles; one that ends in `>` is a column of numbers,
    /// aligned to the right.
    pub(crate) fn new(titles: &[&'static str]) -> Table {
        let column = |title: &&'static str| {
            let (title, right) = match title.strip_suffix('>') {
                Some(title) => (title, true),
                None => (*title, false),
            };
            Column {
                title,
                width: title.chars().count(),
                right,
            }
        };
        Table {
            columns: titles.iter().map(column).collect(),
            rows: Vec::new(),
            head_is_due: true,
        }
    }

    /// Adds a row; an empty cell shows as a dash.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.columns.len(), "a cell per column");
        self.rows.push(cells);
    }

    /// Writes the rows added since the last time, under the titles the first time.
    pub(crate) fn flush(&mut self, out: &mut dyn Write) -> io::Result<()> {
        for row in &mut self.rows {
            for (cell, column) in row.iter_mut().zip(&mut self.columns) {
                if cell.is_empty() {
                    cell.push('-');
                }
                column.width = column.width.max(cell.chars().count());
            }
        }
        if self.head_is_due {
            let titles = self.columns.iter().map(|column| column.title.to_owned());
            let head = self.line(&titles.collect::<Vec<_>>());
            writeln!(out, "{}", paint(&head, Colour::Bold))?;
            self.head_is_due = false;
        }
        for row in std::mem::take(&mut self.rows) {
            writeln!(out, "{}", self.line(&row))?;
        }
        Ok(())
    }

    fn line(&self, cells: &[String]) -> String {
        let mut line = String::new();
        for (column, cell) in self.columns.iter().zip(cells) {
            let width = column.width;
            let cell = if column.right {
                format!("{cell:>width$}  ")
            } else {
                format!("{cell:<width$}  ")
            };
            line.push_str(&cell);
        }
        line.trim_end().into()
    }
}

/// A time span for people: `5s`, `3m07s`, `2h04m`, `9d3h`.
pub(crate) fn span(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        3600..86400 => format!("{}h{:02}m", s / 3600, s % 3600 / 60),
        _ => format!("{}d{}h", s / 86400, s % 86400 / 3600),
    }
}

/// A count with its noun: `1 vif`, `3 vifs`, `3 policies`.
pub(crate) fn count(n: usize, noun: &str) -> String {
    match noun.strip_suffix('y') {
        _ if n == 1 => format!("1 {noun}"),
        Some(stem) => format!("{n} {stem}ies"),
        None => format!("{n} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_grow() {
        let mut table = Table::new(&["NAME", "N>"]);
        let mut out = Vec::new();
        table.row(vec!["a".into(), "5".into()]);
        table.flush(&mut out).unwrap();
        table.row(vec!["longer".into(), "1000".into()]);
        table.row(vec![String::new(), "1".into()]);
        table.flush(&mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "NAME  N\na     5\nlonger  1000\n-          1\n"
        );
    }

    #[test]
    fn spans_keep_two_units() {
        let shown = [5_000, 187_000, 7_440_000, 788_400_000].map(span);
        assert_eq!(shown, ["5s", "3m07s", "2h04m", "9d3h"]);
    }
}
