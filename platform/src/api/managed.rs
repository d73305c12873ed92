//! What the handlers of databases, dynamic secrets and rotations share: who may define, and which names a server takes.

use super::App;
use super::caller::Caller;
use super::problem::Problem;
use crate::store::databases;

/// The longest name of a user, schema or database on a server, in bytes.
const MAX_NAME: usize = 63;

/// Whether the caller may define what belongs to the project with this id.
///
/// # Errors
/// A problem that says who may.
pub(super) fn may_manage(caller: &Caller, project: &str) -> Result<(), Problem> {
    match caller.administers(project) {
        true => Ok(()),
        false => Err(Problem::forbidden("Only an administrator of the project may do this.")),
    }
}

/// Whether the caller may have credentials of what belongs to the project with this id.
///
/// # Errors
/// A problem that says who may.
pub(super) fn may_lease(caller: &Caller, project: &str) -> Result<(), Problem> {
    match caller.uses(project) {
        true => Ok(()),
        false => Err(Problem::forbidden("Only members of the project may have its credentials.")),
    }
}

/// Whether no database belongs to the project, or goes through the gateway, with this id: it may be deleted then.
///
/// # Errors
/// A problem that names some, with `advice`.
pub(super) async fn without_databases(
    app: &App,
    caller: &Caller,
    id: &str,
    advice: &str,
) -> Result<(), Problem> {
    let names = databases::names_on(&app.store, &caller.organisation, id).await?;
    match names.is_empty() {
        true => Ok(()),
        false => Err(Problem::conflict(format!("There are databases of it: {}. {advice}", names.join(", ")))),
    }
}

/// Checks the name of something on a server; `what` is the field that it comes in. It is quoted wherever it is used.
///
/// # Errors
/// A problem that says what a name is.
pub(crate) fn server_name(what: &str, text: &str) -> Result<(), Problem> {
    let fits = (1..=MAX_NAME).contains(&text.len()) && !text.chars().any(char::is_control);
    match fits {
        true => Ok(()),
        false => {
            let detail = format!("{what} is 1 to {MAX_NAME} bytes without control characters.");
            Err(Problem::bad_request(detail))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_on_a_server_has_63_bytes_at_most_and_may_need_quotes() {
        assert!(
            server_name("dbname", &"é".repeat(31)).is_ok() && server_name("dbname", "a \"b\"; --").is_ok()
        );
        for text in ["", "a\0", "a\nb", &"é".repeat(32)] {
            assert!(server_name("dbname", text).is_err(), "{text:?}");
        }
    }
}
