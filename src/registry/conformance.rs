//! What every registry must do. Each test has users of its own, so that all of them can run against one server.

//!
//! `tests/routes` includes this file as well, for registries that are elsewhere, and so it imports from its parent alone.

use std::sync::Arc;

use super::{Epoch, Held, Home, Incarnation, Login, Registered, Registry, Restored, Route, Timestamp};

/// Makes a test of each function of the suite, against a new registry, and a new server before it if it needs one.
macro_rules! conformance_tests {
    ($registry:expr) => {
        conformance_tests! { server = (); $registry }
    };
    ($server:ident = $start:expr; $registry:expr) => {
        conformance_tests! { $server = $start; $registry;
            an_epoch_is_above_the_stored_and_the_asked_one
            a_login_learns_where_its_device_was_connected
            all_devices_of_a_user_are_found
            a_deleted_route_is_not_found_and_its_epoch_not_granted_again
            a_late_delete_does_not_remove_the_successor
            a_delete_does_not_remove_the_route_of_an_equal_epoch_elsewhere
            a_route_is_deleted_only_once
            users_and_devices_of_similar_names_are_kept_apart
            logins_at_the_same_time_get_different_epochs
            what_was_lost_is_restored
            a_restored_route_takes_the_place_of_an_older_one_elsewhere
            a_route_is_not_restored_over_a_later_login
            a_closed_connection_is_not_restored
            a_home_that_ends_takes_its_routes_with_it
        }
    };
    ($server:ident = $start:expr; $registry:expr; $($name:ident)*) => {
        $(#[tokio::test]
        async fn $name() {
            // What the registry talks to lives until the end of the test.
            #[allow(unused_variables, clippy::let_unit_value, reason = "one in memory talks to nobody")]
            let $server = $start;
            let registry = $registry;
            conformance::keep_homes(&registry).await;
            conformance::$name(&registry).await;
        })*
    };
}
pub(super) use conformance_tests;

const NOW: Timestamp = Timestamp::ZERO;

/// A run of a gateway.
pub(super) fn home(gateway: &str) -> Arc<Home> {
    let incarnation = gateway.bytes().fold(7, |number: u64, byte| number.wrapping_mul(31).wrapping_add(byte.into()));
    Arc::new(Home { gateway: gateway.into(), incarnation: Incarnation(incarnation), address: "127.0.0.1:1".into() })
}

/// The gateways of most tests live.
pub(super) async fn keep_homes(registry: &dyn Registry) {
    for gateway in ["g1", "g2"] {
        registry.renew(&home(gateway), NOW).await.unwrap();
    }
}

async fn register(registry: &dyn Registry, user: &str, device: &str, gateway: &str, asked: u64) -> Registered {
    let login = Login { user, device, home: &home(gateway), asked: Epoch(asked) };
    registry.register(login, NOW).await.unwrap()
}

async fn unregister(registry: &dyn Registry, user: &str, device: &str, gateway: &str, epoch: Epoch) -> bool {
    registry.unregister(Held { user, device, home: &home(gateway), epoch }, NOW).await.unwrap()
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
    assert!(unregister(registry, user, "phone", "g2", second.epoch).await);
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
    assert!(unregister(registry, user, "phone", "g1", first.epoch).await);
    assert_eq!(devices(registry, user).await, []);
    assert_eq!(register(registry, user, "phone", "g1", 1).await.epoch, Epoch(102));
}

pub(super) async fn a_late_delete_does_not_remove_the_successor(registry: &dyn Registry) {
    let user = "successor";
    let first = register(registry, user, "phone", "g1", 1).await;
    let second = register(registry, user, "phone", "g2", 1).await;
    assert!(!unregister(registry, user, "phone", "g1", first.epoch).await);
    assert_eq!(devices(registry, user).await, [("phone".into(), second.epoch)]);
}

