//! An answer of the API: as it came, for programs, and as words, for people.

use adit_platform::client::{Client, segment};
use adit_platform::words::Page;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::exit::{Exit, Failure};

/// How many items are asked for at once.
const PAGE: usize = 500;

/// An answer.
pub(crate) struct Answer<T> {
    /// What the API said, with whatever this program does not know.
    pub(super) json: Value,
    /// The same as words.
    pub(crate) value: T,
}

impl<T: DeserializeOwned> Answer<T> {
    pub(super) fn of(json: Value) -> Result<Self, Failure> {
        let value = T::deserialize(&json).map_err(|error| {
            Failure::new(
                Exit::PlatformUnreachable,
                format!("the platform's answer is not understood: {error}"),
            )
            .next("are the platform and this program of one version?")
        })?;
        Ok(Self { json, value })
    }

    pub(crate) async fn get(client: &Client, path: &str) -> Result<Self, Failure> {
        Self::of(client.get(path).await?)
    }

    pub(super) async fn post(client: &Client, path: &str, body: &impl Serialize) -> Result<Self, Failure> {
        Self::of(client.post(path, body).await?)
    }

    pub(super) async fn put(client: &Client, path: &str, body: &impl Serialize) -> Result<Self, Failure> {
        Self::of(client.put(path, body).await?)
    }

    pub(super) async fn remove(client: &Client, path: &str) -> Result<Self, Failure> {
        Self::of(client.remove(path).await?)
    }

    pub(super) async fn patch(client: &Client, path: &str, body: &impl Serialize) -> Result<Self, Failure> {
        Self::of(client.patch(path, body).await?)
    }
}

impl<T: DeserializeOwned> Answer<Vec<T>> {
    /// The items of a list that has one page.
    pub(crate) async fn whole(client: &Client, path: &str) -> Result<Self, Failure> {
        let json: Value = client.get(path).await?;
        let value = Answer::<Page<T>>::of(json.clone())?.value.items;
        Ok(Self { json, value })
    }

    /// The items of a list, of all its pages or until there are `at_most`.
    pub(super) async fn list(client: &Client, path: &str, at_most: usize) -> Result<Self, Failure> {
        let (mut items, mut after) = (Vec::new(), None::<String>);
        while items.len() < at_most {
            let limit = PAGE.min(at_most - items.len());
            let sign = if path.contains('?') { '&' } else { '?' };
            let mut query = format!("{path}{sign}limit={limit}");
            if let Some(after) = &after {
                query += &format!("&after={}", segment(after));
            }
            let page: Page<Value> = client.get(&query).await?;
            let empty = page.items.is_empty();
            items.extend(page.items);
            after = page.next.filter(|_| !empty);
            if after.is_none() {
                break;
            }
        }
        let value = Answer::of(Value::Array(items.clone()))?.value;
        Ok(Self { json: json!({ "items": items }), value })
    }
}
