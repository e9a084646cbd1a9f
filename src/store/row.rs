//! From columns to domain types: a value that does not parse is an error that names its column, never a crash.

use std::fmt::Display;
use std::str::FromStr;

use super::StoreError;

pub(super) fn parse<T>(column: &str, text: &str) -> Result<T, StoreError>
where
    T: FromStr,
    T::Err: Display,
{
    text.parse()
        .map_err(|why| StoreError::BadRow(format!("{column}: {why}")))
}

/// A stored integer in the type it stands for.
pub(super) fn number<T: TryFrom<i64>>(column: &str, value: i64) -> Result<T, StoreError> {
    T::try_from(value).map_err(|_| StoreError::BadRow(format!("{column}: {value} is out of range")))
}

/// A count as the databases store it. What does not fit is far above anything we count.
pub(super) fn stored(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
