//! Row texts (PostgreSQL manual, "Composite Type Input and Output Syntax").

use std::borrow::Cow;

use crate::kind::Kind;

/// Writes a composite value as a JSON object, each attribute by `write`; false, with anything written, if
/// the text is not a row with these attributes.
pub(super) fn write_composite(
    out: &mut Vec<u8>,
    attributes: &[(Vec<u8>, Kind)],
    text: &[u8],
    mut write: impl FnMut(&mut Vec<u8>, &Kind, &[u8]),
) -> bool {
    let Some(mut rest) = text.strip_prefix(b"(") else { return false };
    out.push(b'{');
    for (position, (name, kind)) in attributes.iter().enumerate() {
        if position > 0 {
            let Some(after) = rest.strip_prefix(b",") else { return false };
            rest = after;
            out.push(b',');
        }
        out.extend_from_slice(name);
        out.push(b':');
        let Some((value, after)) = next_attribute(rest) else { return false };
        match value {
            Some(value) => write(out, kind, &value),
            None => out.extend_from_slice(b"null"),
        }
        rest = after;
    }
    out.push(b'}');
    rest == b")"
}

/// An attribute's value, `None` for NULL, and what stands after it.
type Attribute<'a> = (Option<Cow<'a, [u8]>>, &'a [u8]);

fn next_attribute(text: &[u8]) -> Option<Attribute<'_>> {
    if matches!(text.first()?, b',' | b')') {
        return Some((None, text));
    }
    let mut value = Cow::Borrowed(&text[..0]);
    let mut rest = text;
    let mut quoted = false;
    loop {
        let end = rest.iter().position(|&byte| match byte {
            b'"' | b'\\' => true,
            b',' | b')' => !quoted,
            _ => false,
        })?;
        append(&mut value, &rest[..end]);
        let (special, after) = (rest[end], &rest[end + 1..]);
        rest = match (special, after) {
            (b'\\', [escaped, after @ ..]) => {
                value.to_mut().push(*escaped);
                after
            }
            (b'\\', []) => return None,
            (b'"', [b'"', after @ ..]) if quoted => {
                value.to_mut().push(b'"');
                after
            }
            (b'"', after) => {
                quoted = !quoted;
                after
            }
            _ => return Some((Some(value), &rest[end..])),
        };
    }
}

/// Adds `part`; the first part is only borrowed, and most values have no other.
fn append<'a>(value: &mut Cow<'a, [u8]>, part: &'a [u8]) {
    if value.is_empty() && matches!(value, Cow::Borrowed(_)) {
        *value = Cow::Borrowed(part);
    } else if !part.is_empty() {
        value.to_mut().extend_from_slice(part);
    }
}
