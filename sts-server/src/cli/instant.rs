//! Times for people: as a date, and as a distance from now.

use std::time::{SystemTime, UNIX_EPOCH};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Seconds since the epoch, now.
pub(super) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Seconds since the epoch as RFC 3339, or as the number where no date can express it.
pub(super) fn rfc3339(seconds: u64) -> String {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|instant| instant.format(&Rfc3339).ok())
        .unwrap_or_else(|| seconds.to_string())
}

/// `in 14 min 3 s`, `2 h 5 min ago`, `now`.
pub(super) fn relative(seconds: u64, now: u64) -> String {
    match seconds.cmp(&now) {
        std::cmp::Ordering::Equal => "now".to_owned(),
        std::cmp::Ordering::Greater => format!("in {}", span(seconds.abs_diff(now))),
        std::cmp::Ordering::Less => format!("{} ago", span(seconds.abs_diff(now))),
    }
}

/// The two largest units of a span.
fn span(seconds: u64) -> String {
    let units = [("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)];
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (name, size) in units {
        if rest >= size && parts.len() < 2 {
            parts.push(format!("{} {name}", rest / size));
            rest %= size;
        } else if !parts.is_empty() {
            break;
        }
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_use_the_two_largest_units() {
        let cases = [
            (1000, "now"),
            (1001, "in 1 s"),
            (1000 + 843, "in 14 min 3 s"),
            (1000 + 7500, "in 2 h 5 min"),
            (1000 + 3605, "in 1 h"),
            (1000 + 90_000, "in 1 d 1 h"),
            (940, "1 min ago"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(relative(seconds, 1000), expected);
        }
    }
}
