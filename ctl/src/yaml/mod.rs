//! YAML files to protocol messages and back, driven by the descriptors of the
//! messages: a field added to a `.proto` file is at once a key of the files.
//!
//! The way in has two steps: [`tree`] turns text into nodes with line numbers,
//! [`walk`] turns nodes into a message of a given type and notes every
//! mistake. The way out is [`emit`].

pub(crate) mod emit;
pub(crate) mod tree;
pub(crate) mod walk;

#[cfg(test)]
mod tests;
