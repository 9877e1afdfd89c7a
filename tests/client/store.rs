//! The outbox's file after a crash at any byte of it, a damage at any byte, and a second process.

use std::{fs, path::Path, time::Duration};

use dagor::{
    client::{FileStore, Kept, KeptMessage, Record, Store, StoreError, SyncPolicy},
    id::MessageId,
};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::stage::{Stage, config, roomy};

fn message(payload: &'static str) -> KeptMessage {
    KeptMessage {
        business: "message".into(),
        payload: payload.into(),
        wants_reply: true,
        try_timeout: Some(Duration::from_millis(1500)),
        accepted_unix_ms: 1_700_000_000_000,
        keep_for: Duration::from_secs(60),
    }
}

fn open(path: &Path) -> FileStore {
    FileStore::new(path, "alice", SyncPolicy::System).unwrap()
}

fn load(path: &Path) -> Result<Kept, StoreError> {
    open(path).load()
}

/// Batches of every kind of record.
fn batches() -> Vec<Vec<Record>> {
    let accepted = |id, payload| Record::Accepted(MessageId(id), message(payload));
    vec![
        vec![Record::Reserved(MessageId(256)), accepted(1, "one"), accepted(2, "two")],
        vec![Record::Ticket("ticket".into())],
        vec![Record::Settled(MessageId(1)), accepted(3, "three")],
        vec![Record::GivenUp(MessageId(3))],
    ]
}

/// A file that was written batch by batch: its bytes, and after each batch its length and what it held.
fn written() -> (Vec<u8>, Vec<(usize, Kept)>) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("outbox");
    let mut store = open(&path);
    let mut kept = store.load().unwrap();
    let mut steps = vec![(fs::read(&path).unwrap().len(), kept.clone())];
    for batch in batches() {
        store.keep(&batch).unwrap();
        batch.into_iter().for_each(|record| kept.apply(record));
        steps.push((fs::read(&path).unwrap().len(), kept.clone()));
    }
    (fs::read(&path).unwrap(), steps)
}

#[test]
fn what_was_kept_is_given_back_after_a_crash_at_every_byte() {
    let (bytes, steps) = written();
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("outbox");
    for length in steps[0].0..=bytes.len() {
        fs::write(&path, &bytes[..length]).unwrap();
        let (_, kept) = steps.iter().rev().find(|&&(whole, _)| whole <= length).unwrap();
        assert_eq!(&load(&path).unwrap(), kept, "cut after {length} bytes");
        assert_eq!(&load(&path).unwrap(), kept, "and once more");
    }
}

#[test]
fn an_end_of_zeros_is_no_damage_but_the_trace_of_a_crash() {
    let (bytes, steps) = written();
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("outbox");
    fs::write(&path, [&bytes[..], &[0; 4096]].concat()).unwrap();
    assert_eq!(load(&path).unwrap(), steps.last().unwrap().1);
}

#[test]
fn damage_in_the_middle_is_named_and_nothing_is_touched() {
    let (bytes, steps) = written();
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("outbox");
    let last = steps[steps.len() - 2].0;
    for at in 0..last {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x40;
        fs::write(&path, &damaged).unwrap();
        match load(&path) {
            // With another secret the first frame is the first that does not prove itself.
            Err(StoreError::Damaged { offset, .. }) => assert!(offset <= at.max(24), "{offset} for {at}"),
            other => panic!("damage at {at}: {other:?}"),
        }
        assert_eq!(fs::read(&path).unwrap(), damaged);
    }
    let error = load(&path).unwrap_err().to_string();
    assert!(error.contains(&path.display().to_string()) && error.contains("at byte"), "{error}");
}

#[test]
fn two_processes_cannot_share_an_outbox_nor_two_users() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("outbox");
    let mut first = open(&path);
    first.load().unwrap();
    assert!(matches!(FileStore::new(&path, "alice", SyncPolicy::Always), Err(StoreError::InUse(_))));
    drop(first);
    let other = FileStore::new(&path, "bob", SyncPolicy::Always).unwrap().load();
    assert!(matches!(other, Err(StoreError::OtherUser { owner, .. }) if owner == "alice"));
    assert!(load(&path).is_ok());
}

