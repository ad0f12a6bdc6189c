//! Templates of keys: `/apisix/routes/{id}`.

use super::key::{decoded_key_column, write_key_column};
use super::pieces::{Piece, pieces};
use crate::nearest;

/// The template of a table's keys.
///
/// It is literal text and placeholders, at most one between two slashes. What it can give is its
/// pattern: a plain placeholder is any text without a slash and of at least one byte, `:dns` one or
/// more of them with slashes between, `:raw` any text. Since only one placeholder may have slashes
/// in it, a key says what each of them was, and no two rows have one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyTemplate {
    /// As it is written in the settings.
    text: String,
    /// The literal text that it starts with.
    keyspace: Vec<u8>,
    /// What stands between the slashes.
    segments: Vec<Segment>,
    /// Whether every key that begins with the keyspace is the table's: so are those below
    /// `/PATH/TABLE/`, where placeholders may be empty too.
    whole: bool,
}

/// What stands between two slashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Segment {
    prefix: Vec<u8>,
    placeholder: Option<Placeholder>,
    suffix: Vec<u8>,
}

/// A column in a template.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Placeholder {
    column: String,
    filter: Filter,
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part<'t> {
    Literal(Vec<u8>),
    Column(&'t str, Filter),
}

/// How a column's text stands in a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    /// With `%` and `/` percent-encoded.
    Plain,
    /// As it is.
    Raw,
    /// Its labels, which dots part, in reverse order with slashes between.
    Dns,
}

/// The words for the filters.
const FILTERS: [(&str, Filter); 2] = [("raw", Filter::Raw), ("dns", Filter::Dns)];

