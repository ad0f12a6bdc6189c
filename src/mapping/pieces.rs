//! What a template or a text is made of: literal text, and what stands in braces.

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Text as it is.
    Literal(String),
    /// What stands in braces.
    Braces(String),
}

/// Takes a text apart. `{{` and `}}` are braces of the text itself: `a{{{id}` is `a{` and the
/// braces with `id`. No two literals stand side by side.
///
/// # Errors
/// What is wrong with its braces.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        literal.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            literal.push_str(brace);
            rest = after;
            continue;
        }
        let inner = (brace == "{").then(|| rest.split_once('}')).flatten();
        let Some((inner, after)) = inner.filter(|(inner, _)| !inner.contains('{')) else {
            return Err(format!(
                "has a lone {brace} in {text:?}: write {brace}{brace} for a brace"
            ));
        };
        if inner.is_empty() {
            return Err(format!("names no column between the braces of {text:?}"));
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(std::mem::take(&mut literal)));
        }
        pieces.push(Piece::Braces(inner.to_owned()));
        rest = after;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_taken_apart() {
        let literal = |text: &str| Piece::Literal(text.to_owned());
        let braces = |text: &str| Piece::Braces(text.to_owned());
        for (text, expected) in [
            ("", vec![]),
            ("/a/", vec![literal("/a/")]),
            ("{a}", vec![braces("a")]),
            ("{a}{b}", vec![braces("a"), braces("b")]),
            ("x{a:raw}y", vec![literal("x"), braces("a:raw"), literal("y")]),
            ("{{a}}", vec![literal("{a}")]),
            ("{{{a}}}", vec![literal("{"), braces("a"), literal("}")]),
        ] {
            assert_eq!(pieces(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn braces_belong_together() {
        for text in ["{", "}", "{a", "a}", "{}", "{a{b}", "{{a}", "{a}}"] {
            assert!(pieces(text).is_err(), "{text}");
        }
    }
}
