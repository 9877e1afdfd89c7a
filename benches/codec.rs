//! What a frame costs, by the size of its payload.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark")]

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dagor::{
    id::{BusinessCode, MessageId},
    pb::client::{Outcome, Refusals, RefusedRequest, Reply, Request},
    wire::{self, Flags, Kind, Reason},
};

const PAYLOAD_BYTES: [usize; 5] = [16, 64, 1024, 16 * 1024, 64 * 1024];

fn request(payload_bytes: usize) -> Request {
    Request { timeout_ms: 2000, payload: Bytes::from(vec![7; payload_bytes]), ..Request::default() }
}

fn encode(out: &mut BytesMut, request: &Request) {
    wire::encode(out, Kind::Request, Flags::default(), BusinessCode(7), MessageId(1), request).unwrap();
}

/// Into a buffer that has room, as when many frames are gathered into one write.
fn encoding(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode");
    for bytes in PAYLOAD_BYTES {
        let request = request(bytes);
        let mut out = BytesMut::new();
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_with_input(BenchmarkId::from_parameter(bytes), &request, |b, request| {
            b.iter(|| {
                out.clear();
                encode(&mut out, black_box(request));
            });
        });
    }
    group.finish();
}

/// The header alone, as much as it takes to refuse a request.
fn classifying(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode_header");
    for bytes in PAYLOAD_BYTES {
        bench_decode(&mut group, bytes, |buffer| {
            black_box(wire::decode(buffer, wire::MAX_BODY_BYTES).unwrap().unwrap());
        });
    }
    group.finish();
}

/// Header and body.
fn decoding(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    for bytes in PAYLOAD_BYTES {
        bench_decode(&mut group, bytes, |buffer| {
            let frame = wire::decode(buffer, wire::MAX_BODY_BYTES).unwrap().unwrap();
            black_box(frame.message::<Request>().unwrap());
        });
    }
    group.finish();
}

/// What it takes to tell a client that so many of its requests are refused: a reply each, or one frame.
fn refusing(c: &mut Criterion) {
    let mut group = c.benchmark_group("refuse");
    for requests in [1_u64, 16, 256] {
        let mut out = BytesMut::new();
        group.throughput(Throughput::Elements(requests));
        group.bench_function(BenchmarkId::new("replies", requests), |b| {
            b.iter(|| {
                out.clear();
                (1..=requests).for_each(|id| encode_refusal(&mut out, black_box(id)));
            });
        });
        println!("{requests} replies take {} bytes", out.len());
        let mut refusals = Refusals::default();
        group.bench_function(BenchmarkId::new("one_frame", requests), |b| {
            b.iter(|| {
                out.clear();
                refusals.refused.clear();
                refusals.refused.extend((1..=requests).map(|id| refused(black_box(id))));
                wire::encode_control(&mut out, Kind::Refusals, &refusals);
            });
        });
        println!("{requests} in one frame take {} bytes", out.len());
    }
    group.finish();
}

fn encode_refusal(out: &mut BytesMut, id: u64) {
    let RefusedRequest { reason, retry_after_ms, .. } = refused(id);
    let reply = Reply { outcome: Outcome::Refused.into(), reason, retry_after_ms, ..Reply::default() };
    wire::encode(out, Kind::Reply, Flags::default(), BusinessCode(7), MessageId(id), &reply).unwrap();
}

const fn refused(id: u64) -> RefusedRequest {
    RefusedRequest { message_id: 1_000_000 + id, reason: Reason::ServiceCut.code(), retry_after_ms: 1250 }
}

fn bench_decode(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    payload_bytes: usize,
    mut decode: impl FnMut(&mut BytesMut),
) {
    let mut encoded = BytesMut::new();
    encode(&mut encoded, &request(payload_bytes));
    group.throughput(Throughput::Bytes(payload_bytes as u64));
    group.bench_function(BenchmarkId::from_parameter(payload_bytes), |b| {
        b.iter_batched_ref(|| encoded.clone(), &mut decode, BatchSize::SmallInput);
    });
}

criterion_group!(benches, encoding, classifying, decoding, refusing);
criterion_main!(benches);