impl KeyTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// What is wrong with it, in words that follow its name.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut segments = vec![Segment::default()];
        let pieces = pieces(text)?;
        for (position, piece) in pieces.iter().enumerate() {
            match piece {
                Piece::Literal(literal) => push_literal(&mut segments, literal),
                Piece::Braces(inner) => {
                    let placeholder = Placeholder::parse(inner)?;
                    if placeholder.filter == Filter::Raw && position + 1 < pieces.len() {
                        return Err(format!(
                            "has {{{inner}}} before its end: :raw is only for the last thing in {text:?}"
                        ));
                    }
                    push_placeholder(&mut segments, placeholder)
                        .map_err(|()| format!("has two placeholders between two slashes in {text:?}: no key would say which column ends where"))?;
                }
            }
        }
        let mut wide = segments.iter().filter(|segment| segment.is_wide());
        if let (Some(_), Some(_)) = (wide.next(), wide.next()) {
            return Err(format!(
                "has more than one :dns or :raw in {text:?}: a template has one at most"
            ));
        }
        let template = Self::new(text.to_owned(), segments, false);
        if template.keyspace.is_empty() || template.keyspace == b"/" {
            return Err(format!(
                "{text:?} has to start with literal text of more than /, which no other table's keys start with"
            ));
        }
        Ok(template)
    }

    /// What the keys of a table are unless it is told otherwise: `keyspace`, and behind it the
    /// columns of its key.
    pub(super) fn below(keyspace: &[u8], key: &[String]) -> Self {
        let mut segments: Vec<Segment> = keyspace
            .split(|&byte| byte == b'/')
            .map(|literal| Segment { prefix: literal.to_vec(), ..Segment::default() })
            .collect();
        segments.pop();
        segments.extend(key.iter().map(|column| Segment {
            placeholder: Some(Placeholder { column: column.clone(), filter: Filter::Plain }),
            ..Segment::default()
        }));
        Self::new(String::new(), segments, true)
    }

    fn new(text: String, segments: Vec<Segment>, whole: bool) -> Self {
        let mut keyspace = Vec::new();
        for (position, segment) in segments.iter().enumerate() {
            keyspace.extend_from_slice(if position > 0 { b"/" } else { b"" });
            keyspace.extend_from_slice(&segment.prefix);
            if segment.placeholder.is_some() {
                break;
            }
        }
        Self { text, keyspace, segments, whole }
    }

    /// The template as it is written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The literal text that it starts with.
    #[must_use]
    pub fn keyspace(&self) -> &[u8] {
        &self.keyspace
    }

    /// Whether every key that begins with the keyspace is the table's.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    /// The columns of the placeholders, in their order.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.placeholders().map(|placeholder| placeholder.column.as_str())
    }

    /// The filters of the placeholders, in their order.
    pub(super) fn filters(&self) -> impl Iterator<Item = Filter> {
        self.placeholders().map(|placeholder| placeholder.filter)
    }

    fn placeholders(&self) -> impl Iterator<Item = &Placeholder> {
        self.segments.iter().filter_map(|segment| segment.placeholder.as_ref())
    }

    /// What stands behind the keyspace: literal text, and columns with their filters.
    pub(super) fn behind_keyspace(&self) -> Vec<Part<'_>> {
        let mut parts = Vec::new();
        let mut literal = Vec::new();
        for segment in &self.segments {
            if !parts.is_empty() {
                literal.push(b'/');
                literal.extend_from_slice(&segment.prefix);
            }
            if let Some(Placeholder { column, filter }) = &segment.placeholder {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
                parts.push(Part::Column(column, *filter));
                literal.extend_from_slice(&segment.suffix);
            }
        }
        parts.push(Part::Literal(literal));
        parts.retain(|part| !matches!(part, Part::Literal(literal) if literal.is_empty()));
        parts
    }

    /// Whether what stands behind the keyspace can be any text but the empty one.
    pub(super) fn gives_all_behind_keyspace(&self) -> bool {
        matches!(self.behind_keyspace()[..], [Part::Column(_, Filter::Raw)])
    }

    /// Whether a row can have these texts in its key: neither is a text empty, nor is a label of a
    /// name.
    pub fn takes<'t>(&self, texts: impl IntoIterator<Item = &'t [u8]>) -> bool {
        self.whole
            || self.filters().zip(texts).all(|(filter, text)| match filter {
                Filter::Plain | Filter::Raw => !text.is_empty(),
                Filter::Dns => text.split(|&byte| byte == b'.').all(|label| !label.is_empty()),
            })
    }

    /// Writes the key with these texts in the placeholders' places.
    pub fn write<'t>(&self, out: &mut Vec<u8>, texts: impl IntoIterator<Item = &'t [u8]>) {
        out.extend_from_slice(&self.keyspace);
        let mut texts = texts.into_iter();
        let mut begun = false;
        for segment in &self.segments {
            if begun {
                out.push(b'/');
                out.extend_from_slice(&segment.prefix);
            }
            let Some(placeholder) = &segment.placeholder else { continue };
            begun = true;
            placeholder.filter.write(out, texts.next().unwrap_or_default());
            out.extend_from_slice(&segment.suffix);
        }
    }

    /// Whether it can give this key, whatever the columns' types are.
    #[must_use]
    pub fn gives(&self, key: &[u8]) -> bool {
        if self.whole {
            return key.starts_with(&self.keyspace);
        }
        self.parts(key).is_some()
    }

    /// The texts of the placeholders in a key; `None` if no row has it.
    #[must_use]
    pub fn texts(&self, key: &[u8]) -> Option<Vec<String>> {
        let parts = self.parts(key)?;
        self.filters().zip(parts).map(|(filter, part)| filter.read(part)).collect()
    }

    /// What stands in the placeholders' places; `None` if the key is none of the pattern's.
    fn parts<'k>(&self, key: &'k [u8]) -> Option<Vec<&'k [u8]>> {
        if !key.starts_with(&self.keyspace) {
            return None;
        }
        let slashes = memchr::memchr_iter(b'/', key);
        let starts: Vec<usize> = std::iter::once(0).chain(slashes.map(|at| at + 1)).collect();
        let count = self.segments.len();
        let wide = self.segments.iter().any(Segment::is_wide);
        // How many of the key's segments are the wide placeholder's beside the first.
        let more = starts.len().checked_sub(count).filter(|&more| wide || more == 0)?;
        let mut parts = Vec::new();
        let mut at = 0;
        for segment in &self.segments {
            let last = at + if segment.is_wide() { more } else { 0 };
            let end = starts.get(last + 1).map_or(key.len(), |next| next - 1);
            let found = key.get(*starts.get(at)?..end)?;
            at = last + 1;
            match &segment.placeholder {
                None if found != segment.prefix => return None,
                None => {}
                Some(placeholder) => {
                    let inner = found.strip_prefix(&segment.prefix[..])?;
                    let inner = inner.strip_suffix(&segment.suffix[..])?;
                    let is_empty = match placeholder.filter {
                        Filter::Dns => inner.split(|&byte| byte == b'/').any(<[u8]>::is_empty),
                        Filter::Plain | Filter::Raw => inner.is_empty(),
                    };
                    if is_empty && !self.whole {
                        return None;
                    }
                    parts.push(inner);
                }
            }
        }
        Some(parts)
    }

    /// Whether both may give one key. Where that is hard to say, they may.
    pub(super) fn may_meet(&self, other: &Self) -> bool {
        let (start, other_start) = (self.keyspace(), other.keyspace());
        if !start.starts_with(other_start) && !other_start.starts_with(start) {
            return false;
        }
        let wide = |template: &Self| template.segments.iter().position(Segment::is_wide);
        let (one, two) = (&self.segments, &other.segments);
        // What stands before the first wide placeholder, and behind the last, has to be the same.
        let head = match (wide(self), wide(other)) {
            (None, None) if one.len() != two.len() => return false,
            (None, None) => return one.iter().zip(two).all(|(a, b)| a.may_meet(b)),
            (Some(a), Some(b)) => a.min(b),
            (Some(a), None) | (None, Some(a)) => a,
        };
        let behind = |template: &Self| wide(template).map(|at| template.segments.len() - 1 - at);
        let tail = behind(self).into_iter().chain(behind(other)).min().unwrap_or(0);
        one.iter().zip(two).take(head).all(|(a, b)| a.may_meet(b))
            && one.iter().rev().zip(two.iter().rev()).take(tail).all(|(a, b)| a.may_meet(b))
    }
}

