//! Columns: what of a row each has, and how Parquet stores it.

use parquet::basic::{LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::errors::{ParquetError, Result};
use parquet::file::writer::SerializedColumnWriter;
use parquet::schema::types::Type;
use std::sync::Arc;

/// Rows whose values are handed to the encoder together: few enough that what is made of them stays in the processor's
/// cache.
const BATCH: usize = 4096;

/// Gets a value out of a row; `None` where it is not known.
enum Get<R> {
    Text(fn(&R) -> Option<ByteArray>),
    Int(fn(&R) -> Option<i32>),
    Long(fn(&R) -> Option<i64>),
    /// Milliseconds since 1970 (UTC).
    Time(fn(&R) -> Option<i64>),
}

/// A column of a table whose rows are made of `R`.
pub struct Column<R> {
    pub name: &'static str,
    get: Get<R>,
    required: bool,
    /// False for columns in which nearly each row has a value of its own.
    pub repeats: bool,
}

impl<R> Column<R> {
    /// Text that many rows share.
    pub fn text(name: &'static str, get: fn(&R) -> Option<ByteArray>) -> Column<R> {
        Column { name, get: Get::Text(get), required: false, repeats: true }
    }

    /// Text that nearly each row has its own of.
    pub fn unique(name: &'static str, get: fn(&R) -> Option<ByteArray>) -> Column<R> {
        Column { repeats: false, ..Column::text(name, get) }
    }

    /// A number of 32 bits.
    pub fn int(name: &'static str, get: fn(&R) -> Option<i32>) -> Column<R> {
        Column { name, get: Get::Int(get), required: false, repeats: true }
    }

    /// A number of 64 bits.
    pub fn long(name: &'static str, get: fn(&R) -> Option<i64>) -> Column<R> {
        Column { name, get: Get::Long(get), required: false, repeats: true }
    }

    /// A time, in milliseconds since 1970 (UTC).
    pub fn time(name: &'static str, get: fn(&R) -> Option<i64>) -> Column<R> {
        Column { name, get: Get::Time(get), required: false, repeats: true }
    }

    /// The same column, of which every row has a value.
    pub fn required(self) -> Column<R> {
        Column { required: true, ..self }
    }

    /// How the schema of the file describes it.
    pub fn field(&self) -> Result<Arc<Type>> {
        let (physical, logical) = match self.get {
            Get::Text(_) => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            Get::Int(_) => (Physical::INT32, None),
            Get::Long(_) => (Physical::INT64, None),
            Get::Time(_) => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MILLIS))),
        };
        let repetition = if self.required { Repetition::REQUIRED } else { Repetition::OPTIONAL };
        let field = Type::primitive_type_builder(self.name, physical);
        Ok(Arc::new(field.with_logical_type(logical).with_repetition(repetition).build()?))
    }

    /// Writes its values of all rows.
    pub fn write(&self, rows: &[R], writer: &mut SerializedColumnWriter<'_>) -> Result<()> {
        match self.get {
            Get::Text(get) => self.write_values::<ByteArrayType>(rows, get, writer),
            Get::Int(get) => self.write_values::<Int32Type>(rows, get, writer),
            Get::Long(get) | Get::Time(get) => self.write_values::<Int64Type>(rows, get, writer),
        }
    }

    fn write_values<T: DataType>(
        &self,
        rows: &[R],
        get: fn(&R) -> Option<T::T>,
        writer: &mut SerializedColumnWriter<'_>,
    ) -> Result<()> {
        let (mut values, mut levels) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
        for batch in rows.chunks(BATCH) {
            values.clear();
            levels.clear();
            for row in batch {
                let value = get(row);
                levels.push(i16::from(value.is_some()));
                values.extend(value);
            }
            if self.required && values.len() < batch.len() {
                return Err(ParquetError::General(format!("column {} lacks a value", self.name)));
            }
            let levels = (!self.required).then_some(levels.as_slice());
            writer.typed::<T>().write_batch(&values, levels, None)?;
        }
        Ok(())
    }
}

/// Text as it is stored.
pub fn text(value: &str) -> Option<ByteArray> {
    Some(ByteArray::from(value))
}

/// What is shown as text, as it is stored.
pub fn shown(value: impl ToString) -> Option<ByteArray> {
    Some(ByteArray::from(value.to_string().into_bytes()))
}

/// A size or count as a signed integer; the largest there is for those beyond it, which only a damaged file has.
pub fn signed(value: u64) -> Option<i64> {
    Some(i64::try_from(value).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_beyond_the_signed_ones_are_the_largest() {
        assert_eq!([signed(0), signed(1 << 40), signed(u64::MAX)], [Some(0), Some(1 << 40), Some(i64::MAX)]);
    }
}
