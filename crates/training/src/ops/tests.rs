//! Each operation against the same formula in candle's primitive operations, values and
//! gradients, and against finite differences.

use std::sync::Arc;

use candle_core::{D, Device, Result, Tensor, Var};
use chacha20::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use super::*;

const BATCH: usize = 3;
const LENGTH: usize = 5;
const HIDDEN: usize = 24;

struct Random(ChaCha20Rng);

impl Random {
    fn new(seed: u8) -> Self {
        Self(ChaCha20Rng::from_seed([seed; 32]))
    }

    fn values(&mut self, count: usize) -> Vec<f32> {
        #[allow(clippy::cast_precision_loss)]
        (0..count)
            .map(|_| (self.0.next_u32() >> 8) as f32 / (1 << 23) as f32 - 1.0)
            .collect()
    }

    fn var(&mut self, shape: &[usize]) -> Var {
        let values = self.values(shape.iter().product());
        Var::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    fn linear(&mut self, input: usize, output: usize) -> (Arc<Linear>, Tensor, Tensor) {
        let (w, b) = (self.values(input * output), self.values(output));
        let weight = Tensor::from_slice(&w, (output, input), &Device::Cpu).unwrap();
        let bias = Tensor::from_slice(&b, output, &Device::Cpu).unwrap();
        (Arc::new(Linear::new(input, w, b)), weight, bias)
    }

    fn norm(&mut self) -> (Arc<Norm>, Tensor, Tensor) {
        let (gamma, beta) = (self.values(HIDDEN), self.values(HIDDEN));
        let g = Tensor::from_slice(&gamma, HIDDEN, &Device::Cpu).unwrap();
        let b = Tensor::from_slice(&beta, HIDDEN, &Device::Cpu).unwrap();
        (
            Arc::new(Norm {
                gamma,
                beta,
                eps: 1e-5,
            }),
            g,
            b,
        )
    }
}

fn flat(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

fn close(what: &str, a: &[f32], b: &[f32], tolerance: f32) {
    assert_eq!(a.len(), b.len(), "{what}");
    let scale = b.iter().fold(1e-3_f32, |m, x| m.max(x.abs()));
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert!(
            (a - b).abs() <= tolerance * scale,
            "{what}[{i}]: {a} against {b}"
        );
    }
}

/// Compares values and gradients of `op` and `reference`, then `op` with finite differences.
fn check(
    variables: &[Var],
    op: impl Fn(&[Tensor]) -> Result<Tensor>,
    reference: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    let tensors: Vec<Tensor> = variables.iter().map(|v| v.as_tensor().clone()).collect();
    let (y, z) = (op(&tensors).unwrap(), reference(&tensors).unwrap());
    close("value", &flat(&y), &flat(&z), 1e-5);
    let weights = Random::new(77).var(y.dims()).as_detached_tensor();
    let grads = (&y * &weights)
        .unwrap()
        .sum_all()
        .unwrap()
        .backward()
        .unwrap();
    let expected = (&z * &weights)
        .unwrap()
        .sum_all()
        .unwrap()
        .backward()
        .unwrap();
    let weights = flat(&weights);
    let loss = |tensors: &[Tensor]| -> f64 {
        let y = flat(&op(tensors).unwrap());
        y.iter()
            .zip(&weights)
            .map(|(y, w)| f64::from(*y) * f64::from(*w))
            .sum()
    };
    for (i, variable) in variables.iter().enumerate() {
        let got = flat(grads.get(variable).unwrap());
        close(
            "gradient",
            &got,
            &flat(expected.get(variable).unwrap()),
            1e-4,
        );
        let scale = got.iter().fold(1e-3_f32, |m, x| m.max(x.abs()));
        let base = flat(variable);
        for at in (0..base.len()).step_by(7) {
            let moved = |step: f32| {
                let mut values = base.clone();
                values[at] += step;
                let mut tensors = tensors.clone();
                tensors[i] = Tensor::from_vec(values, variable.dims(), &Device::Cpu).unwrap();
                loss(&tensors)
            };
            let slope = (moved(5e-3) - moved(-5e-3)) / 1e-2;
            let error = (f64::from(got[at]) - slope).abs();
            assert!(
                error < 5e-3 * f64::from(scale),
                "variable {i}[{at}]: {} {slope}",
                got[at]
            );
        }
    }
}

fn norm_reference(x: &Tensor, gamma: &Tensor, beta: &Tensor) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    centred
        .broadcast_div(&(variance + 1e-5)?.sqrt()?)?
        .broadcast_mul(gamma)?
        .broadcast_add(beta)
}

