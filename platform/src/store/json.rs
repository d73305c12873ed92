//! Lists and words in rows: JSON, as the API has them.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StoreError;

/// Reads a column that holds JSON.
pub(super) fn list<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Corrupt(format!("a column is no JSON: {error}")))
}

/// Writes a column that holds JSON.
pub(super) fn to_list<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("lists of words and numbers are JSON")
}

/// Reads a column that holds one word of an enumeration.
pub(super) fn word<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_value(serde_json::Value::String(text.to_owned()))
        .map_err(|error| StoreError::Corrupt(format!("a column holds an unknown word: {error}")))
}

/// Writes a column that holds one word of an enumeration.
pub(super) fn to_word<T: Serialize>(value: T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        other => unreachable!("an enumeration without fields is one word, not {other:?}"),
    }
}
