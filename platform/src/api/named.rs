//! What the handlers of all nouns share: names, pages, actors.

use adit_core::pki::Name;

use super::problem::Problem;
use crate::words::Page;

/// Names that a path uses for something else.
const RESERVED: [&str; 2] = ["self", "installation"];

/// Checks the name of something new.
///
/// # Errors
/// A problem that says what a name is made of.
pub(crate) fn new_name(text: &str) -> Result<&str, Problem> {
    if RESERVED.contains(&text) {
        return Err(Problem::bad_request(format!("The name {text} is reserved; choose another.")));
    }
    text.parse::<Name>()
        .map(|_| text)
        .map_err(|_| Problem::bad_request("A name is 1 to 64 letters, digits, '.', '_' or '-'."))
}

/// A page of `limit` items, out of up to one more that was read; `key` is what the next page begins after.
pub(super) fn page<T>(mut items: Vec<T>, limit: u32, key: impl Fn(&T) -> String) -> Page<T> {
    let limit = limit as usize;
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(key);
    Page { items, next }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_page_has_no_next() {
        let of = |n: u32| page((0..n).collect(), 2, u32::to_string);
        assert_eq!((of(2).items.len(), of(2).next), (2, None));
        assert_eq!((of(3).items.len(), of(3).next), (2, Some("1".to_owned())));
        assert_eq!(of(0).next, None);
    }

    #[test]
    fn a_name_that_means_something_in_a_path_is_refused() {
        assert!(new_name("self").is_err() && new_name("a b").is_err() && new_name("").is_err());
        assert_eq!(new_name("db-1.eu"), Ok("db-1.eu"));
    }
}