fn linear_reference(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    x.broadcast_matmul(&weight.t()?)?.broadcast_add(bias)
}

#[test]
fn linear_matches() {
    let mut random = Random::new(1);
    let (weights, w, b) = random.linear(HIDDEN, 10);
    let x = random.var(&[BATCH, LENGTH, HIDDEN]);
    check(
        &[x],
        |t| linear(&t[0], &weights),
        |t| linear_reference(&t[0], &w, &b),
    );
}

/// The quantized op against the dense op on the decoded weights, the product with them in candle's
/// primitive operations, and finite differences.
#[test]
fn a_quantized_linear_is_the_dense_one_of_its_decoded_weights() {
    use candle_core::quantized::GgmlDType::{Q4_0, Q4K, Q8_0};
    let mut random = Random::new(8);
    for (dtype, input, error) in [(Q8_0, 64, 0.005), (Q4_0, 64, 0.13), (Q4K, 256, 0.08)] {
        let (dense, original, bias) = random.linear(input, 10);
        let quantized = Arc::new(dense.quantized(dtype).unwrap());
        let (decoded, _) = quantized.tensors().unwrap();
        let off = (&decoded - &original).unwrap().abs().unwrap();
        let off = off.flatten_all().unwrap().max(0).unwrap();
        let off = off.to_scalar::<f32>().unwrap();
        assert!(off > 0.0 && off < error, "{dtype:?} is {off} off");
        assert!(quantized.bytes() < dense.bytes() / 3, "{dtype:?}");
        let x = random.var(&[BATCH, LENGTH, input]);
        check(
            std::slice::from_ref(&x),
            |t| linear(&t[0], &quantized),
            |t| linear_reference(&t[0], &decoded, &bias),
        );
        let again = Arc::new(Linear::new(input, flat(&decoded), flat(&bias)));
        let [a, b] = [&quantized, &again].map(|w| {
            let y = linear(&x, w).unwrap();
            let grads = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            (flat(&y), flat(grads.get(&x).unwrap()))
        });
        assert_eq!(a, b, "{dtype:?}: bit by bit");
    }
}

#[test]
fn a_width_that_blocks_do_not_divide_is_an_error() {
    let (dense, ..) = Random::new(9).linear(HIDDEN, 10);
    assert!(
        dense
            .quantized(candle_core::quantized::GgmlDType::Q8_0)
            .is_err()
    );
}

#[test]
fn rows_are_gathered_from_either_form() {
    let mut random = Random::new(10);
    let dense = Matrix::new(32, random.values(32 * 7));
    let blocks = dense
        .quantized(candle_core::quantized::GgmlDType::Q8_0)
        .unwrap();
    for matrix in [&dense, &blocks] {
        assert_eq!(matrix.gather(&[]).unwrap(), Some(Vec::new()));
        assert_eq!(matrix.gather(&[1, 7]).unwrap(), None, "there is no row 7");
        let all = matrix.with(|m| Ok(m.as_slice::<f32>()?.to_vec())).unwrap();
        let rows = matrix.gather(&[6, 2, 6]).unwrap().unwrap();
        let expected = [6, 2, 6]
            .map(|r: usize| &all[r * 32..(r + 1) * 32])
            .concat();
        assert_eq!(rows, expected);
    }
}

#[test]
fn add_layer_norm_matches() {
    let mut random = Random::new(2);
    let (norm, gamma, beta) = random.norm();
    let variables = [0, 1].map(|_| random.var(&[BATCH, LENGTH, HIDDEN]));
    check(
        &variables,
        |t| add_layer_norm(&t[0], &t[1], &norm),
        |t| norm_reference(&(&t[0] + &t[1])?, &gamma, &beta),
    );
}

