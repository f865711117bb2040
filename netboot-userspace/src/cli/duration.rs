//! Times, as Go writes them: flags of Pixiecore's take what they took.

use std::time::Duration;

const UNITS: [(&str, f64); 8] = [
    ("ns", 1e-9),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
    ("d", 86_400.0),
];
/// A year: what is meant longer is meant for ever.
const MOST: f64 = 366.0 * 86_400.0;

/// `5s`, `1m30s`, `1.5s`, `500ms`, and days, which Go does not have.
pub(super) fn read(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time: write 500ms, 5s, 1m30s, 24h or 7d");
    let (mut rest, mut seconds) = (text, 0.0);
    while !rest.is_empty() {
        let is_number = |c: char| c.is_ascii_digit() || c == '.';
        let (number, behind) = rest.split_at(rest.find(|c| !is_number(c)).ok_or_else(wrong)?);
        let (unit, after) = behind.split_at(behind.find(is_number).unwrap_or(behind.len()));
        let of_unit = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, seconds)| seconds);
        seconds += number.parse::<f64>().map_err(|_| wrong())? * of_unit.ok_or_else(wrong)?;
        rest = after;
    }
    let is_time = seconds > 0.0 && seconds <= MOST;
    is_time.then(|| Duration::from_secs_f64(seconds)).filter(|time| !time.is_zero()).ok_or_else(wrong)
}

/// The same, where seconds are counted.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let time = read(text)?;
    if time.as_secs() == 0 { Err(format!("{text:?} is less than a second")) } else { Ok(time) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn px_05_times_are_gos_and_have_units() {
        for (text, milliseconds) in [
            ("5s", 5000),
            ("500ms", 500),
            ("1m30s", 90_000),
            ("1.5s", 1500),
            (".5s", 500),
            ("1h0m1s", 3_601_000),
            ("2d", 172_800_000),
        ] {
            assert_eq!(read(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for wrong in ["", "5", "s", "0s", "-1s", "5\u{e4}", "1.2.3s", "5 s", "1e9s", "9999999999h", "nan"] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
        assert!(seconds("500ms").is_err() && seconds("1.5s").is_ok());
    }
}
