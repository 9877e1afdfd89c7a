//! What passes, what is refused, and that every way out gives its places back.

use std::{future::pending, pin::pin, task::Waker};

use tower::service_fn;

use super::*;

struct Socket {
    peer: IpAddr,
}

impl Incoming for Socket {
    fn peer(&self) -> IpAddr {
        self.peer
    }
}

fn from(peer: &str) -> Socket {
    Socket { peer: peer.parse().unwrap() }
}

fn poll<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

type Answer = Result<Permit, Refusal>;

fn keep(limits: Limits) -> (impl FnMut(Socket) -> Answer, LimitHandle) {
    let (layer, handle) = LimitLayer::pair(limits);
    let mut service = layer.layer(service_fn(async |socket: Permitted<Socket>| Answer::Ok(socket.permit)));
    let call = move |socket| match poll(service.call(socket)) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("neither permitted nor refused"),
    };
    (call, handle)
}

#[test]
fn a_permit_is_small() {
    assert!(size_of::<Permit>() <= 16);
}

#[test]
fn the_total_is_never_passed_and_a_dropped_permit_makes_room() {
    let (mut call, handle) = keep(Limits { connections: 2, ..Limits::NONE });
    let first = call(from("::1")).unwrap();
    let _second = call(from("::2")).unwrap();
    let refusal = call(from("::3")).unwrap_err();
    assert_eq!((refusal.cause, refusal.retry_after), (Cause::Limit, WAIT_FOR_A_PLACE));
    drop(first);
    let _third = call(from("::3")).unwrap();
    assert_eq!(handle.open(), 2);
}

#[test]
fn one_peer_does_not_take_the_places_of_others() {
    let (mut call, handle) = keep(Limits { connections_per_ip: Some(1), ..Limits::NONE });
    let held = call(from("2001:db8::1")).unwrap();
    assert!(call(from("2001:db8::2")).is_err());
    let _other = call(from("192.0.2.1")).unwrap();
    assert_eq!(handle.open(), 2);
    drop(held);
    assert!(call(from("2001:db8::2")).is_ok());
}

#[test]
fn limits_change_while_permits_are_held() {
    let (mut call, handle) = keep(Limits { connections: 2, ..Limits::NONE });
    let held = [call(from("::1")).unwrap(), call(from("::1")).unwrap()];
    handle.set(Limits { connections: 1, connections_per_ip: Some(1) });
    assert!(call(from("::1")).is_err());
    drop(held);
    let counted = call(from("::1")).unwrap();
    handle.set(Limits { connections_per_ip: Some(1), ..Limits::NONE });
    assert!(call(from("::1")).is_err());
    handle.set(Limits::NONE);
    let uncounted = call(from("::1")).unwrap();
    drop((counted, uncounted));
    assert_eq!(handle.open(), 0);
}

#[test]
fn dropping_the_future_releases_its_place() {
    let (layer, handle) = LimitLayer::pair(Limits { connections: 1, ..Limits::NONE });
    let mut service = layer.layer(service_fn(async |_socket: Permitted<Socket>| pending::<Answer>().await));
    let mut future = Box::pin(service.call(from("::1")));
    assert!(poll(future.as_mut()).is_pending());
    assert_eq!(handle.open(), 1);
    drop(future);
    assert_eq!(handle.open(), 0);
}

#[test]
fn an_error_of_the_inner_service_releases_its_place() {
    let (layer, handle) = LimitLayer::pair(Limits::NONE);
    let mut service = layer.layer(service_fn(async |_: Permitted<Socket>| Answer::Err(refusal())));
    assert!(poll(service.call(from("::1"))).is_ready());
    assert_eq!(handle.open(), 0);
}

#[test]
fn an_idle_clone_holds_no_place() {
    let (layer, handle) = LimitLayer::pair(Limits { connections: 1, ..Limits::NONE });
    let mut idle = layer.layer(service_fn(async |socket: Permitted<Socket>| Answer::Ok(socket.permit)));
    let mut busy = idle.clone();
    let ready = Service::<Socket>::poll_ready(&mut idle, &mut Context::from_waker(Waker::noop()));
    assert!(ready.is_ready());
    assert_eq!(handle.open(), 0);
    assert!(matches!(poll(busy.call(from("::1"))), Poll::Ready(Ok(_))));
}

#[test]
fn threads_that_race_for_places_never_get_more_than_there_are() {
    let handle = LimitHandle::new(Limits { connections: 50, connections_per_ip: Some(60) });
    let peer = IpAddr::from([192, 0, 2, 1]);
    let race = || (0..100).filter_map(|_| handle.try_acquire(peer).ok()).collect::<Vec<_>>();
    let permits = std::thread::scope(|scope| {
        let threads = [(); 4].map(|()| scope.spawn(race));
        threads.map(|thread| thread.join().unwrap())
    });
    assert_eq!(permits.iter().map(Vec::len).sum::<usize>(), 50);
    drop(permits);
    assert_eq!(handle.open(), 0);
}
