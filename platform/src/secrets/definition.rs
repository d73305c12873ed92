//! What a dynamic secret is defined as: checked before anything is kept, and complete from then on.

use crate::api::managed::server_name;
use crate::api::named::new_name;
use crate::api::problem::{Problem, sentence};
use crate::postgres::template::{Purpose, Statement};
use crate::postgres::{password, username};
use crate::words::{Access, NewSecret};

/// The shortest life of a lease, in seconds.
const SHORTEST: u64 = 60;

/// The longest life of a lease, in seconds: a year.
const LONGEST: u64 = 365 * 24 * 3600;

/// The most leases of one secret.
const MAX_LEASES: u32 = 10_000;

/// The most schemas.
const MAX_SCHEMAS: usize = 32;

/// What a secret with this `id` is, with everything that was left out, and its group role.
///
/// # Errors
/// A problem that says what is wrong.
pub(crate) fn complete(mut new: NewSecret, id: &str) -> Result<(NewSecret, Option<String>), Problem> {
    check_names(&new)?;
    check_life(&new)?;
    check_statements(&new)?;
    password::check(&new.password).map_err(|error| Problem::bad_request(sentence(&error)))?;
    if new.schemas.is_empty() && new.access != Access::Custom {
        new.schemas.push("public".to_owned());
    }
    let template = new.username_template.get_or_insert_with(|| username::DEFAULT.to_owned());
    username::Template::parse(template)
        .map_err(|error| Problem::bad_request(format!("The username_template: {error}.")))?;
    let group = (new.access != Access::Custom).then(|| format!("adit-group-{id}"));
    Ok((new, group))
}

fn check_names(new: &NewSecret) -> Result<(), Problem> {
    new_name(&new.name)?;
    if let Some(dbname) = &new.dbname {
        server_name("dbname", dbname)?;
    }
    if new.schemas.len() > MAX_SCHEMAS {
        return Err(Problem::bad_request(format!("A secret has at most {MAX_SCHEMAS} schemas.")));
    }
    new.schemas.iter().try_for_each(|schema| server_name("A schema", schema))
}

fn check_life(new: &NewSecret) -> Result<(), Problem> {
    let refused = |detail: String| Err(Problem::bad_request(detail));
    if !(SHORTEST..=LONGEST).contains(&new.max_ttl) {
        return refused(format!("max_ttl is {SHORTEST} to {LONGEST} seconds."));
    }
    if !(SHORTEST..=new.max_ttl).contains(&new.default_ttl) {
        return refused(format!("default_ttl is {SHORTEST} to {} seconds, which is max_ttl.", new.max_ttl));
    }
    if !(1..=MAX_LEASES).contains(&new.max_leases) {
        return refused(format!("max_leases is 1 to {MAX_LEASES}."));
    }
    Ok(())
}

fn check_statements(new: &NewSecret) -> Result<(), Problem> {
    match (new.access, new.creation.is_empty()) {
        (Access::Custom, true) => {
            return Err(Problem::bad_request(
                "A secret with access custom has at least one creation statement.",
            ));
        }
        (Access::ReadOnly | Access::ReadWrite, false) => {
            return Err(Problem::bad_request("creation statements come with access custom only."));
        }
        _ => {}
    }
    for (kind, statements, purpose) in [
        ("creation", &new.creation, Purpose::Creation),
        ("renewal", &new.renewal, Purpose::Renewal),
        ("revocation", &new.revocation, Purpose::Revocation),
    ] {
        Statement::parse_all(statements, purpose)
            .map_err(|error| Problem::bad_request(format!("The {kind} statements: {error}.")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn completed(change: impl FnOnce(&mut Value)) -> Result<(NewSecret, Option<String>), Problem> {
        let mut definition = json!({ "name": "ro", "database": "main", "access": "read-only" });
        change(&mut definition);
        complete(serde_json::from_value(definition).unwrap(), "id")
    }

    #[test]
    fn what_is_left_out_is_filled_in() {
        let (definition, group) = completed(|_| {}).unwrap();
        assert_eq!(
            (definition.schemas, group.as_deref()),
            (vec!["public".to_owned()], Some("adit-group-id"))
        );
        assert_eq!(definition.username_template.as_deref(), Some(username::DEFAULT));
        let custom = completed(|new| {
            new["access"] = json!("custom");
            new["creation"] = json!(["CREATE ROLE {{username}} LOGIN PASSWORD {{password}}"]);
        });
        assert_eq!(custom.unwrap().1, None);
    }

    #[test]
    fn what_can_not_be_is_refused_with_what_to_do() {
        let cases: [(&str, Value); 12] = [
            ("name", json!("a b")),
            ("dbname", json!("")),
            ("schemas", json!(["x".repeat(64)])),
            ("default_ttl", json!(59)),
            ("default_ttl", json!(100_000)),
            ("max_ttl", json!(LONGEST + 1)),
            ("max_leases", json!(0)),
            ("creation", json!(["SELECT 1"])),
            ("access", json!("custom")),
            ("renewal", json!(["COMMIT"])),
            ("revocation", json!(["DROP ROLE '{{username}}'"])),
            ("username_template", json!("{{unheard_of}}")),
        ];
        for (field, value) in cases {
            let refused = completed(|new| new[field] = value.clone());
            assert!(refused.is_err_and(|problem| problem.detail.len() > 10), "{field}: {value}");
        }
        let weak = completed(|new| new["password"] = json!({ "length": 8 }));
        assert!(weak.is_err());
    }
}
