//! The store in Redis on its own: it says what the windows in memory say, and bounds what it keeps.

use std::time::Duration;

use dagor::{
    clock::Timestamp,
    id::{BusinessCode, MessageId, OutboxId},
    service::{
        CallKey, IdempotencyStore as _, WindowSettings,
        redis::{RedisSettings, RedisStore},
        store::{Ended, Standing, Try},
        window::{Claim, End, Fingerprint, Known, WindowKey, Windows},
    },
};
use proptest::{
    prelude::*,
    test_runner::{RngSeed, TestRunner},
};

use crate::redis::Redis;

fn message(user: &str, id: u64, oldest: u64, payload: &str) -> Try {
    let window = WindowKey { user: user.into(), outbox: OutboxId(7), business: BusinessCode(9) };
    let key = CallKey { window, message: MessageId(id) };
    Try { key, oldest_unsettled: MessageId(oldest), payload: Fingerprint::of(payload.as_bytes()) }
}

async fn store(redis: &Redis, settings: RedisSettings) -> RedisStore {
    RedisStore::connect(&redis.url(), settings).await.unwrap()
}

/// Claims a message and settles it.
async fn run(store: &RedisStore, message: &Try, answer: &str) {
    assert_eq!(store.claim(message).await.unwrap(), Standing::Free, "{message:?}");
    assert_eq!(store.settle(&message.key, answer.to_owned().into()).await.unwrap(), Ended::Done);
}

fn settled(answer: &'static str) -> Standing {
    Standing::Settled(answer.into())
}

#[tokio::test]
async fn a_message_is_held_by_one_instance_until_its_lease_ends_and_the_late_one_changes_nothing() {
    let redis = Redis::start();
    let brief = RedisSettings { lease: Duration::from_millis(50), ..RedisSettings::default() };
    let (first, second) = (store(&redis, brief.clone()).await, store(&redis, brief).await);
    let message = message("ann", 1, 1, "hello");
    assert_eq!(first.claim(&message).await.unwrap(), Standing::Free);
    assert_eq!(first.claim(&message).await.unwrap(), Standing::Free, "it is its own");
    assert_eq!(second.claim(&message).await.unwrap(), Standing::Held);
    let taken = async { while second.claim(&message).await.unwrap() == Standing::Held {} };
    tokio::time::timeout(Duration::from_secs(20), taken).await.expect("a lease ends");
    assert_eq!(first.renew(&message.key).await.unwrap(), Ended::Lapsed);
    assert_eq!(first.settle(&message.key, "late".into()).await.unwrap(), Ended::Lapsed);
    assert_eq!(first.release(&message.key).await.unwrap(), Ended::Lapsed);
    assert_eq!(second.settle(&message.key, "mine".into()).await.unwrap(), Ended::Done);
    assert_eq!(first.settle(&message.key, "late".into()).await.unwrap(), Ended::Settled("mine".into()));
    assert_eq!(first.claim(&message).await.unwrap(), settled("mine"));
}

#[tokio::test]
async fn a_look_takes_nothing() {
    let redis = Redis::start();
    let store = store(&redis, RedisSettings::default()).await;
    let message = message("ann", 1, 1, "hello");
    assert_eq!(store.look(&message).await.unwrap(), Standing::Free);
    assert_eq!(store.settle(&message.key, "hi".into()).await.unwrap(), Ended::Lapsed);
}

#[tokio::test]
async fn a_full_window_refuses_until_its_client_settles_and_forgets_only_for_those_who_never_do() {
    let redis = Redis::start();
    let store = store(&redis, RedisSettings { reply_bytes: 40, ..RedisSettings::default() }).await;
    for id in 1..=2 {
        run(&store, &message("ann", id, 1, "hello"), "1234567890").await;
    }
    assert_eq!(store.claim(&message("ann", 3, 1, "hello")).await.unwrap(), Standing::Full);
    assert_eq!(store.claim(&message("ann", 1, 1, "hello")).await.unwrap(), settled("1234567890"));
    run(&store, &message("ann", 3, 2, "hello"), "1234567890").await;

    // The oldest one, refused, would hold up everything above it.
    for id in 2..=3 {
        run(&store, &message("bob", id, 1, "hello"), "1234567890").await;
    }
    assert_eq!(store.claim(&message("bob", 4, 1, "hello")).await.unwrap(), Standing::Full);
    run(&store, &message("bob", 1, 1, "hello"), "1234567890").await;

    for id in 1..=5 {
        run(&store, &message("silent", id, 0, "hello"), "1234567890").await;
    }
    assert_eq!(store.claim(&message("silent", 5, 0, "hello")).await.unwrap(), settled("1234567890"));
    assert_eq!(store.look(&message("silent", 1, 0, "hello")).await.unwrap(), Standing::Free);
}

