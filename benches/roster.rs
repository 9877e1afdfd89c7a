//! What a connection costs apart from its traffic: its places in the roster and in the table of heartbeats, and the
//! unmasking of what it sends. Bytes per entry are growth of the resident set, so run this with nothing else in mind.
#![allow(missing_docs, reason = "a benchmark has no readers of its documentation")]

use std::{fs, hint::black_box, sync::Arc, time::Duration};

use bytes::{BufMut, BytesMut};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use dagor::{
    clock::Timestamp,
    gateway::roster::{Member, Roster},
    id::Epoch,
    layer::heartbeat::Heartbeats,
    wire::websocket::{Decoder, put_binary_header},
};

const SIZES: [usize; 2] = [15_000, 1_000_000];

struct Connection {
    user: Box<str>,
    device: &'static str,
}

impl Member for Connection {
    fn user(&self) -> &str {
        &self.user
    }

    fn device(&self) -> &str {
        self.device
    }

    fn epoch(&self) -> Epoch {
        Epoch(1)
    }
}

/// Two devices for each user.
fn connections(count: usize) -> Vec<Arc<Connection>> {
    let device = |number| if number % 2 == 0 { "phone" } else { "tablet" };
    let user = |number| format!("user-{:08}", number / 2).into();
    (0..count).map(|number| Arc::new(Connection { user: user(number), device: device(number) })).collect()
}

fn filled(connections: &[Arc<Connection>]) -> Roster<Arc<Connection>> {
    let roster = Roster::default();
    for connection in connections {
        let _ = roster.insert(connection.clone());
    }
    roster
}

/// Numbers below `count`, each in turn, in an order that no cache foresees.
fn scattered(count: usize) -> impl FnMut() -> usize {
    let mut number = 0;
    move || {
        number = (number + 382_351_663) % count;
        number
    }
}

fn resident_bytes() -> usize {
    const PAGE_BYTES: usize = 4096;
    let pages = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * PAGE_BYTES
}

fn report_bytes(what: &str, before: usize, entries: usize) {
    let bytes = resident_bytes().saturating_sub(before) as f64;
    eprintln!("{what}: {:.1} bytes for each of {entries} entries", bytes / entries as f64);
}

fn roster(criterion: &mut Criterion) {
    for count in SIZES {
        let connections = connections(count);
        let before = resident_bytes();
        let roster = filled(&connections);
        report_bytes("roster", before, count);

        let mut group = criterion.benchmark_group(format!("roster/{count}"));
        let mut next = scattered(count);
        group.bench_function("get", |bencher| {
            bencher.iter(|| {
                let connection = &connections[next()];
                roster.get(&connection.user, connection.device)
            });
        });
        group.bench_function("for_user", |bencher| {
            bencher.iter(|| roster.for_user(&connections[next()].user, |connection| _ = black_box(connection)));
        });
        group.bench_function("remove_and_insert", |bencher| {
            bencher.iter(|| {
                let connection = &connections[next()];
                (roster.remove(connection), roster.insert(connection.clone()))
            });
        });
        group.sample_size(10).throughput(Throughput::Elements(count as u64));
        group.bench_function("for_each", |bencher| {
            bencher.iter(|| roster.for_each(|connection| _ = black_box(connection)));
        });
        group.bench_function("fill", |bencher| {
            bencher.iter_batched(|| (), |()| filled(&connections), BatchSize::PerIteration);
        });
    }
}

fn heartbeat(criterion: &mut Criterion) {
    const COUNT: usize = 1_000_000;
    const TOLERANCE: Duration = Duration::from_secs(60);
    let entry = Arc::new(());
    let mut pulses = Vec::with_capacity(COUNT);
    pulses.resize_with(COUNT, || None);
    let table = Heartbeats::new();
    let before = resident_bytes();
    for pulse in &mut pulses {
        *pulse = Some(table.insert(entry.clone(), Timestamp::ZERO));
    }
    report_bytes("heartbeat", before, COUNT);

    let mut group = criterion.benchmark_group("heartbeat");
    let mut next = scattered(COUNT);
    let now = Timestamp::ZERO + Duration::from_secs(30);
    group.bench_function("touch", |bencher| {
        bencher.iter(|| {
            if let Some(pulse) = &pulses[next()] {
                pulse.touch(now);
            }
        });
    });
    group.throughput(Throughput::Elements(COUNT as u64));
    group.bench_function("scan_of_the_living", |bencher| {
        bencher.iter(|| table.scan(now, TOLERANCE, |entry| drop(black_box(entry))));
    });
    let silent = now + Duration::from_secs(120);
    let wake = || pulses.iter().flatten().for_each(|pulse| pulse.touch(now));
    group.sample_size(10).bench_function("scan_of_the_dead", |bencher| {
        let scan = |()| table.scan(silent, TOLERANCE, |entry| drop(black_box(entry)));
        bencher.iter_batched(wake, scan, BatchSize::PerIteration);
    });
}

fn websocket(criterion: &mut Criterion) {
    const BUFFER_BYTES: usize = 64 * 1024;
    let mut group = criterion.benchmark_group("websocket");
    for payload_bytes in [64, 1024, 16 * 1024] {
        let mut frames = BytesMut::new();
        while frames.len() < BUFFER_BYTES {
            let start = frames.len();
            put_binary_header(&mut frames, payload_bytes);
            frames[start + 1] |= 0x80;
            frames.put_bytes(0x5a, 4 + payload_bytes);
        }
        let (mut decoder, mut output) = (Decoder::default(), BytesMut::with_capacity(frames.len()));
        group.throughput(Throughput::Bytes(frames.len() as u64));
        group.bench_function(format!("decode/{payload_bytes}"), |bencher| {
            bencher.iter_batched_ref(
                || frames.clone(),
                |frames| {
                    output.clear();
                    decoder.decode(frames, &mut output, BUFFER_BYTES)
                },
                BatchSize::SmallInput,
            );
        });
    }
}

// Heartbeats first: what the roster gives back would hide how the resident set grows.
criterion_group!(benches, heartbeat, roster, websocket);
criterion_main!(benches);
