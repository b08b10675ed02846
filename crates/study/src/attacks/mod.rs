//! Attacks on the demo's model: what an update, or a model, tells about one mail.
//!
//! An attack proves that something leaks; that one fails proves nothing. So the figures here stand beside
//! the promise and not in its place: a lower bound from an attack may come near the promised ε and must
//! never pass it.

pub mod inversion;
pub mod membership;

/// The largest L2 norm of one example's gradient in every attacked training.
const CLIP: f64 = 1.0;

fn dot<T: Copy + Into<f64>>(a: &[T], b: &[T]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(a, b)| (*a).into() * (*b).into())
        .sum()
}