#[tokio::test]
async fn a_window_holds_no_more_ids_than_the_protocol_has_and_goes_after_its_time() {
    let redis = Redis::start();
    let store = store(&redis, RedisSettings { keep: Duration::from_secs(100), ..RedisSettings::default() }).await;
    for id in (1..=1500).chain([100_000]) {
        run(&store, &message("ann", id, 0, "hello"), "hi").await;
    }
    let window = "dagor:window:{user:ann}:0000000000000007:9";
    assert_eq!(redis.tell(&format!("HLEN {window}")), ":3", "one id, the floor and the bytes");
    assert_eq!(store.claim(&message("ann", 1500, 0, "hello")).await.unwrap(), Standing::Stale);
    let left: u64 = redis.tell(&format!("PTTL {window}"))[1..].parse().unwrap();
    assert!((50_000..=100_000).contains(&left), "{left}");
}

#[tokio::test]
async fn an_id_that_lua_cannot_count_is_refused() {
    let redis = Redis::start();
    let store = store(&redis, RedisSettings::default()).await;
    run(&store, &message("ann", (1 << 53) - 1, 1, "hello"), "hi").await;
    store.claim(&message("ann", 1 << 53, 1, "hello")).await.expect_err("too large");
    store.claim(&message("ann", 1, u64::MAX, "hello")).await.expect_err("too large");
}

#[tokio::test]
async fn without_a_redis_there_is_no_store() {
    let mut redis = Redis::start();
    redis.kill();
    let hasty = RedisSettings { timeout: Duration::from_millis(100), ..RedisSettings::default() };
    RedisStore::connect(&redis.url(), hasty.clone()).await.expect_err("nobody is there");
    RedisStore::connect("not an address", hasty).await.expect_err("no address");
}

/// A step with one outbox of few ids.
#[derive(Clone, Debug)]
enum Step {
    Claim { id: u64, oldest: u64, payload: u8 },
    Final { id: u64 },
    NoEffect { id: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Now and then a jump as far as the protocol allows, and further.
    let id = prop_oneof![8 => 1..9u64, 1 => Just(1030), 1 => Just(5000)];
    let step = prop_oneof![
        4 => (id.clone(), 0..6u64, 0..8u8).prop_map(|(id, oldest, odd)| Step::Claim {
            id,
            oldest: oldest.min(id),
            payload: u8::from(odd == 0),
        }),
        2 => id.clone().prop_map(|id| Step::Final { id }),
        1 => id.prop_map(|id| Step::NoEffect { id }),
    ];
    prop::collection::vec(step, 1..60)
}

/// Takes both through the same steps. A copy of what runs waits in memory, and is free in the store to its own instance.
async fn compare(store: &RedisStore, user: &str, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut windows: Windows<(), usize> = Windows::new(WindowSettings::default());
    let now = Timestamp::from_nanos(1);
    for (n, step) in steps.iter().enumerate() {
        match *step {
            Step::Claim { id, oldest, payload } => {
                let message = message(user, id, oldest, &payload.to_string());
                let claim = windows.claim(now, &message.key, message.oldest_unsettled, message.payload, ());
                let expected = match claim {
                    Claim::Run(()) | Claim::Waits => Standing::Free,
                    Claim::Known((), Known::Replied(answer)) => Standing::Settled(answer.to_string().into()),
                    Claim::Known((), Known::Stale) => Standing::Stale,
                    Claim::Known((), Known::Conflict) => Standing::Conflict,
                    Claim::Known((), Known::Refused { bound, .. }) => panic!("{bound:?}"),
                };
                let standing = store.claim(&message).await.unwrap();
                prop_assert_eq!(standing, expected, "step {} {:?}", n, step);
            }
            Step::Final { id } => {
                let key = message(user, id, 0, "").key;
                windows.finish(now, &key, End::Final(n, n.to_string().len()));
                store.settle(&key, n.to_string().into()).await.unwrap();
            }
            Step::NoEffect { id } => {
                let key = message(user, id, 0, "").key;
                windows.finish(now, &key, End::NoEffect);
                store.release(&key).await.unwrap();
            }
        }
    }
    Ok(())
}

#[test]
fn the_store_says_what_the_windows_in_memory_say() {
    let (redis, runtime) = (Redis::start(), tokio::runtime::Runtime::new().unwrap());
    let store = runtime.block_on(store(&redis, RedisSettings::default()));
    let config =
        ProptestConfig { cases: 200, rng_seed: RngSeed::Fixed(4), failure_persistence: None, ..Default::default() };
    let users = std::cell::Cell::new(0);
    let compared = TestRunner::new(config).run(&steps(), |steps| {
        users.set(users.get() + 1);
        runtime.block_on(compare(&store, &format!("user {}", users.get()), &steps))
    });
    compared.unwrap();
}
