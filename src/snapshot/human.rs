//! Numbers as people write them.

use std::net::SocketAddr;

/// Bytes with three digits and a binary unit: `1.12 GiB`, `447 KiB`, `12 B`.
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut shown = "B";
    for unit in UNITS {
        value /= 1024.0;
        shown = unit;
        // From here on the number would be written as 1024.
        if value < 1023.5 {
            break;
        }
    }
    let digits = match value {
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {shown}")
}

/// A number with thousands separated: `343,533`.
pub fn human_count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number with its noun: `1 pool`, `1,119 pools`.
pub fn counted(number: u64, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{} {noun}s", human_count(number)),
    }
}

/// A time in seconds since 1970 as `2026-03-01 04:05 UTC`.
pub fn utc(seconds: u64) -> String {
    let (year, month, day) = date(seconds);
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", seconds / 3_600 % 24, seconds / 60 % 60)
}

/// The same to the second: `2026-03-01 04:05:00 UTC`.
pub fn utc_to_second(seconds: u64) -> String {
    let (year, month, day) = date(seconds);
    let (hours, minutes, seconds) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year}-{month:02}-{day:02} {hours:02}:{minutes:02}:{seconds:02} UTC")
}

/// The same as it stands in file names, to the second: `20260301T040500Z`.
pub fn utc_compact(seconds: u64) -> String {
    let (year, month, day) = date(seconds);
    let (hours, minutes, seconds) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year}{month:02}{day:02}T{hours:02}{minutes:02}{seconds:02}Z")
}

/// Year, month and day of a time in seconds since 1970.
fn date(seconds: u64) -> (u64, u64, u64) {
    let mut days = seconds / 86_400;
    // Every 400 years have the same number of days. What is left is at most a few centuries of simple counting.
    let mut year = 1970 + days / 146_097 * 400;
    days %= 146_097;
    while days >= days_of_year(year) {
        days -= days_of_year(year);
        year += 1;
    }
    let february = if days_of_year(year) == 366 { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

fn days_of_year(year: u64) -> u64 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    if leap { 366 } else { 365 }
}

/// An age in milliseconds, as short as a column has room for: `0.4 s`, `12 s`, `48 min`, `3 h 12 min`, `3 h`, `2 d 4 h`.
pub fn human_age(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        _ if seconds < 10 => format!("{}.{} s", seconds, milliseconds / 100 % 10),
        (0, 0, 0..2) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, 0) => format!("{hours} h"),
        (0, ..) => format!("{hours} h {minutes:02} min"),
        _ => format!("{} d {hours} h", human_count(days)),
    }
}

/// A name as it stands in a text: in quotes, unless it says itself what it is: `location /ws`, an address.
pub fn name_in_text(name: &str) -> String {
    match is_phrase(name) {
        true => name.to_owned(),
        false => format!("\"{name}\""),
    }
}

/// A thing with a name: `dyups.live "svc"`, `request, location /ws`.
pub fn with_name(thing: &str, name: &str) -> String {
    let between = if is_phrase(name) { "," } else { "" };
    format!("{thing}{between} {}", name_in_text(name))
}

fn is_phrase(name: &str) -> bool {
    ["location ", "unix:"].iter().any(|start| name.starts_with(start)) || name.parse::<SocketAddr>().is_ok()
}

/// What a group of chunks is: the label of its owner with the name of the group, if it has one: `OpenSSL SSL_SESSION`,
/// `C library: stdio buffers`, `nginx environment, outside pools`. A name that only repeats the label is left out.
pub fn group_label(label: &str, name: &str) -> String {
    // "held by a pool" and "a pool of kind …" say the same of the pool.
    if let Some(start) = label.strip_suffix("a pool").filter(|_| name.starts_with("a pool ")) {
        return format!("{start}{name}");
    }
    let (owner, rest) = label.split_at(label.find(", ").unwrap_or(label.len()));
    let has_word = |word: &str| name.split_whitespace().any(|own| own.eq_ignore_ascii_case(word));
    match name {
        "" => label.to_owned(),
        name if name.eq_ignore_ascii_case(owner) => label.to_owned(),
        name if owner.split_whitespace().all(has_word) => format!("{name}{rest}"),
        name if name.contains(' ') => format!("{owner}: {name}{rest}"),
        name => format!("{owner} {name}{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_groups_repeat_no_word() {
        assert_eq!(group_label("OpenSSL", "SSL_SESSION"), "OpenSSL SSL_SESSION");
        assert_eq!(group_label("C library", "stdio buffers"), "C library: stdio buffers");
        assert_eq!(group_label("nginx, outside pools", "nginx"), "nginx, outside pools");
        assert_eq!(group_label("nginx, outside pools", "environment"), "nginx environment, outside pools");
        assert_eq!(group_label("held by a pool", "a pool of kind \"cycle\""), "held by a pool of kind \"cycle\"");
        assert_eq!(group_label("OpenSSL", ""), "OpenSSL");
        assert_eq!(
            group_label("held by LuaJIT", "malloc'ed by LuaJIT or held by Lua"),
            "malloc'ed by LuaJIT or held by Lua"
        );
    }

    #[test]
    fn ages_are_short() {
        let shown = [430, 12_000, 119_000, 120_000, 11_520_000, 187_200_000].map(human_age);
        assert_eq!(shown, ["0.4 s", "12 s", "119 s", "2 min", "3 h 12 min", "2 d 4 h"]);
        assert!(human_age(u64::MAX).ends_with(" h"));
    }

    #[test]
    fn times_are_calendar_dates() {
        assert_eq!(utc(0), "1970-01-01 00:00 UTC");
        assert_eq!(utc(951_782_399), "2000-02-28 23:59 UTC");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(utc(1_735_689_599), "2024-12-31 23:59 UTC");
        assert_eq!(utc(4_107_542_400), "2100-03-01 00:00 UTC");
        assert!(utc(u64::MAX).ends_with(" UTC"));
        assert_eq!(utc_compact(1_735_689_599), "20241231T235959Z");
    }

    #[test]
    fn bytes_have_three_digits_and_a_binary_unit() {
        assert_eq!(human_bytes(0), "0 B");
        assert_eq!(human_bytes(1023), "1023 B");
        assert_eq!(human_bytes(1024), "1.00 KiB");
        assert_eq!(human_bytes(457_728), "447 KiB");
        assert_eq!(human_bytes(1_202_590_843), "1.12 GiB");
        assert_eq!(human_bytes(1_048_575), "1.00 MiB");
        assert_eq!(human_bytes(23_068_672), "22.0 MiB");
        assert_eq!(human_bytes(u64::MAX), "16.0 EiB");
    }

    #[test]
    fn thousands_are_separated() {
        assert_eq!(human_count(999), "999");
        assert_eq!(human_count(343_533), "343,533");
        assert_eq!(human_count(1_000_000), "1,000,000");
    }

    #[test]
    fn one_is_singular() {
        assert_eq!(counted(1, "chunk"), "1 chunk");
        assert_eq!(counted(0, "chunk"), "0 chunks");
        assert_eq!(counted(2240, "chunk"), "2,240 chunks");
    }
}
