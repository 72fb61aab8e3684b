//! Colours, for people at terminals only.

use std::io::IsTerminal;

/// What a colour means.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colour {
    /// Bad, or gone.
    Red,
    /// Good, or new.
    Green,
    /// Could be better.
    Yellow,
    /// A heading.
    Bold,
}

/// The text in a colour if standard output is a terminal and nobody asked for none
/// (<https://no-color.org>).
pub(crate) fn paint(text: &str, colour: Colour) -> String {
    if !is_wanted() {
        return text.into();
    }
    let code = match colour {
        Colour::Red => 31,
        Colour::Green => 32,
        Colour::Yellow => 33,
        Colour::Bold => 1,
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

fn is_wanted() -> bool {
    let forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !forbidden && std::io::stdout().is_terminal()
}
