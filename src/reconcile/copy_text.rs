//! The text format of COPY (PostgreSQL manual, "COPY", "Text Format").

use crate::cell::Cell;

/// The columns of a line, with or without its newline. The escapes in it are undone in place.
pub(super) fn split_line(line: &mut [u8]) -> impl Iterator<Item = Cell<'_>> {
    let line = match line {
        [line @ .., b'\n'] => line,
        line => line,
    };
    line.split_mut(|&byte| byte == b'\t').map(|column| match *column {
        [b'\\', b'N'] => Cell::Null,
        _ => Cell::Text(unescape(column)),
    })
}

/// Undoes the escapes that the server writes: a backslash and a letter for control characters, a
/// backslash before anything else for that.
fn unescape(text: &mut [u8]) -> &[u8] {
    let Some(mut from) = memchr::memchr(b'\\', text) else { return text };
    let mut to = from;
    while let Some(&byte) = text.get(from) {
        let (byte, length) = match (byte, text.get(from + 1)) {
            (b'\\', Some(&escaped)) => (control_character(escaped), 2),
            (byte, _) => (byte, 1),
        };
        text[to] = byte;
        to += 1;
        from += length;
    }
    &text[..to]
}

fn control_character(letter: u8) -> u8 {
    match letter {
        b'b' => 0x08,
        b'f' => 0x0C,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0B,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_are_split_and_unescaped() {
        let text = |text: &'static str| Cell::Text(text.as_bytes());
        for (line, expected) in [
            ("1\tab\n", vec![text("1"), text("ab")]),
            ("\n", vec![text("")]),
            ("\t\\N\t", vec![text(""), Cell::Null, text("")]),
            (
                "a\\tb\\\\N\\n\\r\\b\\f\\v\t\\\\N\n",
                vec![text("a\tb\\N\n\r\x08\x0c\x0b"), text("\\N")],
            ),
            ("a\\", vec![text("a\\")]),
        ] {
            let mut bytes = line.as_bytes().to_vec();
            assert_eq!(split_line(&mut bytes).collect::<Vec<_>>(), expected, "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(mut line in prop::collection::vec(any::<u8>(), 0..64)) {
            let tabs = line.iter().filter(|&&byte| byte == b'\t').count();
            prop_assert_eq!(split_line(&mut line).count(), tabs + 1);
        }
    }
}
