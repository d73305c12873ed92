use adit_core::pki::{Anchors, PeerInfo};
use serde_json::json;

use super::rollover::Pace;
use super::*;
use crate::store::testing::World;
use crate::store::{INSTALLATION, organisations};

const DAY: Duration = Duration::from_secs(24 * 3600);
const PACE: Pace = Pace { announced: Duration::from_secs(3600), leaf: DAY };

/// A world with the organisation acme, and its id.
async fn acme() -> (World, String) {
    let world = World::new().await;
    let mut change = world.store.change(INSTALLATION, "identity:op").await.unwrap();
    let (acme, _) = organisations::create(&mut change, "acme", "ada", None).await.unwrap();
    found(&mut change, &acme.id, "acme").await.unwrap();
    platform_ca::found(&mut change).await.unwrap();
    change.commit().await.unwrap();
    (world, acme.id)
}

async fn issued(world: &World, organisation: &str) -> issue::Issued {
    let key = Key::generate(KeyKind::EcdsaP256).public();
    let mut change = world.store.change(organisation, "gateway:gw/1").await.unwrap();
    let issued = issue::gateway(&mut change, "gw", "1", &key, DAY).await.unwrap();
    change.audit("certificate.issued", "gateway:gw", json!({ "serial": issued.serial }));
    change.commit().await.unwrap();
    issued
}

fn leaf(chain: &str) -> PeerInfo {
    PeerInfo::from_leaf(&only_certificate(chain).unwrap()).unwrap()
}

fn trusts(anchors: &str, chain: &str) -> bool {
    let chain = pem::certificates(chain.as_bytes()).unwrap();
    Anchors::new(&chain[1..]).is_ok() && anchors.contains(&pem::encode_certificates([&chain[1]]))
}

#[tokio::test]
async fn a_gateways_leaf_names_it_and_is_recorded() {
    let (world, acme) = acme().await;
    let issued = issued(&world, &acme).await;
    let info = leaf(&issued.chain);
    assert_eq!(info.identity.to_string(), "spiffe://adit.test/org/acme/gateway/gw/1");
    assert_eq!((issue::hex(&info.serial), info.not_after.0), (issued.serial.clone(), issued.not_after));
    let statement = "SELECT holder, subject FROM certificates WHERE serial = $1";
    let row = sqlx::query_as::<Any, (String, String)>(statement).bind(&issued.serial);
    let row = row.fetch_one(world.store.reader()).await.unwrap();
    assert_eq!(row, ("1".to_owned(), issued.subject.clone()));
    let now = world.store.clock().now();
    let anchors = gateway_anchors(world.store.reader(), &acme, now).await.unwrap();
    assert!(trusts(&anchors, &issued.chain));
}

#[tokio::test]
async fn a_person_gets_exactly_the_targets_and_the_platform_none() {
    let (world, acme) = acme().await;
    let key = Key::generate(KeyKind::EcdsaP256).public();
    let targets = ["tcp://db:5432".to_owned()];
    let mut change = world.store.quiet_change(&acme).await.unwrap();
    let person = issue::person(&mut change, "id", "ada", &targets, &key, DAY).await.unwrap();
    assert_eq!(leaf(&person.chain).targets.as_deref(), Some(&targets[..]));
    let none = issue::person(&mut change, "id", "ada", &[], &key, DAY).await;
    assert!(matches!(none, Err(AuthorityError::Issue(IssueError::Targets(_)))));
    let platform = issue::platform(&mut change, "one", &key, DAY).await.unwrap();
    assert_eq!(leaf(&platform.chain).identity.to_string(), "spiffe://adit.test/org/acme/platform/one");
    let anchors = connector_anchors(world.store.reader(), &acme, 0).await.unwrap();
    assert!(trusts(&anchors, &person.chain) && trusts(&anchors, &platform.chain));
}