impl Segment {
    /// Whether it may have slashes in it.
    fn is_wide(&self) -> bool {
        self.placeholder.as_ref().is_some_and(|placeholder| placeholder.filter != Filter::Plain)
    }

    fn may_meet(&self, other: &Self) -> bool {
        let gives = |one: &Self, literal: &[u8]| {
            literal.len() > one.prefix.len() + one.suffix.len()
                && literal.starts_with(&one.prefix)
                && literal.ends_with(&one.suffix)
        };
        match (&self.placeholder, &other.placeholder) {
            (None, None) => self.prefix == other.prefix,
            (Some(_), None) => gives(self, &other.prefix),
            (None, Some(_)) => gives(other, &self.prefix),
            (Some(_), Some(_)) => {
                let begins = |a: &[u8], b: &[u8]| a.starts_with(b) || b.starts_with(a);
                let ends = |a: &[u8], b: &[u8]| a.ends_with(b) || b.ends_with(a);
                begins(&self.prefix, &other.prefix) && ends(&self.suffix, &other.suffix)
            }
        }
    }
}

impl Placeholder {
    fn parse(inner: &str) -> Result<Self, String> {
        let Some((column, word)) = inner.rsplit_once(':') else {
            return Ok(Self { column: inner.to_owned(), filter: Filter::Plain });
        };
        let known = FILTERS.iter().find(|(name, _)| *name == word);
        let Some((_, filter)) = known.filter(|_| !column.is_empty()) else {
            let hint = nearest::hint(word, FILTERS.iter().map(|(name, _)| *name));
            return Err(format!("has the unknown filter {word} in {{{inner}}}{hint}"));
        };
        Ok(Self { column: column.to_owned(), filter: *filter })
    }
}

impl Filter {
    fn write(self, out: &mut Vec<u8>, text: &[u8]) {
        match self {
            Self::Plain => write_key_column(out, text),
            Self::Raw => out.extend_from_slice(text),
            Self::Dns => {
                for (position, label) in text.rsplit(|&byte| byte == b'.').enumerate() {
                    if position > 0 {
                        out.push(b'/');
                    }
                    write_key_column(out, label);
                }
            }
        }
    }

    /// The text that is written so; `None` if none is.
    fn read(self, part: &[u8]) -> Option<String> {
        match self {
            Self::Plain => decoded_key_column(part),
            Self::Raw => String::from_utf8(part.to_vec()).ok().filter(|text| !text.contains('\0')),
            Self::Dns => {
                let labels = part.rsplit(|&byte| byte == b'/').map(decoded_key_column);
                let labels: Option<Vec<_>> = labels.collect();
                labels
                    .filter(|labels| labels.iter().all(|label| !label.contains('.')))
                    .map(|labels| labels.join("."))
            }
        }
    }
}

fn push_literal(segments: &mut Vec<Segment>, literal: &str) {
    for (position, part) in literal.split('/').enumerate() {
        if position > 0 {
            segments.push(Segment::default());
        }
        if let Some(segment) = segments.last_mut() {
            let end = match segment.placeholder {
                Some(_) => &mut segment.suffix,
                None => &mut segment.prefix,
            };
            end.extend_from_slice(part.as_bytes());
        }
    }
}

fn push_placeholder(segments: &mut [Segment], placeholder: Placeholder) -> Result<(), ()> {
    match segments.last_mut() {
        Some(segment) if segment.placeholder.is_none() => {
            segment.placeholder = Some(placeholder);
            Ok(())
        }
        _ => Err(()),
    }
}

#[cfg(test)]
mod tests;
