//! What the store promises of leases, on both databases.

use std::time::Duration;

use adit_platform::store::databases::{self, Settings};
use adit_platform::store::leases::changes::{self, Claim, Failure, Which};
use adit_platform::store::leases::{self, Inserted, New, due};
use adit_platform::store::{Store, StoreError, again, gateways, identities, orphans, projects, secrets};
use adit_platform::words::{IdentityKind, LeaseState, NewSecret, Role, TlsMode};
use serde_json::json;

/// What leases are of.
struct Site {
    store: Store,
    organisation: String,
    project: String,
    database: String,
    secret: String,
    identity: String,
}

impl Site {
    async fn new(store: &Store, organisation: &str) -> Self {
        let mut change = store.change(organisation, "identity:ada").await.unwrap();
        let identity = identities::create(&mut change, "lea", IdentityKind::Person, &[Role::Admin], &[])
            .await
            .unwrap()
            .id;
        let project = projects::create(&mut change, "leased").await.unwrap().id;
        let gateway = gateways::create(&mut change, "leased").await.unwrap().id;
        let (host, tls, ca) = ("db", TlsMode::Disable, "");
        let settings = Settings {
            gateway: &gateway,
            host,
            port: 5432,
            tls,
            ca,
            dbname: "d",
            admin_user: "a",
            max_connections: 3,
        };
        let new = databases::New { name: "leased", project: &project, settings, password: "p" };
        let database = databases::create(&mut change, &new).await.unwrap();
        let definition: NewSecret =
            serde_json::from_value(json!({ "name": "leased", "database": "leased", "access": "read-only",
                "max_leases": 3 }))
            .unwrap();
        secrets::create(&mut change, "secret-1", &database, &definition, None).await.unwrap();
        change.audit("secret.created", "secret:leased", json!({}));
        change.commit().await.unwrap();
        let (store, organisation, secret) = (store.clone(), organisation.to_owned(), "secret-1".to_owned());
        Self { store, organisation, project, database, secret, identity }
    }

    async fn begin(&self, id: &str, key: Option<&str>) -> Result<Inserted, StoreError> {
        let now = self.store.clock().now();
        again(|| async {
            let mut change = self.store.change(&self.organisation, "identity:lea").await?;
            let sealed = self.store.sealer().seal(&leases::place(&self.organisation, id), b"password");
            let new = New {
                id,
                secret: &self.secret,
                database: &self.database,
                project: &self.project,
                identity: &self.identity,
                username: id,
                sealed_password: &sealed,
                key,
                request: "r",
                expires_at: now + 600,
                max_expires_at: now + 6000,
                claim_until: now + 60,
            };
            let inserted = leases::insert(&mut change, &new).await?;
            if inserted == Inserted::Yes {
                change.audit("lease.requested", &format!("lease:{id}"), json!({}));
                change.commit().await?;
            }
            Ok(inserted)
        })
        .await
    }

    /// Makes a change, and says whether it took place.
    async fn change<F>(&self, work: impl AsyncFnOnce(&mut adit_platform::store::Change) -> F) -> F {
        let mut change = self.store.quiet_change(&self.organisation).await.unwrap();
        let done = work(&mut change).await;
        change.commit().await.unwrap();
        done
    }

    async fn row(&self, id: &str) -> leases::Row {
        leases::find(&self.store, &self.organisation, None, id).await.unwrap().unwrap()
    }

    async fn due(&self) -> Vec<String> {
        let rows = due::due(&self.store, &[], 100).await.unwrap();
        rows.into_iter().map(|row| row.id).collect()
    }
}

fn first(id: &str) -> Claim {
    Claim { lease: id.to_owned(), number: 1 }
}

pub(crate) async fn work_on_leases_is_done_once(store: &Store, organisation: &str) {
    let site = Site::new(store, organisation).await;
    no_more_are_begun_than_may(&site).await;
    a_key_is_taken_once(&site).await;
    a_claim_is_somebodys_until_it_runs_out(&site).await;
    what_older_epochs_made_waits(&site).await;
    lost_users_are_remembered(&site).await;
}

async fn no_more_are_begun_than_may(site: &Site) {
    let ids = ["l1", "l2", "l3", "l4", "l5"];
    let (a, b, c, d, e) = tokio::join!(
        site.begin(ids[0], None),
        site.begin(ids[1], None),
        site.begin(ids[2], None),
        site.begin(ids[3], None),
        site.begin(ids[4], None)
    );
    let all = [a, b, c, d, e].map(Result::unwrap);
    assert_eq!(all.iter().filter(|one| **one == Inserted::Yes).count(), 3, "{all:?}");
    assert_eq!(all.iter().filter(|one| **one == Inserted::Full(3)).count(), 2, "{all:?}");
    for (id, _) in ids.iter().zip(&all).filter(|(_, one)| **one == Inserted::Yes) {
        assert!(site.change(async |change| changes::failed(change, &first(id), "no").await.unwrap()).await);
        assert_eq!(site.row(id).await.lease.state, LeaseState::Failed);
    }
}

