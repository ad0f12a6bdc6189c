//! Which known name a mistyped one is meant to be.

/// The known name that is nearest to `word`, if one is near enough to be meant: at most two of its
/// letters are others (of a word of less than five letters, one), or no other begins as the word
/// does.
pub(crate) fn nearest<'n>(word: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let known: Vec<&str> = known.into_iter().collect();
    let allowed = ((word.chars().count() + 1) / 3).min(2);
    let distances = known.iter().map(|name| distance(&word.to_lowercase(), &name.to_lowercase()));
    let near = distances.zip(&known).min_by_key(|(distance, _)| *distance);
    let mut beginning = known.iter().filter(|name| word.len() > 1 && name.starts_with(word));
    match (near, beginning.next(), beginning.next()) {
        (Some((distance, name)), _, _) if distance <= allowed => Some(name),
        (_, Some(name), None) => Some(name),
        _ => None,
    }
}

/// The nearest name as the end of a message: `, did you mean NAME?`, or nothing.
pub(crate) fn hint<'n>(word: &str, known: impl IntoIterator<Item = &'n str>) -> String {
    nearest(word, known).map(|name| format!(", did you mean {name}?")).unwrap_or_default()
}

/// The number of letters to put in, take out, change or swap with the next to make one word of the
/// other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut before_last = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    let mut previous = None;
    for (i, a) in one.chars().enumerate() {
        let mut row = vec![i + 1];
        for (j, &b) in other.iter().enumerate() {
            let changed = last[j] + usize::from(a != b);
            let mut least = changed.min(last[j + 1] + 1).min(row[j] + 1);
            if j > 0 && previous == Some(b) && a == other[j - 1] {
                least = least.min(before_last[j - 1] + 1);
            }
            row.push(least);
        }
        before_last = std::mem::replace(&mut last, row);
        previous = Some(a);
    }
    last[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_counted_in_letters() {
        for (one, other, expected) in [
            ("", "", 0),
            ("", "ab", 2),
            ("run", "run", 0),
            ("rum", "run", 1),
            ("rn", "run", 1),
            ("rrun", "run", 1),
            ("stauts", "status", 1),
            ("größe", "grösse", 2),
            ("check", "status", 6),
        ] {
            assert_eq!(distance(one, other), expected, "{one} {other}");
            assert_eq!(distance(other, one), expected, "{other} {one}");
        }
    }

    #[test]
    fn only_what_may_be_meant_is_named() {
        let names = ["run", "check", "status", "verify", "drop"];
        for (word, expected) in [
            ("stat", Some("status")),
            ("STATUS", Some("status")),
            ("chekc", Some("check")),
            ("rum", Some("run")),
            ("s", None),
            ("wait", None),
            ("walk", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, names), expected, "{word}");
        }
        assert_eq!(hint("chek", names), ", did you mean check?");
        assert_eq!(hint("walk", names), "");
    }
}
