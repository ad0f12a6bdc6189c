//! Durations and sizes: a number and its unit.

use std::time::Duration;

/// The longest duration that a setting may have. It stands for "no limit" too, and adding it to
/// a point in time cannot overflow.
pub(super) const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest time after which something is done again.
const LONGEST_PERIOD: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Reads a duration such as `500ms`, `10s` or `1m 30s`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    parse_up_to(text, LONGEST)
}

/// Reads how often something is done, which may be as seldom as once a year.
pub(super) fn parse_period(text: &str) -> Result<Duration, String> {
    parse_up_to(text, LONGEST_PERIOD)
}

fn parse_up_to(text: &str, longest: Duration) -> Result<Duration, String> {
    let text = text.trim();
    if text.parse::<i128>().is_ok() {
        return Err(format!(
            "{text} has no unit: write {text}s for seconds, {text}ms for milliseconds"
        ));
    }
    let duration = humantime::parse_duration(text)
        .map_err(|_| format!("expected a duration such as 500ms, 10s or 5m, got {text:?}"))?;
    if duration < Duration::from_millis(1) || duration > longest {
        return Err(format!(
            "expected a duration from 1ms to {}, got {text}",
            print_duration(longest)
        ));
    }
    Ok(duration)
}

/// Prints a duration in a form that [`parse_duration`] reads.
pub(crate) fn print_duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

const SIZES: [(&str, usize); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Reads a size in bytes, such as `64KiB`.
pub(super) fn parse_size(text: &str) -> Result<usize, String> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = text[digits.len()..].trim_start();
    let number = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<usize>());
    let Some(Ok(number)) = number else {
        return Err(format!("expected a size such as 64KiB or 1MiB, got {text:?}"));
    };
    if unit.is_empty() {
        return Err(format!(
            "{text} has no unit: write {text}B for bytes, {text}KiB for 1024 bytes each"
        ));
    }
    let Some((_, bytes)) = SIZES.into_iter().find(|(name, _)| *name == unit) else {
        return Err(format!("expected a size in B, KiB, MiB or GiB, got {text:?}"));
    };
    number.checked_mul(bytes).ok_or_else(|| format!("{text} is more than this machine can address"))
}

/// Prints a size in the largest unit that divides it.
pub(super) fn print_size(size: usize) -> String {
    let unit = SIZES.into_iter().find(|(_, bytes)| size != 0 && size.is_multiple_of(*bytes));
    let (name, bytes) = unit.unwrap_or(("B", 1));
    format!("{}{name}", size / bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_printed() {
        for (text, milliseconds, printed) in [
            ("500ms", 500, "500ms"),
            ("10s", 10_000, "10s"),
            (" 5m ", 300_000, "5m"),
            ("60s", 60_000, "1m"),
            ("1m 30s", 90_000, "1m 30s"),
            ("24h", 86_400_000, "1day"),
        ] {
            let duration = Duration::from_millis(milliseconds);
            assert_eq!(parse_duration(text), Ok(duration));
            assert_eq!(print_duration(duration), printed);
            assert_eq!(parse_duration(printed), Ok(duration));
        }
    }

    #[test]
    fn other_durations_are_refused_with_the_reason() {
        for (text, reason) in [
            ("10", "10 has no unit: write 10s"),
            ("0", "has no unit"),
            ("", "expected a duration such as"),
            ("ten seconds", "expected a duration such as"),
            ("-1s", "expected a duration such as"),
            ("0s", "from 1ms to 1day"),
            ("999us", "from 1ms to 1day"),
            ("25h", "from 1ms to 1day"),
        ] {
            let problem = parse_duration(text).unwrap_err();
            assert!(problem.contains(reason), "{text:?}: {problem}");
        }
    }

    #[test]
    fn sizes_are_read_and_printed() {
        for (text, bytes, printed) in [
            ("1000B", 1000, "1000B"),
            ("64KiB", 65_536, "64KiB"),
            ("1536 KiB", 1_572_864, "1536KiB"),
            ("1024KiB", 1 << 20, "1MiB"),
            ("2GiB", 2 << 30, "2GiB"),
            ("0B", 0, "0B"),
        ] {
            assert_eq!(parse_size(text), Ok(bytes));
            assert_eq!(print_size(bytes), printed);
            assert_eq!(parse_size(printed), Ok(bytes));
        }
    }

    #[test]
    fn other_sizes_are_refused_with_the_reason() {
        for (text, reason) in [
            ("65536", "65536 has no unit: write 65536B"),
            ("", "expected a size such as"),
            ("KiB", "expected a size such as"),
            ("-1KiB", "expected a size such as"),
            ("1.5MiB", "expected a size such as"),
            ("64kb", "in B, KiB, MiB or GiB"),
            ("99999999999GiB", "more than this machine can address"),
        ] {
            let problem = parse_size(text).unwrap_err();
            assert!(problem.contains(reason), "{text:?}: {problem}");
        }
    }
}
