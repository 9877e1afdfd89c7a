//! What a call costs on a link: a gateway worker on one thread, an instance that answers at once on another, a real
//! socket of the loopback between them. Calls outstanding at the same time share frames, system calls and wake-ups.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark fails by panicking")]

use std::{
    fs,
    hint::black_box,
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dagor::{
    admission::{Level, Value},
    clock::Clock,
    gateway::link::{Link, LinkConfig, LinkEvent, LinkHandle, OutgoingCall},
    id::{BusinessCode, Incarnation, MessageId, OutboxId},
    service::{EchoConfig, serve_echo},
};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    sync::mpsc,
    task::JoinSet,
};

const OUTSTANDING: [u64; 4] = [1, 16, 64, MOST_SESSIONS as u64];
const MOST_SESSIONS: usize = 256;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// An instance on a thread of its own, for as long as the process lives.
fn instance() -> SocketAddr {
    let (sender, mut address) = mpsc::channel(1);
    thread::spawn(move || {
        runtime().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            sender.send(listener.local_addr().unwrap()).await.unwrap();
            let config = EchoConfig { workers: 256, work: Duration::ZERO };
            serve_echo(config, listener, std::future::pending()).await.unwrap();
        });
    });
    address.blocking_recv().unwrap()
}

async fn connect(address: SocketAddr, clock: &Clock) -> LinkHandle<()> {
    let (connected, mut events) = mpsc::channel(8);
    let config = LinkConfig {
        address: address.to_string(),
        gateway: "bench".into(),
        incarnation: Incarnation(1),
        push_address: String::new(),
    };
    let link = Link::spawn(config, clock.clone(), move |event| {
        let _ = connected.try_send(event);
    });
    while events.recv().await.unwrap() != LinkEvent::Connected {}
    link
}

/// The last message of each session: a number that comes again would be answered from the service's memory.
static LAST: [AtomicU64; MOST_SESSIONS] = [const { AtomicU64::new(0) }; MOST_SESSIONS];

async fn call(link: &LinkHandle<()>, clock: &Clock, session: u64) {
    let number = 1 + LAST[session as usize].fetch_add(1, Ordering::Relaxed);
    let call = OutgoingCall {
        user: "user-0000001234",
        device: "phone",
        outbox: OutboxId(1 + session),
        message: MessageId(number),
        business: BusinessCode(9),
        business_name: "message",
        value: Value::new(Level::new(9, 9), number as u32),
        deadline: clock.now() + Duration::from_secs(60),
        resent: false,
        reply_wanted: true,
        oldest_unsettled: MessageId(number),
        payload: Bytes::from_static(&[7; 64]),
    };
    black_box(link.dispatch(call, ()).await.unwrap());
}

/// `calls` calls by as many sessions as calls may be outstanding, each of which waits for its answer.
async fn converse(link: &LinkHandle<()>, clock: &Clock, calls: u64, outstanding: u64) {
    let mut sessions = JoinSet::new();
    for session in 0..outstanding {
        let (link, clock) = (link.clone(), clock.clone());
        let share = calls / outstanding + u64::from(session < calls % outstanding);
        sessions.spawn(async move {
            for _ in 0..share {
                call(&link, &clock, session).await;
            }
        });
    }
    while let Some(session) = sessions.join_next().await {
        session.unwrap();
    }
}

/// What the present thread, or the whole process, has spent on a processor. Zero where the system does not tell.
fn processor_time(whole_process: bool) -> Duration {
    let nanos = |schedstat: String| schedstat.split(' ').next().unwrap().parse::<u64>().unwrap();
    let read = |path: String| fs::read_to_string(path).map_or(0, nanos);
    let nanos = if whole_process {
        let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        threads.map(|thread| read(thread.path().join("schedstat").display().to_string())).sum()
    } else {
        read("/proc/thread-self/schedstat".into())
    };
    Duration::from_nanos(nanos)
}

fn link(c: &mut Criterion) {
    let (runtime, clock, address) = (runtime(), Clock::system(), instance());
    let link = runtime.block_on(connect(address, &clock));
    let measures: [(&str, &dyn Fn() -> Duration); 3] = [
        ("elapsed", &|| Duration::from_nanos(clock.now().as_nanos())),
        ("gateway's processor time", &|| processor_time(false)),
        ("both sides' processor time", &|| processor_time(true)),
    ];
    for (name, measure) in measures {
        let mut group = c.benchmark_group(format!("link/{name}"));
        group.throughput(Throughput::Elements(1)).measurement_time(Duration::from_secs(3)).sample_size(20);
        for outstanding in OUTSTANDING {
            group.bench_function(BenchmarkId::from_parameter(outstanding), |b| {
                b.iter_custom(|calls| {
                    let before = measure();
                    runtime.block_on(converse(&link, &clock, calls, outstanding));
                    measure().saturating_sub(before)
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, link);
criterion_main!(benches);
