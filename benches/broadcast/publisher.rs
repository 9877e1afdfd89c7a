//! What a broadcast costs a gateway: many subscribers over TCP and a publisher that keeps a few messages outstanding, in
//! one process; the gateway runs in another one, whose processor time is read. `benches/broadcast/measure` runs it.
//!
//! ```sh
//! cargo run --release --example broadcast -- 127.0.0.1:7400 127.0.0.1:7402 GATEWAY_PID 5000 10
//! ```
//!
//! The arguments are where clients connect, where pushes go, the gateway's process, how many subscribers, and how many
//! seconds. A message is outstanding until all subscribers together have received as many as were sent before it.
#![allow(clippy::print_stdout, reason = "it is a program")]

use std::{
    error::Error,
    fs,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::{Buf, BytesMut};
use dagor::{
    clock::Clock,
    pb::client as pb,
    service::{Push, PushClient},
    wire::{HEADER_BYTES, Kind, MAGIC, VERSION, encode_control},
};
use prost::Message;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    sync::Semaphore,
};

/// Messages that may be on their way.
const OUTSTANDING: usize = 4;
const PAYLOAD_BYTES: usize = 64;
/// A subscriber acknowledges after so many pushes.
const ACK_AFTER: u64 = 128;
/// Connections that log in at the same time: below the gateway's rate of logins.
const LOGINS_AT_A_TIME: usize = 64;
/// Linux counts processor time in this unit, in the files that it shows.
const TICKS_PER_SECOND: f64 = 100.0;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// What all subscribers have received.
struct Tally {
    received: AtomicU64,
    subscribers: u64,
    outstanding: Semaphore,
}

async fn log_in(gateway: SocketAddr, number: usize) -> Outcome<TcpStream> {
    // Many addresses, because a gateway limits the connections from each.
    let from = TcpSocket::new_v4()?;
    from.bind((Ipv4Addr::new(127, 0, 1, (number % 50) as u8 + 1), 0).into())?;
    let mut socket = from.connect(gateway).await?;
    let mut hello = BytesMut::from(&MAGIC[..]);
    encode_control(
        &mut hello,
        Kind::Hello,
        &pb::Hello { versions: vec![VERSION], user: format!("s{number}"), outbox: 1, ..pb::Hello::default() },
    );
    socket.write_all(&hello).await?;
    let mut header = [0; HEADER_BYTES];
    socket.read_exact(&mut header).await?;
    let mut body = vec![0; body_bytes(&header)];
    socket.read_exact(&mut body).await?;
    if header[3] != Kind::Welcome as u8 {
        return Err(format!("a login was refused: {:?}", pb::Refused::decode(&body[..])?).into());
    }
    Ok(socket)
}

fn body_bytes(header: &[u8]) -> usize {
    usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2])
}

async fn subscribe(mut socket: TcpStream, tally: Arc<Tally>) -> Outcome<()> {
    let (mut bytes, mut pushes) = (BytesMut::with_capacity(16 << 10), 0);
    while socket.read_buf(&mut bytes).await? > 0 {
        while bytes.len() >= HEADER_BYTES && bytes.len() >= HEADER_BYTES + body_bytes(&bytes) {
            if bytes[3] == Kind::Push as u8 {
                pushes += 1;
                if (tally.received.fetch_add(1, Relaxed) + 1).is_multiple_of(tally.subscribers) {
                    tally.outstanding.add_permits(1);
                }
                if pushes % ACK_AFTER == 0 {
                    let mut ack = BytesMut::new();
                    encode_control(&mut ack, Kind::PushAck, &pb::PushAck { push_id: pushes });
                    socket.write_all(&ack).await?;
                }
            }
            bytes.advance(HEADER_BYTES + body_bytes(&bytes));
        }
    }
    Ok(())
}

/// The processor time of a process, of user and system together.
fn processor_seconds(pid: &str) -> Outcome<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).ok_or("an unknown format");
    Ok((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [clients, pushes, pid, subscribers, seconds] = &arguments[..] else {
        return Err("usage: broadcast CLIENTS PUSHES PID SUBSCRIBERS SECONDS".into());
    };
    let (clients, subscribers): (SocketAddr, usize) = (clients.parse()?, subscribers.parse()?);
    let outstanding = Semaphore::new(OUTSTANDING);
    let tally = Arc::new(Tally { received: AtomicU64::new(0), subscribers: subscribers as u64, outstanding });
    for first in (0..subscribers).step_by(LOGINS_AT_A_TIME) {
        let some = first..(first + LOGINS_AT_A_TIME).min(subscribers);
        for socket in futures_util::future::try_join_all(some.map(|number| log_in(clients, number))).await? {
            tokio::spawn(subscribe(socket, tally.clone()));
        }
    }
    let publisher = Arc::new(PushClient::new(pushes.clone()));
    let clock = Clock::system();
    let (begun, before) = (clock.now(), processor_seconds(pid)?);
    let end = begun + Duration::from_secs(seconds.parse()?);
    let mut sent = 0;
    while clock.now() < end {
        tally.outstanding.acquire().await?.forget();
        sent += 1;
        let publisher = publisher.clone();
        tokio::spawn(async move {
            if let Err(error) = publisher.push(Push::to_everyone("message", vec![b'x'; PAYLOAD_BYTES])).await {
                println!("a broadcast failed: {error}");
            }
        });
    }
    let all = tally.outstanding.acquire_many(OUTSTANDING as u32);
    let _all = tokio::time::timeout(Duration::from_secs(10), all).await.map_err(|_| "some were not delivered")??;
    let (took, spent) = (clock.now().since(begun).as_secs_f64(), processor_seconds(pid)? - before);
    let deliveries = tally.received.load(Relaxed);
    println!(
        "{sent} broadcasts to {subscribers}: {:.0} deliveries/s, {:.2} µs of the gateway's processor for each",
        deliveries as f64 / took,
        spent * 1e6 / deliveries as f64,
    );
    Ok(())
}
