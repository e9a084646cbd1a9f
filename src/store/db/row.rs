//! From columns to domain types: a value that does not parse is an error that names its column, never a crash.

use std::fmt::Display;
use std::str::FromStr;

use crate::store::StoreError;

/// A row as a struct: each column goes to the field of its name. What `derive(sqlx::FromRow)` would write; sqlx's macros
/// bring a second copy of its drivers, of TLS and of its C code into every build.
macro_rules! row {
    ($(#[$about:meta])* $seen:vis struct $name:ident {
        $($(#[$field_about:meta])* $field_seen:vis $field:ident: $kind:ty),* $(,)?
    }) => {
        $(#[$about])*
        $seen struct $name {
            $($(#[$field_about])* $field_seen $field: $kind),*
        }

        impl<'r, R: sqlx::Row> sqlx::FromRow<'r, R> for $name
        where
            &'static str: sqlx::ColumnIndex<R>,
            $($kind: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>),*
        {
            fn from_row(row: &'r R) -> sqlx::Result<$name> {
                Ok($name {
                    $($field: row.try_get(stringify!($field))?),*
                })
            }
        }
    };
}
pub(in crate::store) use row;

pub(in crate::store) fn parse<T>(column: &str, text: &str) -> Result<T, StoreError>
where
    T: FromStr,
    T::Err: Display,
{
    text.parse()
        .map_err(|why| StoreError::BadRow(format!("{column}: {why}")))
}

/// A stored integer in the type it stands for.
pub(in crate::store) fn number<T: TryFrom<i64>>(column: &str, value: i64) -> Result<T, StoreError> {
    T::try_from(value).map_err(|_| StoreError::BadRow(format!("{column}: {value} is out of range")))
}

/// A count as the databases store it. What does not fit is far above anything we count.
pub(in crate::store) fn stored(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
