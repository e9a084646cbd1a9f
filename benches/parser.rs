//! The cost of parsing: one whole request of each dialect, from the read buffer.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

use larder::engine::protocol::binary::BinaryForm;
use larder::engine::protocol::meta::MetaForm;
use larder::engine::protocol::text::TextForm;
use larder::engine::protocol::{FastGetForm, Limits, binary, text};

const KEY: &str = "key-00000000000000000042";

/// Pipelined text and meta requests.
fn lines(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("text");
    group.throughput(Throughput::Elements(1));
    let value = "x".repeat(32);
    for (name, request) in [
        ("get", format!("get {KEY}\r\n")),
        ("gets", format!("gets {KEY}\r\n")),
        ("get, 2 keys", format!("get {KEY} {KEY}\r\n")),
        ("set", format!("set {KEY} 0 0 32\r\n{value}\r\n")),
        ("mg v", format!("mg {KEY} v\r\n")),
        ("mg, 6 flags", format!("mg {KEY} v k f t c Oabc\r\n")),
        ("ms", format!("ms {KEY} 32 T60\r\n{value}\r\n")),
    ] {
        let stream = request.repeat(16);
        let (mut scan, limits) = (text::LineScan::default(), Limits::default());
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                black_box(text::parse(
                    black_box(stream.as_bytes()),
                    &mut scan,
                    &limits,
                ));
            });
        });
    }
    group.finish();
}

fn packets(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("binary");
    group.throughput(Throughput::Elements(1));
    let extras = [0; 8];
    for (name, opcode, extras, value) in [
        ("get", 0x00, &[][..], &[][..]),
        ("set", 0x01, &extras[..], &[b'x'; 32][..]),
    ] {
        let packet = packet(opcode, extras, value);
        let limits = Limits::default();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                black_box(binary::parse(black_box(&packet), &limits));
            });
        });
    }
    group.finish();
}

/// The fast path, which a session tries before the parser.
fn fast_gets(criterion: &mut Criterion) {
    let text = format!("get {KEY}\r\n").repeat(16).into_bytes();
    let meta = format!("mg {KEY} v\r\n").repeat(16).into_bytes();
    let binary = packet(0x00, &[], &[]);
    let mut group = criterion.benchmark_group("fast get");
    group.throughput(Throughput::Elements(1));
    group.bench_function("text", |bencher| {
        bencher.iter(|| black_box(TextForm::fast_get(black_box(&text))));
    });
    group.bench_function("meta", |bencher| {
        bencher.iter(|| black_box(MetaForm::fast_get(black_box(&meta))));
    });
    group.bench_function("binary", |bencher| {
        bencher.iter(|| black_box(BinaryForm::fast_get(black_box(&binary))));
    });
    group.finish();
}

fn packet(opcode: u8, extras: &[u8], value: &[u8]) -> Vec<u8> {
    let body = extras.len() + KEY.len() + value.len();
    let mut packet = vec![binary::REQUEST_MAGIC, opcode, 0, KEY.len() as u8];
    packet.extend([extras.len() as u8, 0, 0, 0]);
    packet.extend((body as u32).to_be_bytes());
    packet.extend([0; 12]);
    for part in [extras, KEY.as_bytes(), value] {
        packet.extend_from_slice(part);
    }
    packet
}

criterion_group!(benches, lines, packets, fast_gets);
criterion_main!(benches);