async fn a_key_is_taken_once(site: &Site) {
    let (a, b) = tokio::join!(site.begin("k1", Some("key")), site.begin("k2", Some("key")));
    assert!(matches!(
        (&a, &b),
        (Ok(Inserted::Yes), Err(StoreError::Conflict)) | (Err(StoreError::Conflict), Ok(Inserted::Yes))
    ));
    let found = leases::by_key(&site.store, &site.organisation, "key").await.unwrap().unwrap();
    assert_eq!((found.password.as_str(), found.request.as_str()), ("password", "r"));
    assert!(leases::by_key(&site.store, "other", "key").await.unwrap().is_none());
    let id = found.row.id;
    assert!(site.change(async |change| changes::failed(change, &first(&id), "no").await.unwrap()).await);
    assert!(
        leases::by_key(&site.store, &site.organisation, "key").await.unwrap().is_none(),
        "it may be sent again"
    );
    assert_eq!(site.begin("k3", Some("key")).await.unwrap(), Inserted::Yes);
    site.change(async |change| changes::made(change, &first("k3")).await.unwrap()).await;
    site.store.clock().advance(Duration::from_secs(601));
    assert_eq!(leases::forget_passwords(&site.store, 10).await.unwrap(), 1);
    assert!(leases::by_key(&site.store, &site.organisation, "key").await.unwrap().is_none());
    assert_eq!(site.due().await, ["k3"], "it has expired");
    let row = site.row("k3").await;
    let claim = due::claim(&site.store, &row, Duration::from_secs(60)).await.unwrap().unwrap();
    assert!(site.change(async |change| changes::begin_end(change, &claim, "expired").await.unwrap()).await);
    assert!(site.change(async |change| changes::revoked(change, &claim).await.unwrap()).await);
}

async fn a_claim_is_somebodys_until_it_runs_out(site: &Site) {
    assert_eq!(site.begin("c1", None).await.unwrap(), Inserted::Yes);
    assert!(site.due().await.is_empty(), "its maker is at work");
    let unmade = site.row("c1").await;
    assert!(site.change(async |change| changes::made(change, &first("c1")).await.unwrap()).await);
    assert!(!site.change(async |change| changes::made(change, &first("c1")).await.unwrap()).await);
    let late = due::claim(&site.store, &unmade, Duration::from_secs(60)).await.unwrap();
    assert_eq!(late, None, "who saw it unmade has no claim on it now that it is made");
    let ended =
        site.change(async |change| changes::end(change, Which::One("c1"), "revoked").await.unwrap()).await;
    assert_eq!(ended.len(), 1);
    let ended = site
        .change(async |change| changes::end(change, Which::OfIdentity(&site.identity), "x").await.unwrap())
        .await;
    assert!(ended.is_empty(), "once");
    assert_eq!(site.due().await, ["c1"]);
    assert!(
        due::due(&site.store, std::slice::from_ref(&site.database), 9).await.unwrap().is_empty(),
        "its database is busy"
    );

    let (row, minute) = (site.row("c1").await, Duration::from_secs(60));
    let (a, b) = tokio::join!(due::claim(&site.store, &row, minute), due::claim(&site.store, &row, minute));
    let claims = [a.unwrap(), b.unwrap()];
    assert_eq!(claims.iter().flatten().count(), 1, "{claims:?}");
    let old = claims.into_iter().flatten().next().unwrap();
    assert!(due::keep(&site.store, &site.organisation, &old, minute).await.unwrap());
    site.store.clock().advance(Duration::from_secs(61));
    assert!(!due::keep(&site.store, &site.organisation, &old, minute).await.unwrap(), "too late");
    let row = site.row("c1").await;
    let new = due::claim(&site.store, &row, minute).await.unwrap().unwrap();
    assert!(!site.change(async |change| changes::revoked(change, &old).await.unwrap()).await);
    let next_at = site.store.clock().now() + 5;
    let failure = Failure { error: "away", attempts: 1, since: next_at - 5, stuck: true, next_at };
    assert!(site.change(async |change| changes::again(change, &new, &failure).await.unwrap()).await);
    let trouble = site.row("c1").await.lease.trouble.unwrap();
    assert_eq!((trouble.attempts, trouble.next_at, trouble.stuck), (1, next_at, true));
    assert!(site.due().await.is_empty());
    assert!(site.change(async |change| changes::hasten(change, "c1").await.unwrap()).await);
    let row = site.row("c1").await;
    let last = due::claim(&site.store, &row, minute).await.unwrap().unwrap();
    assert!(site.change(async |change| changes::revoked(change, &last).await.unwrap()).await);
    let row = site.row("c1").await;
    assert!(row.lease.state == LeaseState::Revoked && row.lease.trouble.is_none() && !row.lives());
    assert!(!site.change(async |change| changes::abandon(change, "c1").await.unwrap()).await);
}

