//! Texts as JSON strings.

/// A text as a JSON string, with its quotes.
pub(crate) fn json_string(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    write_string(&mut out, text.as_bytes());
    out
}

/// Writes a JSON string with the escapes of PostgreSQL's `escape_json`. Bytes that are not UTF-8,
/// which only a SQL_ASCII database can send, become U+FFFD.
pub(crate) fn write_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    if std::str::from_utf8(text).is_ok() {
        write_escaped(out, text);
    } else {
        for chunk in text.utf8_chunks() {
            write_escaped(out, chunk.valid().as_bytes());
            if !chunk.invalid().is_empty() {
                out.extend_from_slice("\u{FFFD}".as_bytes());
            }
        }
    }
    out.push(b'"');
}

/// Writes a part of a JSON string.
pub(crate) fn write_escaped(out: &mut Vec<u8>, mut text: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    loop {
        let (plain, rest) = text.split_at(plain_length(text));
        out.extend_from_slice(plain);
        let Some((&byte, after)) = rest.split_first() else { return };
        text = after;
        let short = match byte {
            b'"' | b'\\' => byte,
            0x08 => b'b',
            0x0C => b'f',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            _ => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', short]);
    }
}

/// How many bytes stand before the first that has to be escaped.
fn plain_length(text: &[u8]) -> usize {
    /// Processors compare as many bytes at once; most blocks have nothing to escape.
    const BLOCK: usize = 16;
    let is_special = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
    let is_plain = |block: &[u8; BLOCK]| !block.iter().fold(false, |any, &b| any | is_special(b));
    let (blocks, _) = text.as_chunks();
    let plain = blocks.iter().take_while(|block| is_plain(block)).count() * BLOCK;
    let rest = &text[plain..];
    plain + rest.iter().position(|&byte| is_special(byte)).unwrap_or(rest.len())
}
