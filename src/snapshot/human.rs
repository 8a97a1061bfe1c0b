//! Numbers as people write them.

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

#[cfg(test)]
mod tests {
    use super::*;

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
