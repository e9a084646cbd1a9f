//! Numbers, sizes, durations and times as people read them, on pages and in the operator's terminal alike.

use std::time::Duration;

use crate::domain::Timestamp;

/// `18,233`
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 item`, `18,233 items`
pub fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// `512 B`, `7 MiB`, `27.5 MiB`
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = UNITS[0];
    for larger in &UNITS[1..] {
        // 1023.95 would be rounded to 1024.0 of the smaller unit.
        if value < 1023.95 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    let text = format!("{value:.1}");
    format!("{} {unit}", text.strip_suffix(".0").unwrap_or(&text))
}

/// Hundredths of a whole, at most 100. A part that is not nothing is never shown as 0, nor one that is not all
/// as 100.
pub fn percent(part: u64, whole: u64) -> u64 {
    if whole == 0 || part == 0 {
        return 0;
    }
    if part >= whole {
        return 100;
    }
    let hundredths = (u128::from(part) * 100 + u128::from(whole) / 2) / u128::from(whole);
    u64::try_from(hundredths).unwrap_or(100).clamp(1, 99)
}

/// `2026-11-22 18:30:00 UTC`
pub fn instant(at: Timestamp) -> String {
    let text = at.to_string();
    match text.split_once('T') {
        Some((day, rest)) if rest.len() >= 8 => format!("{day} {} UTC", &rest[..8]),
        _ => text,
    }
}

/// `20:30 UTC`, with the day when it is another than today's: `2026-11-23 00:30 UTC`
pub fn clock(at: Timestamp, now: Timestamp) -> String {
    let (text, today) = (at.to_string(), now.to_string());
    match (text.split_once('T'), today.split_once('T')) {
        (Some((day, time)), Some((today, _))) if time.len() >= 5 => {
            let time = &time[..5];
            if day == today {
                format!("{time} UTC")
            } else {
                format!("{day} {time} UTC")
            }
        }
        _ => text,
    }
}

/// `just now`, `5 minutes ago`, `2 days ago`
pub fn ago(at: Timestamp, now: Timestamp) -> String {
    let since = now.since(at);
    if since < Duration::from_secs(10) {
        return "just now".to_owned();
    }
    format!("{} ago", span(since))
}

/// `now`, `in 30 seconds`. Rounded to the nearest: what was set to 30 days a moment ago is not 29 days away.
pub fn ahead(at: Timestamp, now: Timestamp) -> String {
    let until = at.since(now);
    if until < Duration::from_secs(1) {
        return "now".to_owned();
    }
    let half_a_unit = match until.as_secs() {
        0..60 => Duration::from_millis(500),
        60..3_600 => Duration::from_secs(30),
        3_600..86_400 => Duration::from_secs(1_800),
        _ => Duration::from_secs(43_200),
    };
    format!("in {}", span(until + half_a_unit))
}

/// `every day`, `every 30 days`.
pub fn every(days: u16) -> String {
    match days {
        1 => "every day".to_owned(),
        days => format!("every {days} days"),
    }
}

/// `2 hours`, `90 minutes`: in the largest unit that says it exactly.
pub fn lasting(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds.is_multiple_of(3_600) {
        counted(seconds / 3_600, "hour", "hours")
    } else if seconds.is_multiple_of(60) {
        counted(seconds / 60, "minute", "minutes")
    } else {
        counted(seconds, "second", "seconds")
    }
}

fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (number, one, many) = match seconds {
        0..60 => (seconds, "second", "seconds"),
        60..3_600 => (seconds / 60, "minute", "minutes"),
        3_600..86_400 => (seconds / 3_600, "hour", "hours"),
        _ => (seconds / 86_400, "day", "days"),
    };
    counted(number, one, many)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (18_233, "18,233"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(count(number), text);
        }
        assert_eq!(counted(1, "item", "items"), "1 item");
        assert_eq!(counted(0, "item", "items"), "0 items");
    }

    #[test]
    fn sizes_pick_a_readable_unit() {
        for (number, text) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1 KiB"),
            ((1 << 20) - 1, "1 MiB"),
            (7_340_032, "7 MiB"),
            (28_835_840, "27.5 MiB"),
            (11 << 40, "11 TiB"),
            (u64::MAX, "16777216 TiB"),
        ] {
            assert_eq!(bytes(number), text, "{number}");
        }
    }

    #[test]
    fn percents_never_hide_a_rest() {
        assert_eq!(percent(0, 100), 0);
        assert_eq!(percent(1, 10_000), 1);
        assert_eq!(percent(9_999, 10_000), 99);
        assert_eq!(percent(100, 100), 100);
        assert_eq!(percent(110, 100), 100);
        assert_eq!(percent(5, 0), 0);
        assert_eq!(percent(u64::MAX / 2, u64::MAX), 50);
    }

    #[test]
    fn what_lasts_is_told_exactly() {
        let told = |secs| lasting(Duration::from_secs(secs));
        assert_eq!(told(7_200), "2 hours");
        assert_eq!(told(5_400), "90 minutes");
        assert_eq!(told(61), "61 seconds");
    }

    #[test]
    fn times_read_as_distances() {
        let now = Timestamp::from_secs(1_795_372_200);
        let back = |secs| ago(now.minus(Duration::from_secs(secs)), now);
        assert_eq!(back(3), "just now");
        assert_eq!(back(60), "1 minute ago");
        assert_eq!(back(7_300), "2 hours ago");
        assert_eq!(back(200_000), "2 days ago");
        assert_eq!(ago(now.plus(Duration::from_secs(5)), now), "just now");
        assert_eq!(
            ahead(now.plus(Duration::from_secs(30)), now),
            "in 30 seconds"
        );
        assert_eq!(ahead(now, now), "now");
        let soon = |secs: u64| ahead(now.plus(Duration::from_secs(secs)), now);
        assert_eq!(soon(30 * 86_400 - 1), "in 30 days");
        assert_eq!(soon(86_400 - 1), "in 1 day");
        assert_eq!(soon(59), "in 59 seconds");
        assert_eq!(soon(3_599), "in 1 hour");
        assert_eq!(soon(100), "in 2 minutes");
        assert_eq!(clock(now, now), "18:30 UTC");
        let later = now.plus(Duration::from_secs(6 * 3_600));
        assert_eq!(clock(later, now), "2026-11-23 00:30 UTC");
        assert_eq!(instant(now), "2026-11-22 18:30:00 UTC");
    }
}
