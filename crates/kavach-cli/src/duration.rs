//! Times as people write them: `500ms`, `10s`, `2m`, `1.5h`, plain seconds.

use crate::error::{CliError, Result};

/// A year, the library's own bound; more is no limit but a misplaced unit.
const MOST_MS: f64 = 366.0 * 24.0 * 3600.0 * 1000.0;
const HINT: &str = "write for instance 500ms, 10s, 2m, 1h or plain seconds (1.5); 0 is no limit";

/// Milliseconds of a time; 0 is no limit, as in `timeout(1)`. A fraction of a millisecond is
/// rounded up, so that a limit never becomes none.
pub(crate) fn milliseconds(argument: &'static str, text: &str) -> Result<u64> {
    let refuse = |problem: String| CliError::argument(argument, problem, HINT);
    let shown: String = text.chars().take(64).collect();
    let units = [
        ("ms", 1.0),
        ("s", 1000.0),
        ("m", 60_000.0),
        ("h", 3_600_000.0),
    ];
    let (number, unit) = units
        .into_iter()
        .find_map(|(suffix, ms)| text.strip_suffix(suffix).map(|number| (number, ms)))
        .unwrap_or((text, 1000.0));
    // `f64::from_str` also takes "inf", "nan", "1e9" and a sign.
    let digits = number.bytes().filter(u8::is_ascii_digit).count();
    let dots = number.bytes().filter(|b| *b == b'.').count();
    let plain = digits > 0 && dots <= 1 && digits + dots == number.len() && number.len() <= 32;
    if let Some(rest) = text.strip_prefix('-')
        && rest.starts_with(|c: char| c.is_ascii_digit() || c == '.')
    {
        return Err(refuse(format!("`{shown}` is negative")));
    }
    let Some(value) = plain.then(|| number.parse::<f64>().ok()).flatten() else {
        return Err(refuse(format!("`{shown}` is no time")));
    };
    let ms = (value * unit).ceil();
    if ms > MOST_MS {
        return Err(refuse(format!("`{shown}` is more than 366 days")));
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole, not negative, and far below 2^53"
    )]
    Ok(ms as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_fractions_and_plain_seconds_are_read() {
        for (text, ms) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("3", 3000),
            ("1.5", 1500),
            ("0.5s", 500),
            (".25s", 250),
            ("0", 0),
            ("0.1ms", 1),
            ("8784h", 366 * 24 * 3_600_000),
        ] {
            assert_eq!(milliseconds("--timeout", text).unwrap(), ms, "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "s",
            "ms",
            ".",
            "-1",
            "+1",
            "1 s",
            "1d",
            "ten",
            "inf",
            "nan",
            "1e3",
            "0x10",
            "1..5",
            "1.2.3s",
            "8785h",
            "99999999999999999999999999999999999",
            "٣s",
            "1\u{1b}[2J",
        ] {
            assert!(milliseconds("--timeout", text).is_err(), "{text:?}");
        }
    }
}
