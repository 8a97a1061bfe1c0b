//! Who holds references to something that is to go.

use super::human::{counted, human_age};
use super::model::HexAddr;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Holders of the same kind, name and state.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Holder {
    /// What they are, as in [`super::model::OwnerSummary::owner`].
    pub owner: String,
    /// The same for people, one of them.
    pub label: String,
    /// What they are called, if they have a name.
    pub name: Option<String>,
    /// What they are doing, where that is known.
    pub state: Option<String>,
    /// How many references they hold together.
    pub references: u64,
    /// How many pools they are.
    pub pools: u64,
    /// Age of the oldest in milliseconds, by nginx's clock, where one is known.
    pub oldest_ms: Option<u64>,
    /// One of these pools; absent in files of older versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub example: Option<HexAddr>,
}

impl fmt::Display for Holder {
    /// `1119 HTTP requests to location /ws, upgraded, oldest 3 h`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (noun, rest) = split_label(&self.label);
        write!(f, "{}{rest}", counted(self.pools, noun))?;
        if let Some(name) = &self.name {
            let preposition = if self.owner == "connection" { "on" } else { "to" };
            write!(f, " {preposition} {name}")?;
        }
        if let Some(state) = &self.state {
            write!(f, ", {state}")?;
        }
        match self.oldest_ms {
            Some(age) if self.pools == 1 => write!(f, ", {} old", human_age(age)),
            Some(age) => write!(f, ", oldest {}", human_age(age)),
            None => Ok(()),
        }
    }
}

/// A label as the noun that takes the plural, and what follows it: `pool`, ` without a known owner`.
fn split_label(label: &str) -> (&str, &str) {
    let ends = [",", " without ", " of ", " by "].into_iter().filter_map(|word| label.find(word));
    label.split_at(ends.min().unwrap_or(label.len()))
}

/// What holds so many references: the holders, most first, and how many of the references nobody was found for.
pub fn in_words(holders: &[Holder], unexplained: u64) -> Option<String> {
    const SHOWN: usize = 3;
    let mut words: Vec<String> = holders.iter().take(SHOWN).map(Holder::to_string).collect();
    let others: u64 = holders.iter().skip(SHOWN).map(|holder| holder.references).sum();
    if others > 0 {
        words.push(format!("{} of others", counted(others, "reference")));
    }
    match unexplained {
        0 => {}
        _ if words.is_empty() => words.push("no holder was found".to_owned()),
        count => words.push(format!("{} whose holder was not found", counted(count, "reference"))),
    }
    (!words.is_empty()).then(|| words.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(label: &str, pools: u64) -> Holder {
        Holder { label: label.into(), pools, references: pools, ..Holder::default() }
    }

    #[test]
    fn a_holder_is_put_into_words_as_far_as_it_is_known() {
        let request = Holder {
            owner: "request".into(),
            name: Some("location /ws".into()),
            state: Some("upgraded".into()),
            oldest_ms: Some(3 * 3_600_000),
            ..holder("HTTP request", 1119)
        };
        assert_eq!(request.to_string(), "1,119 HTTP requests to location /ws, upgraded, oldest 3 h");
        let one = Holder { pools: 1, ..request };
        assert_eq!(one.to_string(), "1 HTTP request to location /ws, upgraded, 3 h old");
        assert_eq!(holder("pool without a known owner", 2).to_string(), "2 pools without a known owner");
        assert_eq!(holder("connection, not from a client", 2).to_string(), "2 connections, not from a client");
    }

    #[test]
    fn what_holds_is_told_in_few_words() {
        let many: Vec<Holder> = (1..=5).rev().map(|pools| holder("HTTP request", pools)).collect();
        assert_eq!(
            in_words(&many, 7).unwrap(),
            "5 HTTP requests; 4 HTTP requests; 3 HTTP requests; 3 references of others; 7 references whose holder was not \
             found"
        );
        assert_eq!(in_words(&[], 7).unwrap(), "no holder was found");
        assert_eq!(in_words(&[], 0), None);
    }
}
