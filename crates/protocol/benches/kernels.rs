//! Each kernel beside the floor that it stands on: raw key stream, and a copy through memory.
//!
//! `cargo bench -p undertone-protocol --bench kernels`; throughput is of the bytes that are produced.

#![allow(clippy::unwrap_used, reason = "this is measuring code")]

use std::hint::black_box;

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use undertone_protocol::keys::Secret32;
use undertone_protocol::vector::{Ring, RingVector, Sign};

/// Elements of a vector: beyond the caches.
const LENGTH: usize = 1_000_000;

/// Masks of one pass.
const MASKS: u8 = 16;

fn bytes(count: usize) -> Throughput {
    Throughput::Bytes(u64::try_from(count).unwrap())
}

fn floor(c: &mut Criterion) {
    let mut group = c.benchmark_group("floor");
    let mut block = [0_u8; 8192];
    group.throughput(bytes(block.len()));
    group.bench_function("key stream", |b| {
        let mut cipher = ChaCha20::new(&[7; 32].into(), &[0; 12].into());
        b.iter(|| cipher.write_keystream(black_box(&mut block)));
    });
    let (from, mut to) = (vec![1_u8; 4 * LENGTH], vec![0_u8; 4 * LENGTH]);
    group.throughput(bytes(from.len()));
    group.bench_function("copy", |b| {
        b.iter(|| black_box(&mut to).copy_from_slice(black_box(&from)));
    });
}

fn masks(c: &mut Criterion) {
    let mut group = c.benchmark_group("mask");
    let masks: Vec<_> = (0..MASKS)
        .map(|i| {
            let sign = if i % 2 == 0 { Sign::Plus } else { Sign::Minus };
            (Secret32::from([i; 32]), sign)
        })
        .collect();
    for (bits, lane) in [(16, 2), (32, 4), (64, 8)] {
        let mut vector = RingVector::zeros(Ring::new(bits).unwrap(), LENGTH);
        for count in [1, masks.len()] {
            let id = BenchmarkId::new(format!("{bits} bits"), count);
            group.throughput(bytes(LENGTH * lane * count));
            group.bench_function(id, |b| {
                b.iter(|| black_box(&mut vector).mask(masks.get(..count).unwrap()));
            });
        }
    }
}

fn packing(c: &mut Criterion) {
    for bits in [8, 12, 16, 20, 24, 31, 32, 40, 48, 63, 64] {
        let mut group = c.benchmark_group(format!("{bits} bits"));
        let ring = Ring::new(bits).unwrap();
        let mut vector = RingVector::zeros(ring, LENGTH);
        vector.mask(&[(Secret32::from([1; 32]), Sign::Plus)]);
        let packed = vector.pack();
        group.throughput(bytes(packed.len()));
        group.bench_function("pack", |b| b.iter(|| black_box(&vector).pack()));
        group.bench_function("unpack", |b| {
            b.iter(|| RingVector::unpack(ring, LENGTH, black_box(&packed)).unwrap());
        });
        group.bench_function("add packed", |b| {
            b.iter(|| vector.add_packed(0..LENGTH, black_box(&packed)).unwrap());
        });
    }
}

criterion_group!(kernels, floor, masks, packing);
criterion_main!(kernels);
