//! A Parquet file that grows by snapshots, in little memory.

use super::column::Column;
use crate::snapshot::model::{SCHEMA_VERSION, Snapshot};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{ColumnPath, Type};
use std::io::{self, Write};
use std::sync::Arc;

/// Rows in a row group, the unit that is written at once and that readers share out among threads. DuckDB and Spark do best
/// with some hundred thousand rows in one; fewer keep what waits to be written small: some tens of megabytes.
const ROW_GROUP: usize = 1 << 17;

/// What a table has rows of.
pub trait Record: Sized {
    /// Name of the table.
    const TABLE: &'static str;

    /// Its columns, in order.
    #[doc(hidden)]
    fn columns() -> Vec<Column<Self>>;

    /// The rows of a snapshot, in its order.
    fn rows(snapshot: &Snapshot) -> impl Iterator<Item = Self>;
}

/// A Parquet file of records.
pub struct Table<R, W: Write + Send> {
    columns: Vec<Column<R>>,
    waiting: Vec<R>,
    file: SerializedFileWriter<W>,
}

impl<R: Record, W: Write + Send> Table<R, W> {
    /// Begins a file.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn create(out: W) -> io::Result<Table<R, W>> {
        let columns = R::columns();
        let file = schema::<R>(&columns)
            .and_then(|schema| SerializedFileWriter::new(out, schema, Arc::new(properties::<R>(&columns))))
            .map_err(into_io)?;
        Ok(Table { columns, waiting: Vec::new(), file })
    }

    /// Adds the rows of a snapshot, of which nothing is borrowed.
    ///
    /// # Errors
    /// Those of the output, which is not to be used any further then.
    pub fn add(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        for row in R::rows(snapshot) {
            self.waiting.push(row);
            if self.waiting.len() >= ROW_GROUP {
                self.write_group().map_err(into_io)?;
            }
        }
        Ok(())
    }

    /// Writes what waits, and the end of the file, without which it cannot be read.
    ///
    /// # Errors
    /// Those of the output.
    pub fn finish(mut self) -> io::Result<()> {
        if !self.waiting.is_empty() {
            self.write_group().map_err(into_io)?;
        }
        self.file.close().map(|_| ()).map_err(into_io)
    }

    fn write_group(&mut self) -> Result<()> {
        let mut group = self.file.next_row_group()?;
        for column in &self.columns {
            let mut writer = group
                .next_column()?
                .ok_or_else(|| ParquetError::General(format!("the schema lacks column {}", column.name)))?;
            column.write(&self.waiting, &mut writer)?;
            writer.close()?;
        }
        group.close()?;
        self.waiting.clear();
        Ok(())
    }
}

fn schema<R: Record>(columns: &[Column<R>]) -> Result<Arc<Type>> {
    let fields = columns.iter().map(Column::field).collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(Type::group_type_builder(R::TABLE).with_fields(fields).build()?))
}

fn properties<R: Record>(columns: &[Column<R>]) -> WriterProperties {
    let about = |key: &str, value: String| KeyValue::new(key.to_owned(), value);
    let properties = WriterProperties::builder()
        // "NAME version VERSION" is how readers expect to find who wrote a file.
        .set_created_by(concat!("poolscope version ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_key_value_metadata(Some(vec![
            about("poolscope.table", R::TABLE.to_owned()),
            about("poolscope.schema_version", SCHEMA_VERSION.to_string()),
        ]))
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        // Of each column of a row group, the least and the greatest: what lets readers skip it.
        .set_statistics_enabled(EnabledStatistics::Chunk);
    // Where each value is another one, a dictionary saves nothing, and comparing long texts takes a fifth of the time.
    let unique = columns.iter().filter(|column| !column.repeats).map(|column| ColumnPath::from(column.name));
    unique
        .fold(properties, |properties, name| {
            let properties = properties.set_column_dictionary_enabled(name.clone(), false);
            properties.set_column_statistics_enabled(name, EnabledStatistics::None)
        })
        .build()
}

/// The error of the output itself, where that is the cause: its kind tells a full disk from a closed pipe.
fn into_io(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(cause) => match cause.downcast::<io::Error>() {
            Ok(cause) => *cause,
            Err(cause) => io::Error::other(cause),
        },
        error => io::Error::other(error),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{OwnerRow, PoolLine};
    use super::*;

    /// Takes so many bytes, then is full.
    struct Full(usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.0.min(bytes.len()) {
                0 if !bytes.is_empty() => Err(io::ErrorKind::StorageFull.into()),
                taken => {
                    self.0 -= taken;
                    Ok(taken)
                }
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_error_of_the_output_is_told_as_it_is() {
        let write = |room| Table::<OwnerRow, _>::create(Full(room)).and_then(Table::finish);
        for room in [0, 3, 4, 100] {
            assert_eq!(write(room).unwrap_err().kind(), io::ErrorKind::StorageFull, "{room}");
        }
        write(1 << 20).unwrap();
    }

    #[test]
    fn columns_have_names_of_their_own() {
        fn names<R: Record>() -> Vec<&'static str> {
            R::columns().iter().map(|column| column.name).collect()
        }
        for names in [names::<OwnerRow>(), names::<PoolLine>()] {
            let mut once = names.clone();
            once.sort_unstable();
            once.dedup();
            assert_eq!(once.len(), names.len(), "{names:?}");
        }
    }
}