/// A gateway that could not ask takes an epoch that another one may be granted.
pub(super) async fn a_delete_does_not_remove_the_route_of_an_equal_epoch_elsewhere(registry: &dyn Registry) {
    let user = "equal";
    let login = register(registry, user, "phone", "g1", 1).await;
    assert!(!unregister(registry, user, "phone", "g2", login.epoch).await);
    assert_eq!(devices(registry, user).await, [("phone".into(), login.epoch)]);
    assert!(unregister(registry, user, "phone", "g1", login.epoch).await);
}

pub(super) async fn a_route_is_deleted_only_once(registry: &dyn Registry) {
    let user = "once";
    assert!(!unregister(registry, user, "phone", "g1", Epoch(1)).await);
    let login = register(registry, user, "phone", "g1", 1).await;
    assert!(unregister(registry, user, "phone", "g1", login.epoch).await);
    assert!(!unregister(registry, user, "phone", "g1", login.epoch).await);
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

async fn restore(registry: &dyn Registry, user: &str, gateway: &str, epoch: u64) -> Restored {
    let held = Held { user, device: "phone", home: &home(gateway), epoch: Epoch(epoch) };
    registry.restore(held, NOW).await.unwrap()
}

const WRITTEN: Restored = Restored::Written { previous: None };

pub(super) async fn what_was_lost_is_restored(registry: &dyn Registry) {
    let user = "restored";
    for _ in 0..2 {
        assert_eq!(restore(registry, user, "g1", 50).await, WRITTEN);
        assert_eq!(devices(registry, user).await, [("phone".into(), Epoch(50))]);
    }
    let next = register(registry, user, "phone", "g1", 1).await;
    assert_eq!(next.epoch, Epoch(51));
    assert_eq!(next.previous.map(|route| route.epoch), Some(Epoch(50)));
}

pub(super) async fn a_restored_route_takes_the_place_of_an_older_one_elsewhere(registry: &dyn Registry) {
    let user = "overwritten";
    let older = register(registry, user, "phone", "g1", 1).await.epoch;
    let previous = Some(Route { device: "phone".into(), home: home("g1"), epoch: older });
    assert_eq!(restore(registry, user, "g2", 50).await, Restored::Written { previous });
    assert_eq!(restore(registry, user, "g2", 60).await, WRITTEN, "its own older one is nobody's to close");
    assert_eq!(devices(registry, user).await, [("phone".into(), Epoch(60))]);
}

pub(super) async fn a_route_is_not_restored_over_a_later_login(registry: &dyn Registry) {
    let user = "loser";
    let later = register(registry, user, "phone", "g1", 100).await.epoch;
    for epoch in [later.0 - 1, later.0] {
        assert_eq!(restore(registry, user, "g2", epoch).await, Restored::Newer, "{epoch}");
    }
    assert_eq!(restore(registry, user, "g1", later.0 - 1).await, WRITTEN, "the gateway itself knows who is newer");
    assert_eq!(devices(registry, user).await, [("phone".into(), later)]);
}

pub(super) async fn a_closed_connection_is_not_restored(registry: &dyn Registry) {
    let user = "closed";
    let login = register(registry, user, "phone", "g1", 100).await.epoch;
    assert!(unregister(registry, user, "phone", "g1", login).await);
    for epoch in [login.0 - 1, login.0] {
        assert_eq!(restore(registry, user, "g1", epoch).await, Restored::Newer, "{epoch}");
    }
    assert_eq!(devices(registry, user).await, []);
    assert_eq!(restore(registry, user, "g1", login.0 + 1).await, WRITTEN);
}

pub(super) async fn a_home_that_ends_takes_its_routes_with_it(registry: &dyn Registry) {
    let (user, ending) = ("orphan", home("ending"));
    registry.renew(&ending, NOW).await.unwrap();
    assert!(registry.homes(NOW).await.unwrap().contains(&ending));
    register(registry, user, "phone", "ending", 1).await;
    register(registry, user, "watch", "g1", 1).await;
    registry.release(&ending).await.unwrap();
    assert_eq!(devices(registry, user).await, [("watch".into(), Epoch(2))]);
    assert!(!registry.homes(NOW).await.unwrap().contains(&ending));
}
