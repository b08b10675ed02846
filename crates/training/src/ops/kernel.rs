//! Element-wise kernels on slices, written so that the compiler vectorises them.
//!
//! [`kernel!`] declares a function that is compiled once for each instruction set and picks the
//! widest one of the machine when called. Everything it calls must be inlined into it, hence
//! `#[inline(always)]`: a call out would leave the instruction set, and `mul_add` would become a
//! library call.
#![allow(
    clippy::inline_always,
    reason = "code is compiled per instruction set at the call site"
)]

/// Independent partial results of a reduction, so that it vectorises without reordering floats.
const LANES: usize = 16;

/// Declares a function without result; its borrowed arguments have the lifetime `'a`.
macro_rules! kernel {
    ($(#[$attribute:meta])* $visibility:vis fn $name:ident($($arg:ident: $type:ty),+ $(,)?) $body:block)
    => {
        $(#[$attribute])*
        $visibility fn $name<'a>($($arg: $type),+) {
            struct Kernel<'a> {
                $($arg: $type,)+
                lifetime: std::marker::PhantomData<&'a ()>,
            }
            impl pulp::WithSimd for Kernel<'_> {
                type Output = ();
                #[allow(clippy::inline_always, reason = "compiled once for each instruction set")]
                #[inline(always)]
                fn with_simd<S: pulp::Simd>(self, _: S) {
                    let Self { $($arg,)+ .. } = self;
                    $body
                }
            }
            pulp::Arch::new().dispatch(Kernel { $($arg,)+ lifetime: std::marker::PhantomData });
        }
    };
}
pub(crate) use kernel;

/// `e^x`, relative error below 2 units in the last place on [-87, 88]; clamped outside.
#[inline(always)]
#[allow(
    clippy::excessive_precision,
    reason = "coefficients as derived, rounded by the compiler"
)]
pub(crate) fn exp(x: f32) -> f32 {
    // Cephes expf: x = k ln 2 + r, a polynomial for e^r, then the exponent k by bit shift. Adding
    // 1.5 * 2^23 rounds to an integer held in the low mantissa bits; 127 is the exponent's bias.
    const ROUND: f32 = 12_582_912.0 + 127.0;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let k = shifted - ROUND;
    let r = k.mul_add(2.121_944_40e-4, k.mul_add(-0.693_359_375, x));
    let p = 1.987_569_15e-4_f32;
    let p = p.mul_add(r, 1.398_199_95e-3);
    let p = p.mul_add(r, 8.333_451_9e-3);
    let p = p.mul_add(r, 4.166_579_6e-2);
    let p = p.mul_add(r, 1.666_666_55e-1);
    let p = p.mul_add(r, 5.000_000_1e-1);
    let e = p.mul_add(r * r, r) + 1.0;
    e * f32::from_bits(shifted.to_bits() << 23)
}

/// The error function, absolute error below 5e-7: the rational approximation of Eigen and XLA.
#[inline(always)]
#[allow(clippy::excessive_precision, reason = "coefficients as published")]
pub(crate) fn erf(x: f32) -> f32 {
    let x = x.clamp(-4.0, 4.0);
    let t = x * x;
    let p = -2.726_142_258_013_06e-10_f32;
    let p = p.mul_add(t, 2.770_681_424_959_02e-8);
    let p = p.mul_add(t, -2.101_024_020_825_08e-6);
    let p = p.mul_add(t, -5.692_506_394_623_46e-5);
    let p = p.mul_add(t, -7.349_906_303_268_55e-4);
    let p = p.mul_add(t, -2.954_599_808_540_25e-3);
    let p = p.mul_add(t, -1.609_603_332_624_15e-2);
    let q = -1.456_607_184_649_96e-5_f32;
    let q = q.mul_add(t, -2.133_740_552_789_05e-4);
    let q = q.mul_add(t, -1.682_826_974_382_03e-3);
    let q = q.mul_add(t, -7.373_329_167_204_68e-3);
    let q = q.mul_add(t, -1.426_473_905_141_89e-2);
    x * p / q
}

