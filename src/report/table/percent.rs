//! Shares, rounded so that they do not claim more than is true.

/// A share in whole percent. Only nothing is 0 %, and only all is 100 %.
pub(in crate::report) fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return String::new();
    }
    let percent = part as f64 * 100.0 / whole as f64;
    match percent.round() {
        _ if part == 0 => "0 %".to_owned(),
        rounded if rounded < 1.0 => "<1 %".to_owned(),
        rounded if rounded >= 100.0 && part < whole => ">99 %".to_owned(),
        rounded => format!("{rounded} %"),
    }
}

/// A share in percent with one decimal. Only nothing is 0 %, and only all is 100 %.
pub(super) fn tenths(part: u64, whole: u64) -> String {
    let percent = part as f64 * 100.0 / (whole as f64).max(1.0);
    match (percent * 10.0).round() / 10.0 {
        _ if part == 0 => "0 %".to_owned(),
        _ if part >= whole => "100 %".to_owned(),
        rounded if rounded < 0.1 => "<0.1 %".to_owned(),
        rounded if rounded >= 100.0 => ">99.9 %".to_owned(),
        rounded => format!("{rounded:.1} %"),
    }
}

/// A share from 0 to 1 with two decimals, cut off rather than rounded up: 99.999 % is not all.
pub(super) fn coverage(share: f64) -> String {
    format!("{:.2} %", (share.clamp(0.0, 1.0) * 10_000.0).floor() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_are_only_for_nothing_and_all() {
        assert_eq!(share(0, 10), "0 %");
        assert_eq!(share(1, 100_000), "<1 %");
        assert_eq!(share(99_999, 100_000), ">99 %");
        assert_eq!(share(10, 10), "100 %");
        assert_eq!(share(97, 100), "97 %");
        assert_eq!(share(1, 0), "");
        assert_eq!(
            [(0, 9), (1, 9_999), (8, 1000), (9_999, 10_000), (9, 9)].map(|(part, whole)| tenths(part, whole)),
            ["0 %", "<0.1 %", "0.8 %", ">99.9 %", "100 %"]
        );
        assert_eq!(coverage(1.0), "100.00 %");
        assert_eq!(coverage(0.999_99), "99.99 %");
        assert_eq!(coverage(f64::NAN.max(0.0)), "0.00 %");
    }
}
