//! What every registry must do. Each test has users of its own, so that all of them can run against one server.

use std::sync::Arc;

use super::{Home, Login, Registered, Registry, Route};
use crate::{
    clock::Timestamp,
    id::{Epoch, Incarnation},
};

/// Makes a test of each function of the suite, against a new registry.
macro_rules! conformance_tests {
    ($registry:expr) => {
        conformance_tests! { $registry;
            an_epoch_is_above_the_stored_and_the_asked_one
            a_login_learns_where_its_device_was_connected
            all_devices_of_a_user_are_found
            a_deleted_route_is_not_found_and_its_epoch_not_granted_again
            a_late_delete_does_not_remove_the_successor
            a_route_is_deleted_only_once
            users_and_devices_of_similar_names_are_kept_apart
            logins_at_the_same_time_get_different_epochs
        }
    };
    ($registry:expr; $($name:ident)*) => {
        $(#[tokio::test]
        async fn $name() {
            conformance::$name(&$registry).await;
        })*
    };
}
pub(super) use conformance_tests;

const NOW: Timestamp = Timestamp::ZERO;

/// A run of a gateway.
pub(super) fn home(gateway: &str) -> Arc<Home> {
    Arc::new(Home { gateway: gateway.into(), incarnation: Incarnation(7), address: "127.0.0.1:1".into() })
}

async fn register(registry: &dyn Registry, user: &str, device: &str, gateway: &str, asked: u64) -> Registered {
    let login = Login { user, device, home: &home(gateway), asked: Epoch(asked) };
    registry.register(login, NOW).await.unwrap()
}

async fn unregister(registry: &dyn Registry, user: &str, device: &str, epoch: Epoch) -> bool {
    registry.unregister(user, device, epoch, NOW).await.unwrap()
}

async fn devices(registry: &dyn Registry, user: &str) -> Vec<(String, Epoch)> {
    let routes = registry.lookup(user, NOW).await.unwrap();
    let mut devices: Vec<_> = routes.into_iter().map(|route| (route.device.to_string(), route.epoch)).collect();
    devices.sort();
    devices
}

pub(super) async fn an_epoch_is_above_the_stored_and_the_asked_one(registry: &dyn Registry) {
    let user = "epochs";
    assert_eq!(register(registry, user, "phone", "g1", 100).await.epoch, Epoch(101));
    assert_eq!(register(registry, user, "phone", "g1", 50).await.epoch, Epoch(102));
    assert_eq!(register(registry, user, "phone", "g1", 102).await.epoch, Epoch(103));
    assert_eq!(register(registry, user, "phone", "g1", 500).await.epoch, Epoch(501));
    // Larger than a double can tell apart, which some stores compute with.
    let large = (1 << 53) + 1;
    assert_eq!(register(registry, user, "phone", "g1", large).await.epoch, Epoch(large + 1));
}

pub(super) async fn a_login_learns_where_its_device_was_connected(registry: &dyn Registry) {
    let user = "previous";
    let first = register(registry, user, "phone", "g1", 1).await;
    assert_eq!(first.previous, None);
    assert_eq!(register(registry, user, "watch", "g1", 1).await.previous, None);
    let second = register(registry, user, "phone", "g2", 1).await;
    assert_eq!(second.previous, Some(Route { device: "phone".into(), home: home("g1"), epoch: first.epoch }));
    assert!(unregister(registry, user, "phone", second.epoch).await);
    assert_eq!(register(registry, user, "phone", "g1", 1).await.previous, None);
}

pub(super) async fn all_devices_of_a_user_are_found(registry: &dyn Registry) {
    let user = "devices";
    assert_eq!(devices(registry, user).await, []);
    register(registry, user, "watch", "g1", 1).await;
    register(registry, user, "phone", "g2", 8).await;
    assert_eq!(devices(registry, user).await, [("phone".into(), Epoch(9)), ("watch".into(), Epoch(2))]);
    let routes = registry.lookup(user, NOW).await.unwrap();
    let phone = routes.iter().find(|route| &*route.device == "phone").unwrap();
    assert_eq!(phone.home, home("g2"));
}

pub(super) async fn a_deleted_route_is_not_found_and_its_epoch_not_granted_again(registry: &dyn Registry) {
    let user = "deleted";
    let first = register(registry, user, "phone", "g1", 100).await;
    assert!(unregister(registry, user, "phone", first.epoch).await);
    assert_eq!(devices(registry, user).await, []);
    assert_eq!(register(registry, user, "phone", "g1", 1).await.epoch, Epoch(102));
}

pub(super) async fn a_late_delete_does_not_remove_the_successor(registry: &dyn Registry) {
    let user = "successor";
    let first = register(registry, user, "phone", "g1", 1).await;
    let second = register(registry, user, "phone", "g2", 1).await;
    assert!(!unregister(registry, user, "phone", first.epoch).await);
    assert_eq!(devices(registry, user).await, [("phone".into(), second.epoch)]);
}

pub(super) async fn a_route_is_deleted_only_once(registry: &dyn Registry) {
    let user = "once";
    assert!(!unregister(registry, user, "phone", Epoch(1)).await);
    let login = register(registry, user, "phone", "g1", 1).await;
    assert!(unregister(registry, user, "phone", login.epoch).await);
    assert!(!unregister(registry, user, "phone", login.epoch).await);
}

pub(super) async fn users_and_devices_of_similar_names_are_kept_apart(registry: &dyn Registry) {
    register(registry, "a:b", "c", "g1", 1).await;
    register(registry, "a", "b:c", "g1", 1).await;
    register(registry, "a", "", "g1", 1).await;
    assert_eq!(devices(registry, "a:b").await, [("c".into(), Epoch(2))]);
    assert_eq!(devices(registry, "a").await, [("".into(), Epoch(2)), ("b:c".into(), Epoch(2))]);
    assert_eq!(devices(registry, "*").await, []);
}

pub(super) async fn logins_at_the_same_time_get_different_epochs(registry: &dyn Registry) {
    let one = register(registry, "race", "phone", "g1", 1);
    let other = register(registry, "race", "phone", "g2", 1);
    let (one, other) = tokio::join!(one, other);
    assert_ne!(one.epoch, other.epoch);
    let (first, second) = if one.epoch < other.epoch { (one, other) } else { (other, one) };
    assert_eq!(second.previous.map(|route| route.epoch), Some(first.epoch));
}
