//! Array texts (PostgreSQL manual, "Array Input and Output Syntax").

use std::borrow::Cow;

/// Writes an array as JSON, each element by `write`; false, with anything written, if the text is not an
/// array.
pub(super) fn write_array(
    out: &mut Vec<u8>,
    delimiter: u8,
    text: &[u8],
    mut write: impl FnMut(&mut Vec<u8>, &[u8]),
) -> bool {
    let mut rest = without_bounds(text);
    let mut depth = 0_usize;
    // Whether an element or an inner array may stand here, as after `{` and a delimiter.
    let mut expects_element = true;
    loop {
        let Some((&byte, after)) = rest.split_first() else { return false };
        match byte {
            b'{' if expects_element => {
                out.push(b'[');
                depth += 1;
                rest = after;
                if let Some(after) = after.strip_prefix(b"}") {
                    rest = after;
                    out.push(b']');
                    depth -= 1;
                    expects_element = false;
                }
            }
            b'}' if depth > 0 && !expects_element => {
                out.push(b']');
                depth -= 1;
                rest = after;
            }
            _ if depth == 0 => return false,
            _ if byte == delimiter && !expects_element => {
                out.push(b',');
                expects_element = true;
                rest = after;
            }
            _ if expects_element => {
                let Some((value, after)) = next_element(rest, delimiter) else { return false };
                match value {
                    Some(value) => write(out, &value),
                    None => out.extend_from_slice(b"null"),
                }
                expects_element = false;
                rest = after;
            }
            _ => return false,
        }
        if depth == 0 {
            return rest.is_empty();
        }
    }
}

/// Writes an `int2vector` or an `oidvector` as JSON.
pub(super) fn write_vector(
    out: &mut Vec<u8>,
    text: &[u8],
    mut write: impl FnMut(&mut Vec<u8>, &[u8]),
) -> bool {
    out.push(b'[');
    for (position, number) in text.split(|&byte| byte == b' ').enumerate() {
        if text.is_empty() {
            break;
        }
        if position > 0 {
            out.push(b',');
        }
        write(out, number);
    }
    out.push(b']');
    true
}

/// The text without the bounds that stand before it where they do not begin at 1:
/// `[0:1][2:3]={{1,2},{3,4}}`.
fn without_bounds(text: &[u8]) -> &[u8] {
    match (text.first(), memchr::memchr(b'=', text)) {
        (Some(b'['), Some(equals)) => &text[equals + 1..],
        _ => text,
    }
}

/// An element, `None` for NULL, and what stands after it.
type Element<'a> = (Option<Cow<'a, [u8]>>, &'a [u8]);

fn next_element(text: &[u8], delimiter: u8) -> Option<Element<'_>> {
    if let Some(quoted) = text.strip_prefix(b"\"") {
        let (value, rest) = unquote(quoted)?;
        return Some((Some(value), rest));
    }
    let length = text.iter().position(|&byte| byte == delimiter || byte == b'}')?;
    let (value, rest) = text.split_at(length);
    if value.is_empty() || value.contains(&b'"') || value.contains(&b'{') {
        return None;
    }
    let value = (!value.eq_ignore_ascii_case(b"NULL")).then_some(Cow::Borrowed(value));
    Some((value, rest))
}

/// The value of a quoted element whose opening quote is behind us, and what stands after it.
fn unquote(text: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let end = memchr::memchr2(b'"', b'\\', text)?;
    if text[end] == b'"' {
        return Some((Cow::Borrowed(&text[..end]), &text[end + 1..]));
    }
    let mut value = Vec::with_capacity(text.len());
    let mut rest = text;
    loop {
        let special = memchr::memchr2(b'"', b'\\', rest)?;
        value.extend_from_slice(&rest[..special]);
        if rest[special] == b'"' {
            return Some((Cow::Owned(value), &rest[special + 1..]));
        }
        value.push(*rest.get(special + 1)?);
        rest = &rest[special + 2..];
    }
}
