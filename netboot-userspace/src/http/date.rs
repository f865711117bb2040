//! Dates (RFC 9110 section 5.6.7), to and from seconds since 1970: IMF-fixdate is written, and the two obsolete forms are read as well.

const WEEKDAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAY: i64 = 86_400;

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
pub fn format(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    let (year, month, day) = civil(days);
    let weekday = &weekday(days)[..3];
    let month = MONTHS[(month - 1) as usize];
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}

/// Reads any of the three forms. `now`, in the same seconds, says which century a year of two digits is in.
pub fn parse(text: &str, now: Option<i64>) -> Option<i64> {
    match text.split_once(", ") {
        Some((weekday, rest)) if weekday.len() == 3 => fixdate(weekday, rest.strip_suffix(" GMT")?),
        Some((weekday, rest)) => rfc850(weekday, rest.strip_suffix(" GMT")?, now),
        None => asctime(text),
    }
}

/// `Sun`, `06 Nov 1994 08:49:37`.
fn fixdate(weekday: &str, text: &str) -> Option<i64> {
    let [day, month, year, time] = parts(text, ' ')?;
    moment(number(day, 2)?, month, number(year, 4)?, time)
        .filter(|at| &self::weekday(at.div_euclid(DAY))[..3] == weekday)
}

/// `Sunday`, `06-Nov-94 08:49:37`.
fn rfc850(weekday: &str, text: &str, now: Option<i64>) -> Option<i64> {
    let [date, time] = parts(text, ' ')?;
    let [day, month, year] = parts(date, '-')?;
    let (this, _, _) = civil(now.unwrap_or_default().div_euclid(DAY));
    let year = this - this.rem_euclid(100) + number(year, 2)?;
    // More than 50 years ahead is the past.
    let year = if year > this + 50 { year - 100 } else { year };
    moment(number(day, 2)?, month, year, time).filter(|at| self::weekday(at.div_euclid(DAY)) == weekday)
}

/// `Sun Nov  6 08:49:37 1994`.
fn asctime(text: &str) -> Option<i64> {
    let (start, rest) = text.split_at_checked(8)?;
    let (day, rest) = rest.split_at_checked(2)?;
    let [weekday, month, ""] = parts(start, ' ')? else { return None };
    let ["", time, year] = parts(rest, ' ')? else { return None };
    let day = day.strip_prefix(' ').map_or_else(|| number(day, 2), |digit| number(digit, 1))?;
    moment(day, month, number(year, 4)?, time).filter(|at| &self::weekday(at.div_euclid(DAY))[..3] == weekday)
}

fn parts<const N: usize>(text: &str, separator: char) -> Option<[&str; N]> {
    text.split(separator).collect::<Vec<_>>().try_into().ok()
}

fn number(digits: &str, length: usize) -> Option<i64> {
    let is_one = digits.len() == length && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_one.then(|| digits.parse().ok())?
}

/// The 31st of February is none.
fn moment(day: i64, month: &str, year: i64, time: &str) -> Option<i64> {
    let month = MONTHS.iter().position(|name| *name == month)? as i64 + 1;
    let [hour, minute, second] = parts(time, ':')?.map(|part| number(part, 2));
    let (hour, minute, second) = (hour?, minute?, second?);
    let days = days_from_civil(year, month, day);
    let is_one = civil(days) == (year, month, day) && hour < 24 && minute < 60 && second < 60;
    is_one.then_some(days * DAY + hour * 3600 + minute * 60 + second)
}

fn weekday(days: i64) -> &'static str {
    WEEKDAYS[days.rem_euclid(7) as usize]
}

/// Year, month, day of a day counted from 1970; the proleptic Gregorian calendar in eras of 400 years that start in
/// March, so that the leap day is the last of its year.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        for (seconds, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (4_102_444_799, "Thu, 31 Dec 2099 23:59:59 GMT"),
        ] {
            assert_eq!(format(seconds), text);
            assert_eq!(parse(text, None), Some(seconds));
        }
        for text in [
            "",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Mon, 06 Nov 1994 08:49:37 GMT",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:60 GMT",
            "Fri, 31 Feb 1994 08:49:37 GMT",
            "Monday, 06-Nov-94 08:49:37 GMT",
            "Sunday, 06-Nov-1994 08:49:37 GMT",
            "Sun Nov 6 08:49:37 1994",
            "Sun Nov  6 08:49:37 1994 GMT",
            "Sun Nov é6 08:49:37 1994",
        ] {
            assert_eq!(parse(text, None), None, "{text}");
        }
    }

    #[test]
    fn rfc9110_5_6_7_the_three_forms_are_one_date() {
        let (at, year_2026) = (784_111_777, Some(1_795_000_000));
        for text in
            ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
        {
            assert_eq!(parse(text, year_2026), Some(at), "{text}");
            assert_eq!(parse(text, None), Some(at), "{text}: without a clock");
        }
        let two_digits =
            |text, want: &str| assert_eq!(parse(text, year_2026).map(format).as_deref(), Some(want));
        two_digits("Monday, 31-Dec-74 00:00:00 GMT", "Mon, 31 Dec 2074 00:00:00 GMT");
        two_digits("Saturday, 31-Dec-77 00:00:00 GMT", "Sat, 31 Dec 1977 00:00:00 GMT");
    }

    proptest::proptest! {
        #[test]
        fn round_trip(seconds in 0i64..253_402_300_800) {
            proptest::prop_assert_eq!(parse(&format(seconds), None), Some(seconds));
        }

        #[test]
        fn any_text_is_read_without_panic(text in ".{0,40}") {
            let _ = parse(&text, None);
        }
    }
}
