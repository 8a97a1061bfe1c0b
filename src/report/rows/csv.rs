//! Comma-separated values, quoted as RFC 4180 has it. Lines end with a line feed alone, because the tools that such rows
//! are piped to (awk, cut) would take a carriage return for a part of the last field.

use std::fmt::{self, Display};
use std::io::{self, Write};

/// A record that is being written. Fields that are absent are empty.
pub struct Record<'a> {
    out: &'a mut dyn Write,
    first: bool,
}

impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").field("first", &self.first).finish_non_exhaustive()
    }
}

impl<'a> Record<'a> {
    /// Begins a record.
    pub fn new(out: &'a mut dyn Write) -> Record<'a> {
        Record { out, first: true }
    }

    /// A field that holds neither comma nor quote nor line break, such as a number.
    ///
    /// # Errors
    /// Those of the output.
    pub fn plain(&mut self, value: impl Display) -> io::Result<()> {
        self.separate()?;
        write!(self.out, "{value}")
    }

    /// The same, or an empty field.
    ///
    /// # Errors
    /// Those of the output.
    pub fn plain_or_empty(&mut self, value: Option<impl Display>) -> io::Result<()> {
        match value {
            Some(value) => self.plain(value),
            None => self.separate(),
        }
    }

    /// A field with any text.
    ///
    /// # Errors
    /// Those of the output.
    pub fn text(&mut self, text: &str) -> io::Result<()> {
        self.separate()?;
        if !text.contains(['"', ',', '\r', '\n']) {
            return self.out.write_all(text.as_bytes());
        }
        self.out.write_all(b"\"")?;
        for (index, part) in text.split('"').enumerate() {
            if index > 0 {
                self.out.write_all(b"\"\"")?;
            }
            self.out.write_all(part.as_bytes())?;
        }
        self.out.write_all(b"\"")
    }

    /// Ends the record.
    ///
    /// # Errors
    /// Those of the output.
    pub fn end(self) -> io::Result<()> {
        self.out.write_all(b"\n")
    }

    fn separate(&mut self) -> io::Result<()> {
        match std::mem::take(&mut self.first) {
            true => Ok(()),
            false => self.out.write_all(b","),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A strict reader of what RFC 4180 allows: the fields of all records.
    fn read(text: &str) -> Vec<Vec<String>> {
        let mut records = vec![vec![String::new()]];
        let mut characters = text.chars().peekable();
        let mut quoted = false;
        while let Some(character) = characters.next() {
            let record = records.last_mut().unwrap();
            match character {
                '"' if quoted && characters.next_if_eq(&'"').is_some() => record.last_mut().unwrap().push('"'),
                '"' => quoted = !quoted,
                ',' if !quoted => record.push(String::new()),
                '\n' if !quoted => records.push(vec![String::new()]),
                other => record.last_mut().unwrap().push(other),
            }
        }
        assert!(!quoted);
        assert_eq!(records.pop(), Some(vec![String::new()]), "the last record is ended as the others are");
        records
    }

    fn written(fields: &[String]) -> String {
        let mut out = Vec::new();
        let mut record = Record::new(&mut out);
        for field in fields {
            record.text(field).unwrap();
        }
        record.end().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn only_what_needs_quotes_gets_them() {
        let fields = ["plain", "a,b", "say \"hi\"", ""].map(str::to_owned);
        assert_eq!(written(&fields), "plain,\"a,b\",\"say \"\"hi\"\"\",\n");
    }

    proptest! {
        #[test]
        fn any_text_comes_back(fields in proptest::collection::vec("[a,\"\r\n é]{0,8}", 1..6)) {
            prop_assert_eq!(read(&written(&fields)), vec![fields]);
        }
    }
}