#[test]
fn feed_forward_matches() {
    let mut random = Random::new(3);
    let (up, w1, b1) = random.linear(HIDDEN, 40);
    let (down, w2, b2) = random.linear(40, HIDDEN);
    let (norm, gamma, beta) = random.norm();
    let block = Arc::new(FeedForward { up, down, norm });
    let x = random.var(&[BATCH, LENGTH, HIDDEN]);
    check(
        &[x],
        |t| feed_forward(&t[0], &block),
        |t| {
            let inner = linear_reference(&t[0], &w1, &b1)?.gelu_erf()?;
            let y = linear_reference(&inner, &w2, &b2)?;
            norm_reference(&(&t[0] + y)?, &gamma, &beta)
        },
    );
}

#[test]
fn attention_matches_and_ignores_padding() {
    let mut random = Random::new(4);
    let heads = 3;
    let width = HIDDEN / heads;
    let lengths: Arc<[usize]> = Arc::from([LENGTH, 2, 4]);
    let shape = AttentionShape {
        heads,
        lengths: Arc::clone(&lengths),
    };
    let variables = [0, 1, 2].map(|_| random.var(&[BATCH, LENGTH, HIDDEN]));
    let mask: Vec<f32> = lengths
        .iter()
        .flat_map(|&n| (0..LENGTH).map(move |j| if j < n { 0.0 } else { -1e9 }))
        .collect();
    let mask = Tensor::from_vec(mask, (BATCH, 1, 1, LENGTH), &Device::Cpu).unwrap();
    let split = |t: &Tensor| {
        t.reshape((BATCH, LENGTH, heads, width))?
            .transpose(1, 2)?
            .contiguous()
    };
    check(
        &variables,
        |t| attention(&t[0], &t[1], &t[2], &shape),
        |t| {
            let (q, k, v) = (split(&t[0])?, split(&t[1])?, split(&t[2])?);
            #[allow(clippy::cast_precision_loss)]
            let scale = 1.0 / (width as f64).sqrt();
            let scores = (q.matmul(&k.transpose(2, 3)?.contiguous()?)? * scale)?;
            let scores = scores.broadcast_add(&mask)?;
            let top = scores.max_keepdim(D::Minus1)?.detach();
            let e = scores.broadcast_sub(&top)?.exp()?;
            let p = e.broadcast_div(&e.sum_keepdim(D::Minus1)?)?;
            p.matmul(&v)?
                .transpose(1, 2)?
                .contiguous()?
                .reshape((BATCH, LENGTH, HIDDEN))
        },
    );
}

#[test]
fn low_rank_add_matches_with_own_and_with_shared_matrices() {
    let mut random = Random::new(5);
    let rank = 4;
    for copies in [BATCH, 1] {
        let variables = [
            random.var(&[BATCH, LENGTH, HIDDEN]),
            random.var(&[BATCH, LENGTH, rank]),
            random.var(&[copies, HIDDEN, rank]),
        ];
        check(
            &variables,
            |t| low_rank_add(&t[0], &t[1], &t[2]),
            |t| &t[0] + t[1].broadcast_matmul(&t[2].transpose(1, 2)?.contiguous()?)?,
        );
    }
}

#[test]
fn low_rank_down_matches_with_own_and_with_shared_matrices() {
    let mut random = Random::new(7);
    let rank = 4;
    for copies in [BATCH, 1] {
        let variables = [
            random.var(&[BATCH, LENGTH, HIDDEN]),
            random.var(&[copies, rank, HIDDEN]),
        ];
        check(
            &variables,
            |t| low_rank_down(&t[0], &t[1], 0.75),
            |t| t[0].broadcast_matmul(&t[1].transpose(1, 2)?.contiguous()?)? * 0.75,
        );
    }
    let x = random.var(&[BATCH, LENGTH, HIDDEN]);
    let a = random.var(&[2, rank, HIDDEN]);
    assert!(low_rank_down(&x, &a, 1.0).is_err(), "neither one nor BATCH");
}

#[test]
fn an_untracked_input_records_no_graph() {
    let mut random = Random::new(6);
    let (weights, ..) = random.linear(HIDDEN, 10);
    let x = random.var(&[BATCH, LENGTH, HIDDEN]).as_detached_tensor();
    assert!(!linear(&x, &weights).unwrap().track_op());
}
