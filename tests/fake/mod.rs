//! A gateway that does as it is told: welcomes everyone, refuses `moments`, answers the rest with a fixed capacity.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    thread,
    time::Duration,
};

use bytes::{Buf as _, BytesMut};
use dagor::{
    id::BusinessCode,
    pb::client::{self as pb, Business, Outcome, Reply, Welcome},
    wire::{self, Flags, Frame, Kind, MAGIC, Reason, SUBPROTOCOL},
};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime,
    sync::{Semaphore, mpsc},
};
use tokio_tungstenite::{
    accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{ErrorResponse, Request, Response},
        http::{HeaderValue, header::SEC_WEBSOCKET_PROTOCOL},
    },
};

pub(crate) const TABLE: [(&str, u16); 4] = [("login", 1), ("payment", 10), ("message", 20), ("moments", 30)];
const MOMENTS: BusinessCode = BusinessCode(30);

/// How requests are answered.
#[derive(Clone, Copy)]
pub(crate) struct Service {
    pub(crate) workers: usize,
    pub(crate) work: Duration,
    /// Closes each connection after that many requests, unanswered ones included.
    pub(crate) closes_after: usize,
}

impl Default for Service {
    fn default() -> Self {
        Self { workers: 1, work: Duration::ZERO, closes_after: usize::MAX }
    }
}

/// Starts the gateway on a thread of its own, for the rest of the process's life.
pub(crate) fn start(service: Service) -> SocketAddr {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener).unwrap();
            let workers = Arc::new(Semaphore::new(service.workers));
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(accept(stream, service, Arc::clone(&workers)));
            }
        });
    });
    address
}

/// TCP or WebSocket, as the first byte says.
async fn accept(stream: TcpStream, service: Service, workers: Arc<Semaphore>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut first = [0];
    stream.peek(&mut first).await?;
    if first[0] != b'G' {
        return serve(stream, service, workers).await;
    }
    let mut socket = accept_hdr_async(stream, choose_subprotocol).await.map_err(io::Error::other)?;
    let (mut near, far) = tokio::io::duplex(1 << 16);
    tokio::spawn(serve(far, service, workers));
    let mut frames = BytesMut::new();
    loop {
        tokio::select! {
            message = socket.next() => match message {
                Some(Ok(Message::Binary(bytes))) => near.write_all(&bytes).await?,
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Ok(()),
            },
            read = near.read_buf(&mut frames) => match read? {
                0 => return Ok(()),
                _ => socket.send(Message::Binary(frames.split().freeze())).await.map_err(io::Error::other)?,
            },
        }
    }
}

#[expect(clippy::result_large_err, reason = "the callback's type is the library's")]
fn choose_subprotocol(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    assert_eq!(request.headers()[SEC_WEBSOCKET_PROTOCOL], SUBPROTOCOL);
    response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    Ok(response)
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    service: Service,
    workers: Arc<Semaphore>,
) -> io::Result<()> {
    let (mut inbox, mut out) = (BytesMut::new(), BytesMut::new());
    let (later, mut done) = mpsc::channel::<Frame>(1024);
    let mut served = 0;
    loop {
        tokio::select! {
            read = stream.read_buf(&mut inbox) => if read? == 0 { return Ok(()) },
            Some(frame) = done.recv() => answer(&mut out, &frame, Outcome::Replied),
        }
        if inbox.starts_with(&MAGIC) {
            inbox.advance(MAGIC.len());
        }
        while let Some(frame) = wire::decode(&mut inbox, 1 << 16).unwrap() {
            match frame.kind {
                Kind::Hello => wire::encode_control(&mut out, Kind::Welcome, &welcome()),
                Kind::Request if frame.business == MOMENTS => answer(&mut out, &frame, Outcome::Refused),
                Kind::Request if service.work.is_zero() => answer(&mut out, &frame, Outcome::Replied),
                Kind::Request => {
                    let (later, workers) = (later.clone(), Arc::clone(&workers));
                    tokio::spawn(async move {
                        let _place = workers.acquire().await;
                        tokio::time::sleep(service.work).await;
                        later.send(frame).await
                    });
                }
                _ => {}
            }
            served += 1;
            if served > service.closes_after {
                return Ok(());
            }
        }
        stream.write_all_buf(&mut out).await?;
    }
}

fn answer(out: &mut BytesMut, frame: &Frame, outcome: Outcome) {
    let request: pb::Request = frame.clone().message().unwrap();
    let reason = if outcome == Outcome::Refused { Reason::ServiceCut.code() } else { 0 };
    let reply = Reply { outcome: outcome.into(), reason, payload: request.payload, ..Reply::default() };
    wire::encode(out, Kind::Reply, Flags::default(), frame.business, frame.id, &reply).unwrap();
}

fn welcome() -> Welcome {
    let row = |(name, code): (&str, u16)| Business {
        code: code.into(),
        name: name.to_owned(),
        timeout_ms: 500,
        ..Business::default()
    };
    let businesses = TABLE.into_iter().map(row).collect();
    Welcome { version: 1, gateway: "fake".to_owned(), businesses, heartbeat_ms: 30_000, ..Welcome::default() }
}