/// GELU in its exact form, `x Phi(x)` (Hendrycks and Gimpel 2016).
#[inline(always)]
pub(crate) fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// The derivative of [`gelu`]: `Phi(x) + x phi(x)`.
#[inline(always)]
pub(crate) fn gelu_derivative(x: f32) -> f32 {
    const INV_SQRT_2PI: f32 = 0.398_942_3;
    let cdf = 0.5 * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2));
    (x * INV_SQRT_2PI).mul_add(exp(-0.5 * x * x), cdf)
}

/// The sum of `f(x)` over a row.
#[inline(always)]
pub(crate) fn sum_by(row: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += f(*x);
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().map(|x| f(*x)).sum::<f32>()
}

/// The inner product of two rows of equal length.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (x, y) in a_chunks.iter().zip(b_chunks) {
        for ((lane, x), y) in lanes.iter_mut().zip(x).zip(y) {
            *lane = x.mul_add(*y, *lane);
        }
    }
    lanes.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum::<f32>()
}

/// The largest value of a row; negative infinity for an empty one.
#[inline(always)]
pub(crate) fn max(row: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = if *x > *lane { *x } else { *lane };
        }
    }
    lanes
        .iter()
        .chain(rest)
        .copied()
        .fold(f32::NEG_INFINITY, f32::max)
}

/// `out += scale * x`.
#[inline(always)]
pub(crate) fn axpy(scale: f32, x: &[f32], out: &mut [f32]) {
    for (o, x) in out.iter_mut().zip(x) {
        *o = scale.mul_add(*x, *o);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Abramowitz and Stegun 7.1.5, the Taylor series, summed in f64.
    fn erf_reference(x: f64) -> f64 {
        let mut term = x;
        let mut sum = x;
        for n in 1..200 {
            let n = f64::from(n);
            term *= -x * x / n;
            sum += term / (2.0 * n + 1.0);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    }

    kernel! {
        fn apply(f: fn(f32) -> f32, x: f32, y: &'a mut f32) {
            *y = f(x);
        }
    }

    fn call(f: fn(f32) -> f32, x: f32) -> f32 {
        let mut y = 0.0;
        apply(f, x, &mut y);
        y
    }

    #[test]
    fn exp_and_erf_match_double_precision() {
        for i in -8000_i16..=8000 {
            let x = f32::from(i) / 1000.0;
            let wide = f64::from(x);
            let e = f64::from(call(exp, x));
            assert!((e / wide.exp() - 1.0).abs() < 2.5e-7, "exp({x})");
            if x.abs() < 4.5 {
                let r = f64::from(call(erf, x));
                assert!((r - erf_reference(wide)).abs() < 5e-7, "erf({x}) = {r}");
            }
        }
        assert!(call(exp, -200.0) < 1e-37);
    }

    #[test]
    fn gelu_derivative_is_the_slope() {
        for i in -40_i16..=40 {
            let x = f64::from(i) / 10.0;
            let cdf = |x: f64| 0.5 * (1.0 + erf_reference(x / 2.0_f64.sqrt()));
            let slope = ((x + 1e-5) * cdf(x + 1e-5) - (x - 1e-5) * cdf(x - 1e-5)) / 2e-5;
            #[allow(clippy::cast_possible_truncation)]
            let got = f64::from(call(gelu_derivative, x as f32));
            assert!((got - slope).abs() < 2e-6, "{x}: {got} {slope}");
        }
    }

    #[test]
    #[allow(clippy::float_cmp, reason = "small integers are exact")]
    fn reductions_cover_ragged_rows() {
        let row: Vec<f32> = (0..37_u8).map(f32::from).collect();
        assert_eq!(sum_by(&row, |x| x), 666.0);
        assert_eq!(dot(&row, &row), 16206.0);
        assert_eq!(max(&row), 36.0);
    }
}
