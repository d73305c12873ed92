use proptest::prelude::*;

use super::*;

const CREATE: &str =
    "CREATE ROLE {{username}} LOGIN PASSWORD {{password}} VALID UNTIL {{expiration}} -- for {{ nobody's }}";

fn values<'a>(schemas: &'a [String]) -> Values<'a> {
    Values { username: "u\"1", password: "p'1\\", expiration: "2030", schemas, database: "app" }
}

fn refusal(text: &str) -> String {
    Statement::parse(text, Purpose::Creation).expect_err(text).to_string()
}

#[test]
fn identifiers_and_literals_are_quoted_each_in_its_way() {
    let text = "CREATE ROLE {{username}} PASSWORD {{ password }} VALID UNTIL {{expiration}};";
    let filled = Statement::parse(text, Purpose::Creation).unwrap().expand(&values(&[]));
    let expected = "CREATE ROLE \"u\"\"1\" PASSWORD  E'p''1\\\\' VALID UNTIL '2030';";
    assert_eq!(filled.iter().map(|text| text.as_str()).collect::<Vec<_>>(), [expected]);
    let text = "SELECT set_config('a.b', {{username:literal}}, true)";
    let filled = Statement::parse(text, Purpose::Creation).unwrap().expand(&values(&[]));
    assert_eq!(filled[0].as_str(), "SELECT set_config('a.b', 'u\"1', true)");
}

#[test]
fn a_statement_about_schemas_runs_once_for_each() {
    let schemas = ["a".to_owned(), "b\"; DROP ROLE x; --".to_owned()];
    let statement = Statement::parse("GRANT USAGE ON SCHEMA {{schema}} TO {{username}}", Purpose::Creation);
    let filled = statement.unwrap().expand(&values(&schemas));
    assert_eq!(filled.len(), 2);
    assert_eq!(filled[1].as_str(), "GRANT USAGE ON SCHEMA \"b\"\"; DROP ROLE x; --\" TO \"u\"\"1\"");
}

#[test]
fn a_placeholder_within_quotes_or_comments_is_refused_and_shown() {
    for (text, within) in [
        ("CREATE ROLE \"{{username}}\"", "double quotes"),
        ("ALTER ROLE x PASSWORD '{{password}}'", "quotes"),
        ("ALTER ROLE x PASSWORD E'\\'{{ password }}'", "quotes"),
        ("DO $$ BEGIN EXECUTE {{username}}; END $$", "dollar quotes"),
        ("DO $body$ {{username:literal}} $body$", "dollar quotes"),
        ("SELECT 1 -- {{username}}", "a comment"),
        ("SELECT 1 /* /* {{username}} */ */", "a comment"),
    ] {
        assert!(refusal(text).contains(&format!("within {within}:")), "{text}: {}", refusal(text));
    }
    assert!(refusal("SELECT 1,\n  '{{username}}'").contains("(line 2, column 4, at \"{{username}}'\")"));
    assert!(Statement::parse("SELECT '{{1,2},{3,4}}'::int[]", Purpose::Creation).is_ok());
    assert!(Statement::parse(CREATE, Purpose::Creation).is_ok());
}

#[test]
fn a_placeholder_that_would_melt_into_another_token_is_refused() {
    for text in [
        "SELECT E{{password}}",
        "SELECT U&{{password}}",
        "SELECT 'x'{{password}}",
        "SELECT {{password}}'x'",
        "GRANT x_{{username}} TO y",
        "GRANT {{username}}_x TO y",
        "GRANT {{username}}{{schema}} TO y",
        "SELECT \"a\"{{username}}",
    ] {
        assert!(refusal(text).contains("stands alone"), "{text}: {}", refusal(text));
    }
    assert!(Statement::parse("GRANT SELECT ON {{schema}}.t TO {{username}}", Purpose::Creation).is_ok());
}

