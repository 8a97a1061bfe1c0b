//! Bars made of characters.

/// Eighths of a block, from one to eight.
const EIGHTHS: [char; 8] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];
/// Where there are no block characters: one column.
const ASCII_FULL: char = '#';
/// Where there are no block characters: less than a column, but something.
const ASCII_SOME: char = '.';

/// A bar of `value`, where `columns` columns stand for `full`. Anything but zero is visible, and nothing is longer than
/// `limit` columns.
pub(super) fn bar(value: u64, full: f64, columns: usize, limit: usize, unicode: bool) -> String {
    if value == 0 || full <= 0.0 {
        return String::new();
    }
    let length = (value as f64 / full * columns as f64).min(limit as f64);
    match unicode {
        true => {
            let eighths = ((length * 8.0).round() as usize).max(1);
            let rest = EIGHTHS.get((eighths % 8).wrapping_sub(1));
            "█".repeat(eighths / 8) + &rest.map(char::to_string).unwrap_or_default()
        }
        false => match length.round() as usize {
            0 => ASCII_SOME.to_string(),
            whole => ASCII_FULL.to_string().repeat(whole),
        },
    }
}

/// True for characters that bars are made of.
pub(in crate::report) fn is_bar(character: char) -> bool {
    EIGHTHS.contains(&character) || character == ASCII_FULL || character == ASCII_SOME
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_share() {
        assert_eq!(bar(100, 100.0, 10, 10, true), "██████████");
        assert_eq!(bar(55, 100.0, 10, 10, true), "█████▌");
        assert_eq!(bar(1, 1e9, 10, 10, true), "▏");
        assert_eq!(bar(0, 100.0, 10, 10, true), "");
        assert_eq!(bar(55, 100.0, 10, 10, false), "######");
        assert_eq!(bar(1, 1e9, 10, 10, false), ".");
        assert_eq!(bar(300, 100.0, 10, 10, true), "██████████");
    }
}