#[tokio::test]
async fn an_organisation_without_authorities_issues_nothing() {
    let (world, _) = acme().await;
    let key = Key::generate(KeyKind::EcdsaP256).public();
    let mut change = world.store.quiet_change(INSTALLATION).await.unwrap();
    let refused = issue::gateway(&mut change, "gw", "1", &key, DAY).await;
    assert!(matches!(refused, Err(AuthorityError::None("gateway"))));
}

#[tokio::test]
async fn a_new_intermediate_is_announced_before_it_issues_and_the_old_one_kept() {
    let (world, acme) = acme().await;
    let (store, clock) = (&world.store, world.store.clock());
    let old = issued(&world, &acme).await;
    let generation = organisations::generation(store.reader(), &acme).await.unwrap();
    let mut change = store.change(&acme, "identity:ada").await.unwrap();
    rollover::begin(&mut change, Office::Gateway, PACE).await.unwrap();
    change.commit().await.unwrap();
    assert!(organisations::generation(store.reader(), &acme).await.unwrap() > generation);

    let early = issued(&world, &acme).await;
    let announced = gateway_anchors(store.reader(), &acme, clock.now()).await.unwrap();
    assert_eq!(pem::certificates(announced.as_bytes()).unwrap().len(), 2);
    assert!(trusts(&announced, &old.chain) && trusts(&announced, &early.chain));

    clock.advance(PACE.announced);
    let late = issued(&world, &acme).await;
    assert_ne!(only_second(&late.chain), only_second(&early.chain));
    let anchors = gateway_anchors(store.reader(), &acme, clock.now()).await.unwrap();
    assert!(trusts(&anchors, &early.chain) && trusts(&anchors, &late.chain));

    clock.advance(PACE.leaf);
    let anchors = gateway_anchors(store.reader(), &acme, clock.now()).await.unwrap();
    assert!(!trusts(&anchors, &early.chain) && trusts(&anchors, &late.chain));
}

fn only_second(chain: &str) -> CertificateDer<'static> {
    pem::certificates(chain.as_bytes()).unwrap().remove(1)
}

#[tokio::test]
async fn what_nears_its_end_is_followed_in_time_and_once() {
    let (world, acme) = acme().await;
    assert_eq!(rollover::begin_due(&world.store, PACE, 10).await.unwrap(), 0);
    world.store.clock().advance(INTERMEDIATE_LIFE - INTERMEDIATE_LIFE / 4);
    assert_eq!(rollover::begin_due(&world.store, PACE, 10).await.unwrap(), 2);
    assert_eq!(rollover::begin_due(&world.store, PACE, 10).await.unwrap(), 0);
    // And for as long as the installation lives, past the end of the first root.
    for _ in 0..30 {
        world.store.clock().advance(INTERMEDIATE_LIFE - INTERMEDIATE_LIFE / 4);
        assert_eq!(rollover::begin_due(&world.store, PACE, 10).await.unwrap(), 2);
        world.store.clock().advance(PACE.announced);
        issued(&world, &acme).await;
    }
}

#[tokio::test]
async fn a_server_is_known_by_the_platform_ca() {
    let (world, _) = acme().await;
    let hosts = ["platform.example".to_owned(), "192.0.2.1".to_owned()];
    let server = platform_ca::serve(&world.store, &hosts, DAY).await.unwrap();
    let ca = platform_ca::certificate(world.store.reader()).await.unwrap();
    assert!(server.chain.ends_with(&ca));
    let pin = platform_ca::its_pin(world.store.reader()).await.unwrap();
    assert_eq!(Some(pin), crate::trust::pin::of(&only_second(&server.chain)));

    let key = Key::generate(KeyKind::EcdsaP256).public();
    let mut change = world.store.quiet_change(INSTALLATION).await.unwrap();
    let relay = platform_ca::relay(&mut change, "r", &hosts, &key, DAY).await.unwrap();
    assert_eq!(relay.subject, "platform.example");
    assert!(platform_ca::relay(&mut change, "r", &[], &key, DAY).await.is_err());
}