#[test]
fn unknown_placeholders_are_refused_and_the_known_ones_named() {
    assert!(refusal("SELECT {{name}}").contains("{{username}}, {{password}}"));
    assert!(refusal("SELECT {{username:raw}}").contains("not known here"));
    let renewal = Statement::parse("SELECT {{password}}", Purpose::Renewal).unwrap_err().to_string();
    assert!(!renewal.contains("{{password}},") && renewal.contains("{{expiration}}"), "{renewal}");
    assert!(Statement::parse("SELECT {{expiration}}", Purpose::Revocation).is_err());
}

#[test]
fn transactions_and_the_connection_stay_in_the_platforms_hands() {
    for text in [
        "COMMIT",
        "  -- nothing\n /* at /* all */ */ rollback;",
        "begin",
        "START TRANSACTION",
        "END",
        "Abort",
        "SAVEPOINT a",
        "RELEASE a",
        "PREPARE TRANSACTION 'x'",
        "SET ROLE postgres",
        "SET SESSION AUTHORIZATION x",
        "RESET ALL",
        "DISCARD ALL",
        "COPY t FROM STDIN",
    ] {
        let _ = refusal(text);
    }
    assert!(Statement::parse("SET LOCAL search_path = x", Purpose::Creation).is_ok());
}

#[test]
fn several_statements_in_one_text_are_refused() {
    assert!(refusal("SELECT 1; SELECT 2").contains("a text of its own"));
    assert!(refusal("SELECT 1; -- x\n;").contains("a text of its own"));
    assert!(Statement::parse("SELECT ';' ; -- done\n", Purpose::Creation).is_ok());
}

#[test]
fn empty_long_and_cut_statements_are_refused() {
    for text in ["", "  \n", "-- only this", ";"] {
        assert!(refusal(text).contains("empty"), "{text}");
    }
    assert!(refusal(&format!("SELECT '{}'", "x".repeat(MAX_STATEMENT))).contains("at most"));
    assert!(refusal("SELECT 1\0").contains("NUL"));
}

#[test]
fn statements_that_make_a_user_name_it_and_its_password() {
    let parse = |texts: &[&str]| {
        let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
        Statement::parse_all(&texts, Purpose::Creation).map_err(|error| error.to_string())
    };
    assert!(parse(&["CREATE ROLE {{username}}"]).unwrap_err().contains("{{password}}"));
    assert!(parse(&["SELECT {{password}}"]).unwrap_err().contains("{{username}}"));
    assert!(parse(&[CREATE, "COMMIT"]).unwrap_err().starts_with("statement 2: "));
    assert!(parse(&[CREATE]).is_ok());
}

proptest! {
    /// Whatever is filled in, the rest of the statement is read as it was when it was accepted.
    #[test]
    fn what_is_filled_in_never_changes_how_the_rest_is_read(
        text in "([a-z ]|'|\"|[$;-]|E'|/\\*|\\*/|\\{\\{username\\}\\}|\\{\\{password\\}\\}|\n|\\\\){0,40}",
        username in "[^\0]{0,12}|['\"\\\\;$-]{0,12}",
        password in "[^\0]{0,12}|['\"\\\\;${}-]{0,12}",
    ) {
        let Ok(statement) = Statement::parse(&text, Purpose::Creation) else { return Ok(()) };
        let values = Values { username: &username, password: &password, ..values(&[]) };
        let filled = statement.expand(&values);
        let shape = |text: &str| {
            let kinds = lex(text).unwrap().into_iter().filter(|token| token.kind != Kind::Blank);
            let text = text.to_owned();
            kinds.map(move |token| match token.kind {
                Kind::Placeholder => (Kind::Placeholder, String::new()),
                kind => (kind, text[token.at].to_owned()),
            }).collect::<Vec<_>>()
        };
        let before = shape(&text);
        let mut after = shape(&filled[0]);
        // A string with backslashes is two tokens: the E and the quotes.
        let placeholders = before.iter().enumerate().filter(|(_, token)| token.0 == Kind::Placeholder);
        for (index, _) in placeholders {
            if after[index] == (Kind::Word, "E".to_owned()) {
                after.remove(index);
            }
            prop_assert!(matches!(after[index].0, Kind::Quoted(_)), "{}", filled[0].as_str());
            after[index] = (Kind::Placeholder, String::new());
        }
        prop_assert_eq!(before, after);
    }
}
