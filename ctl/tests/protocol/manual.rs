//! The `.proto` files are the reference manual: nothing in them is without words.

use std::fs;
use std::path::Path;

/// Lines that begin a message, field, enum, value, call or service, and have no
/// comment above them.
fn silent(text: &str) -> Vec<String> {
    let mut silent = Vec::new();
    let mut is_said = false;
    for line in text.lines().map(str::trim) {
        let first = line.split([' ', '=']).next().unwrap_or_default();
        match first {
            "//" => {
                is_said = true;
                continue;
            }
            "" | "}" | "syntax" | "package" | "import" | "option" | "oneof" => {}
            _ if !is_said => silent.push(line.to_owned()),
            _ => {}
        }
        is_said = false;
    }
    silent
}

#[test]
fn every_message_field_value_and_call_has_a_comment() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto/vrouter/v1");
    let mut files = 0;
    for file in fs::read_dir(dir).unwrap() {
        let path = file.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("// "),
            "{}: says not what it is",
            path.display()
        );
        let silent = silent(&text);
        assert!(silent.is_empty(), "{}: {silent:#?}", path.display());
        files += 1;
    }
    assert!(files >= 8);
}

#[test]
fn what_is_not_said_is_noticed() {
    let text = "// A file.\nsyntax = \"proto3\";\n\n// Said.\nmessage A {\n  // Said.\n  string b = 1;\n  string c = 2;\n}\nenum D {\n}\n";
    assert_eq!(silent(text), ["string c = 2;", "enum D {"]);
}
