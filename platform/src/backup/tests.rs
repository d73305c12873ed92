use std::fs;

use super::*;
use crate::init::{Init, Options, init};
use crate::store::rekey::{forget_old, rekey};
use crate::store::{INSTALLATION, organisations, tokens};
use crate::trust::token::Token;

struct World {
    directory: tempfile::TempDir,
    home: Home,
    made: Init,
}

impl World {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = Options::new("https://adit.example", "acme");
        let made = init(directory.path(), &options, Clock::system()).await.unwrap();
        let home = Home::new(directory.path(), None);
        Self { directory, home, made }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("backup")
    }

    /// A backup while the platform runs.
    async fn backup(&self) -> u64 {
        let running = self.home.open(Clock::system()).await.unwrap();
        let beside = self.home.open_beside(Clock::system()).await.unwrap();
        let rows = backup(&beside, &self.file()).await.unwrap();
        running.close().await;
        rows
    }

    /// Another directory, with a copy of the root keys.
    fn elsewhere(&self) -> (tempfile::TempDir, Home) {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path(), None);
        fs::copy(self.home.root_key_file(), home.root_key_file()).unwrap();
        (directory, home)
    }
}

#[tokio::test]
async fn a_backup_has_every_table() {
    let world = World::new().await;
    let store = world.home.open(Clock::system()).await.unwrap();
    let statement = "SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'schema_versions'";
    let found = sqlx::query_scalar::<sqlx::Any, String>(statement).fetch_all(store.reader()).await.unwrap();
    let mut known = dump::TABLES.to_vec();
    known.sort_unstable();
    let mut found: Vec<&str> = found.iter().map(String::as_str).collect();
    found.sort_unstable();
    assert_eq!(found, known);
}

#[tokio::test]
async fn what_is_restored_is_what_was_backed_up_in_another_epoch() {
    let world = World::new().await;
    world.backup().await;
    let (_directory, home) = world.elsewhere();
    let head = restore(&home, &world.file(), Clock::system()).await.unwrap();
    let (before, after) =
        (world.home.open(Clock::system()).await.unwrap(), home.open(Clock::system()).await.unwrap());
    assert_eq!((&head.installation, &head.epoch), (&before.installation().id, &before.installation().epoch));
    assert_eq!(after.installation().id, before.installation().id);
    assert_ne!(after.installation().epoch, before.installation().epoch);
    assert_ne!(after.instance(), before.instance());
    let token: Token = world.made.admin_token.parse().unwrap();
    assert!(tokens::look_up(after.reader(), token.id()).await.unwrap().unwrap().is(&token));
    let acme = organisations::find(after.reader(), "acme").await.unwrap().unwrap();
    let generation = organisations::generation(after.reader(), &acme.id).await.unwrap();
    assert!(generation > organisations::generation(before.reader(), &acme.id).await.unwrap());
    for organisation in [INSTALLATION, &acme.id] {
        let verdict = audit::verify(&after, organisation).await.unwrap();
        assert!(verdict.intact && verdict.events > 0, "{verdict:?}");
    }
}

#[tokio::test]
async fn a_backup_gives_no_secret_away_and_replaces_no_file() {
    let world = World::new().await;
    world.backup().await;
    let text = fs::read_to_string(world.file()).unwrap();
    let keys = fs::read_to_string(world.home.root_key_file()).unwrap();
    let secrets =
        keys.lines().filter(|line| !line.starts_with('#')).map(|line| line.split(' ').nth(1).unwrap());
    for secret in secrets.chain([world.made.admin_token.as_str(), world.made.operator_token.as_str()]) {
        assert!(!text.contains(secret));
    }
    assert!(!text.contains("PRIVATE KEY"));
    let store = world.home.open(Clock::system()).await.unwrap();
    let again = backup(&store, &world.file()).await;
    assert!(matches!(again, Err(BackupError::File { .. })));
    assert_eq!(fs::read_to_string(world.file()).unwrap(), text);
}

#[tokio::test]
async fn a_damaged_backup_restores_nothing() {
    let world = World::new().await;
    world.backup().await;
    let text = fs::read_to_string(world.file()).unwrap();
    let (_directory, home) = world.elsewhere();
    let mut lines: Vec<&str> = text.lines().collect();
    let last = lines.pop().unwrap();
    let cut = lines.join("\n") + "\n";
    lines.remove(3);
    let shorter = lines.join("\n") + "\n" + last + "\n";
    for damaged in [cut, shorter, text.replace("acme", "evil"), text.clone() + "{}\n", "{}\n".to_owned()] {
        let file = world.directory.path().join("damaged");
        fs::write(&file, damaged).unwrap();
        let refused = restore(&home, &file, Clock::system()).await;
        assert!(matches!(
            refused,
            Err(BackupError::Damaged | BackupError::Malformed(_) | BackupError::Store(_))
        ));
        assert!(matches!(home.open(Clock::system()).await, Err(OpenError::Nothing(_))));
    }
    restore(&home, &world.file(), Clock::system()).await.unwrap();
}

#[tokio::test]
async fn nothing_is_restored_over_a_platform_or_with_other_root_keys() {
    let world = World::new().await;
    world.backup().await;
    let over = restore(&world.home, &world.file(), Clock::system()).await;
    assert!(matches!(over, Err(BackupError::Open(OpenError::Initialised(_)))));
    let other = World::new().await;
    let (_directory, home) = other.elsewhere();
    let refused = restore(&home, &world.file(), Clock::system()).await;
    assert!(matches!(refused, Err(BackupError::Open(OpenError::WrongRootKey(_)))));
}

#[tokio::test]
async fn the_root_key_changes_while_the_platform_runs_and_the_old_one_may_go_then() {
    let world = World::new().await;
    let running = world.home.open(Clock::system()).await.unwrap();
    let old = world.home.root_keys().unwrap();
    let made = rekey(&world.home, Clock::system()).await.unwrap();
    assert_eq!((made.root_keys, made.data_keys), (2, 1));
    assert_eq!(forget_old(&world.home, Clock::system()).await.unwrap(), 1);
    running.ping().await.unwrap();
    running.close().await;
    drop(running);
    world.home.open(Clock::system()).await.unwrap();
    let late = Store::open(world.home.location(), &old, "late", Clock::system()).await;
    assert!(matches!(late, Err(OpenError::WrongRootKey(_))));
}

#[tokio::test]
async fn an_interrupted_rekey_leaves_the_keys_that_are_needed() {
    let world = World::new().await;
    world.home.root_keys().unwrap().with_new().replace(&world.home.root_key_file()).unwrap();
    let early = forget_old(&world.home, Clock::system()).await;
    assert!(matches!(early, Err(OpenError::RootKeyInUse(_))));
    world.home.open(Clock::system()).await.unwrap();
    assert_eq!(rekey(&world.home, Clock::system()).await.unwrap().root_keys, 3);
    assert_eq!(forget_old(&world.home, Clock::system()).await.unwrap(), 2);
}
