//! YAML text as a tree of nodes that remember their lines.
//!
//! The events come from saphyr-parser: pure Rust, alive, tested against the
//! YAML test suite, and it hands out positions *and* the quoting of scalars, so
//! that `name: 5` and `name: "5"` differ. It builds nothing, so the tree and its
//! limits are ours. (yaml-rust2, its parent, gets basic maintenance only;
//! marked-yaml builds on that one; the serde readers stop at the first error.)
//!
//! Aliases are refused, which leaves no way for a small file to become a large
//! tree; nesting is bounded; there is no recursion while reading.

use saphyr_parser::{Event, Parser, ScalarStyle};

/// Nesting deeper than any message of ours; bounds the recursion of the walker.
const MAX_DEPTH: usize = 32;

/// A value and the line it starts on, counted from 1.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) line: usize,
    pub(crate) value: Value,
}

/// What a node holds.
#[derive(Debug)]
pub(crate) enum Value {
    /// A scalar; only an unquoted one may be something else than text.
    Scalar { text: String, plain: bool },
    /// `[a, b]` or lines with dashes.
    List(Vec<Node>),
    /// `{a: b}` or lines with keys, in the file's order, duplicates and all.
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) line: usize,
    pub(crate) key: String,
    pub(crate) node: Node,
}

/// Text that is no YAML of the kind read here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    pub(crate) line: usize,
    pub(crate) reason: String,
}

impl Node {
    /// The line of what `path` names below this node (`tunnel.remote`,
    /// `gateways[1]`), or of the nearest part of it that is there.
    pub(crate) fn line_of(&self, path: &str) -> usize {
        let mut line = self.line;
        let mut node = self;
        for step in path.split(['.', '[']).filter(|step| !step.is_empty()) {
            let next = match &node.value {
                Value::Map(entries) => entries
                    .iter()
                    .find(|entry| entry.key == step)
                    .map(|entry| (entry.line, &entry.node)),
                Value::List(items) => step
                    .strip_suffix(']')
                    .and_then(|index| items.get(index.parse::<usize>().ok()?))
                    .map(|item| (item.line, item)),
                Value::Scalar { .. } => None,
            };
            let Some(found) = next else { break };
            (line, node) = found;
        }
        line
    }
}

/// Reads every document of `text`.
///
/// # Errors
/// The first place where it is not YAML, or uses what is not part of our files.
pub(crate) fn parse(text: &str) -> Result<Vec<Node>, SyntaxError> {
    let mut parser = Parser::new_from_str(text);
    let mut builder = Builder::default();
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| SyntaxError {
            line: error.marker().line(),
            reason: format!("this is not YAML: {}", error.info()),
        })?;
        builder.take(event, span.start.line())?;
    }
    Ok(builder.documents)
}

/// The nodes that are still open, outermost first.
#[derive(Default)]
struct Builder {
    documents: Vec<Node>,
    open: Vec<Node>,
    /// For each open map, the key that waits for its value.
    keys: Vec<Option<(usize, String)>>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, line: usize) -> Result<(), SyntaxError> {
        let refuse = |reason: &str| {
            Err(SyntaxError {
                line,
                reason: reason.into(),
            })
        };
        match event {
            Event::Scalar(_, _, _, Some(_))
            | Event::SequenceStart(_, Some(_))
            | Event::MappingStart(_, Some(_)) => {
                refuse("tags like !!str have no place here; quote what is meant as text")
            }
            Event::Alias(_) => refuse("aliases like *name have no place here; write the value out"),
            Event::Scalar(text, style, ..) => {
                let plain = style == ScalarStyle::Plain;
                let text = text.into_owned();
                self.close(Node {
                    line,
                    value: Value::Scalar { text, plain },
                })
            }
            Event::SequenceStart(..) => self.open(line, Value::List(Vec::new())),
            Event::MappingStart(..) => self.open(line, Value::Map(Vec::new())),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(node) => {
                    if matches!(node.value, Value::Map(_)) {
                        self.keys.pop();
                    }
                    self.close(node)
                }
                None => refuse("a list or map ends that never began"),
            },
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn open(&mut self, line: usize, value: Value) -> Result<(), SyntaxError> {
        if self.open.len() == MAX_DEPTH {
            return Err(SyntaxError {
                line,
                reason: format!("nested more than {MAX_DEPTH} deep"),
            });
        }
        if matches!(value, Value::Map(_)) {
            self.keys.push(None);
        }
        self.open.push(Node { line, value });
        Ok(())
    }

    /// Puts a finished node where it belongs: into the innermost open one.
    fn close(&mut self, node: Node) -> Result<(), SyntaxError> {
        let Some(parent) = self.open.last_mut() else {
            self.documents.push(node);
            return Ok(());
        };
        match &mut parent.value {
            Value::List(items) => items.push(node),
            Value::Map(entries) => {
                let waiting = self.keys.last_mut().and_then(Option::take);
                match (waiting, node.value) {
                    (Some((line, key)), value) => entries.push(Entry {
                        line,
                        key,
                        node: Node { value, ..node },
                    }),
                    (None, Value::Scalar { text, .. }) => {
                        if let Some(slot) = self.keys.last_mut() {
                            *slot = Some((node.line, text));
                        }
                    }
                    (None, _) => {
                        return Err(SyntaxError {
                            line: node.line,
                            reason: "a key must be a word, not a list or map".into(),
                        });
                    }
                }
            }
            Value::Scalar { .. } => unreachable!("only lists and maps are opened"),
        }
        Ok(())
    }
}