#[test]
fn a_file_is_rewritten_before_it_grows_for_ever() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("outbox");
    let mut store = open(&path);
    store.load().unwrap();
    let payload = KeptMessage { payload: vec![7; 1000].into(), ..message("") };
    for id in 1..=2000 {
        store.keep(&[Record::Accepted(MessageId(id), payload.clone())]).unwrap();
        store.keep(&[Record::Settled(MessageId(id))]).unwrap();
        assert!(fs::metadata(&path).unwrap().len() < 300_000);
    }
    drop(store);
    assert!(load(&path).unwrap().messages.is_empty());
    assert!(fs::metadata(&path).unwrap().len() < 200);
}

#[test]
fn only_the_owner_can_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("outbox");
    load(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

/// Who is told that a message was given up must not find out that it runs after the next loss of power.
#[test]
fn the_end_of_a_message_without_an_answer_reaches_the_disk_before_it_is_told() {
    let mut stage = Stage::durable(config(&["a:1"]), Kept::new(dagor::id::OutboxId(11)));
    stage.login(&roomy());
    let (cancelled, replied) = (stage.submit("one"), stage.submit("two"));
    stage.store_works = false;
    stage.agent.cancel(MessageId(cancelled), stage.now);
    stage.exchange();
    let records: Vec<_> = std::iter::from_fn(|| stage.agent.poll_record()).collect();
    assert_eq!(records, [Record::GivenUp(MessageId(cancelled))]);
    assert!(SyncPolicy::Always.flushes(&records) && !SyncPolicy::System.flushes(&records));
    assert_eq!(stage.fates(), []);
    stage.agent.handle_stored(MessageId(0), stage.now);
    stage.exchange();
    assert_eq!(stage.fates().len(), 1);
    stage.reply(replied, &dagor::pb::client::Reply::default());
    let records: Vec<_> = std::iter::from_fn(|| stage.agent.poll_record()).collect();
    assert_eq!(records, [Record::Settled(MessageId(replied))], "its service knows it");
    assert!(!SyncPolicy::Always.flushes(&records));
}

#[test]
fn nothing_is_sent_before_it_is_kept_and_no_id_is_used_twice_after_a_crash() {
    let mut stage = Stage::durable(config(&["a:1"]), Kept::new(dagor::id::OutboxId(11)));
    stage.login(&roomy());
    stage.store_works = false;
    stage.submit("one");
    assert_eq!(stage.arrived(), []);
    stage.store_works = true;
    stage.exchange();
    assert_eq!(stage.arrived_ids(), [1]);
    let kept = stage.kept.clone().unwrap();
    assert_eq!((kept.reserved_through, &kept.ticket[..]), (MessageId(256), &b"ticket-1"[..]));

    let mut stage = Stage::durable(config(&["a:1"]), kept);
    let (_, hello) = stage.login(&roomy());
    assert_eq!((&hello.ticket[..], hello.oldest_unsettled), (&b"ticket-1"[..], 1));
    assert_eq!(hello.reason(), dagor::pb::client::ConnectReason::Restart);
    assert_eq!(stage.arrived()[0].flags, dagor::wire::Flags::RESENT);
    assert_eq!(stage.submit("two"), 257, "what was reserved may have been used");
    stage.agent.close(Duration::ZERO, stage.now);
    stage.exchange();
    while let Some(record) = stage.agent.poll_record() {
        stage.kept.as_mut().unwrap().apply(record);
    }
    assert_eq!(stage.kept.unwrap().reserved_through, MessageId(257), "an orderly end leaves nothing out");
}

#[test]
fn a_store_that_fails_is_said_and_what_was_kept_is_sent_all_the_same() {
    let mut stage = Stage::durable(config(&["a:1"]), Kept::new(dagor::id::OutboxId(11)));
    stage.submit("kept");
    stage.store_works = false;
    stage.submit("lost");
    assert_eq!(stage.agent.handle_store_failure(), [MessageId(2)]);
    let refused = stage.submit_message(dagor::client::NewMessage::new("message", "x"));
    assert!(matches!(refused, Err(dagor::client::SubmitError::Store(_))));
    stage.login(&roomy());
    assert_eq!(stage.arrived_ids(), [1]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_bytes_are_there_nothing_breaks(bytes in prop::collection::vec(any::<u8>(), 1..200)) {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("outbox");
        fs::write(&path, &bytes).unwrap();
        let damaged = matches!(load(&path), Err(StoreError::Damaged { .. }));
        prop_assert!(damaged);
    }
}