async fn what_older_epochs_made_waits(site: &Site) {
    assert_eq!(site.begin("e1", None).await.unwrap(), Inserted::Yes);
    assert!(site.change(async |change| changes::made(change, &first("e1")).await.unwrap()).await);
    let older = async |text: &'static str| {
        site.change(async |change| {
            for statement in [
                "UPDATE leases SET epoch = $1 WHERE id = 'e1'",
                "UPDATE organisations SET confirmed_epoch = $1",
            ] {
                sqlx::query::<sqlx::Any>(statement).bind(text).execute(change.connection()).await.unwrap();
            }
        })
        .await;
    };
    older("before").await;
    site.store.clock().advance(Duration::from_secs(601));
    assert!(site.due().await.is_empty());
    let known = due::restored(&site.store, &site.organisation).await.unwrap();
    assert_eq!((known.paused, known.leases), (true, 1));
    assert_eq!(due::paused(&site.store).await.unwrap(), ["acme"]);
    assert!(!orphans::confirmed(&site.store, &site.organisation).await.unwrap());
    assert!(site.change(async |change| due::confirm(change).await.unwrap()).await);
    assert!(!site.change(async |change| due::confirm(change).await.unwrap()).await);
    assert_eq!(site.due().await, ["e1"]);
    older("before").await;
    site.change(async |change| changes::end(change, Which::OfSecret(&site.secret), "asked").await.unwrap())
        .await;
    assert_eq!(site.due().await, ["e1"], "somebody asked for it in this epoch");
    site.change(async |change| due::confirm(change).await.unwrap()).await;
    assert!(site.change(async |change| changes::abandon(change, "e1").await.unwrap()).await);
}

async fn lost_users_are_remembered(site: &Site) {
    let day = Duration::from_secs(24 * 3600);
    let due = orphans::due(&site.store, day, 10).await.unwrap();
    assert_eq!(due.len(), 1);
    assert!(orphans::claim(&site.store, &due[0]).await.unwrap());
    assert!(!orphans::claim(&site.store, &due[0]).await.unwrap(), "by one");
    assert!(orphans::due(&site.store, day, 10).await.unwrap().is_empty());
    let found =
        |username: &str| orphans::Found { username: username.into(), finding: "f".into(), ours: true };
    let of = (site.organisation.as_str(), site.database.as_str());
    orphans::record(&site.store, of, &[found("a"), found("b")]).await.unwrap();
    let since = |before| orphans::seen_since(&site.store, of.0, of.1, before);
    let now = site.store.clock().now();
    assert!(since(now + 9).await.unwrap().is_empty(), "once is not twice");
    site.store.clock().advance(Duration::from_secs(30));
    orphans::record(&site.store, of, &[found("b"), found("c")]).await.unwrap();
    assert_eq!(since(now + 9).await.unwrap(), ["b"]);
    assert!(since(now - 9).await.unwrap().is_empty(), "too young");
    let listed = orphans::all(&site.store, of.0, of.1, "", 10).await.unwrap();
    assert_eq!(listed.iter().map(|orphan| &*orphan.username).collect::<Vec<_>>(), ["b", "c"]);
    assert_eq!(orphans::holder(&site.store, of.0, "nobody").await.unwrap(), orphans::Holder::Nobody);
    assert_eq!(orphans::holder(&site.store, "other", "e1").await.unwrap(), orphans::Holder::Other);
    // However many are asked for.
    let strangers: Vec<_> = (0..1_200).map(|number| format!("x{number}")).collect();
    let mut asked: Vec<_> = strangers.iter().map(String::as_str).collect();
    asked.insert(700, "e1");
    let holders = orphans::holders(&site.store, "other", &asked).await.unwrap();
    assert_eq!(holders.into_iter().collect::<Vec<_>>(), [("e1".to_owned(), orphans::Holder::Other)]);
}
