//! Composition of losses by Fourier transform, and ε at a given δ.
//!
//! Convolving T times is a power in the frequency domain; but where δ is 1e-10 the masses that
//! matter are below the rounding error of a transform whose largest output is near 1. So the losses
//! are tilted first: every mass is multiplied by e^(λ·loss) and the result by e^(-λ·loss). With λ
//! chosen so that the tilted sum lies about where ε does, these masses are the largest ones, and
//! the transform's error is relative to them. The window of the (cyclic) transform need only cover
//! the tilted sum: by Chernoff's inequality what lies outside has a tilted probability of e^-40 at most.
//! What lies above it is added to δ; and as the transform is cyclic, all of it wraps around to where it
//! can only raise δ.

use core::ops::Range;

use realfft::RealFftPlanner;
use realfft::num_complex::Complex;

use crate::accountant::pld::losses::{Cumulants, Losses};

/// ln of the tilted probability that may lie above the window, and below it.
const LN_OUTSIDE: f64 = -40.0;
/// Bound of a transform's rounding error in Euclidean norms, per doubling of its length and relative to
/// its output (Higham, Accuracy and Stability of Numerical Algorithms, section 24.1): each of the log2 N
/// levels of butterflies adds, for the product with a twiddle factor (which is itself rounded) and the
/// sum, less than 6 roundings. One value of the inverse transform is off by no more than its input's
/// absolute sum times that.
const FFT_ERROR: f64 = 3.0 * f64::EPSILON;
/// Bound of the relative rounding error of a power, per factor: of a complex product it is at most
/// sqrt(5) roundings.
const POWER_ERROR: f64 = 2.0 * f64::EPSILON;
/// Powers below e^(-80) are left out; their sum is within the error bound.
const LN_NEGLIGIBLE: f64 = -80.0;

/// Steps whose losses are added up, all on grids of the same width.
#[derive(Debug)]
pub(super) struct Composition {
    pub(super) width: f64,
    pub(super) parts: Vec<(Losses, u64)>,
}

/// The tilts that a window rests on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tilts {
    /// λ, that of the transform.
    pub(super) sum: f64,
    /// How much higher the tilt of the bound for what lies above is.
    up: f64,
    /// How much lower that of the bound for what lies below is.
    down: f64,
}

/// Where the sum of tilted losses is computed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    /// λ.
    tilt: f64,
    /// Index of the lowest sum in it.
    first: i64,
    /// Number of points.
    pub(super) points: usize,
    /// Bound of the probability of a sum above it.
    above: f64,
    /// ln E\[e^(λ·index·width)\] of the sum.
    ln_moment: f64,
    /// Mean index of the tilted sum.
    mean: f64,
    /// The loss there.
    pub(super) centre: f64,
}

/// Why there is no ε in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Miss {
    /// ε lies below the window: a smaller tilt would find it.
    Below,
    /// What counts as infinite exceeds δ by itself, or numbers left the range of `f64`.
    Lost,
}

#[expect(
    clippy::cast_precision_loss,
    reason = "step counts and indices beyond 2^53 lose 1e-16 relative, which the result allows for"
)]
impl Composition {
    /// The sum's cumulants in units of the index, tilted by e^(`tilt`·loss).
    fn cumulants(&self, tilt: f64) -> Cumulants {
        let mut total = Cumulants::default();
        for (losses, steps) in &self.parts {
            let one = losses.cumulants(tilt);
            let steps = *steps as f64;
            total.value += steps * one.value;
            total.mean += steps * one.mean;
            total.variance += steps * one.variance;
        }
        total
    }

    /// The loss at index 0 of the sum.
    fn base(&self) -> f64 {
        self.parts
            .iter()
            .map(|(losses, steps)| {
                *steps as f64 * (losses.offset + self.width * losses.first as f64)
            })
            .sum()
    }

    /// The largest tilt that no part overflows at; λ stays below half of it.
    fn largest_tilt(&self) -> f64 {
        self.parts
            .iter()
            .map(|(losses, _)| losses.largest_tilt())
            .fold(f64::INFINITY, f64::min)
    }

    /// Tilts for ε at e^`ln_delta` by Chernoff's bound alone, δ ≤ e^(C(λ) - λε), C being the
    /// cumulant generating function: the bound is least where C(λ) - λ C'(λ) = ln δ.
    pub(super) fn chernoff(&self, ln_delta: f64) -> Tilts {
        let most = 0.5 * self.largest_tilt();
        let sum = increasing_root(1.0, most, |tilt| {
            let (at, slope) = (self.cumulants(tilt), tilt * self.width);
            let value = ln_delta - (at.value - slope * at.mean);
            (value, slope * slope * at.variance)
        });
        self.with_bounds(sum)
    }

    /// Tilts with which the tilted sum's mean is `loss`.
    pub(super) fn centred(&self, loss: f64, tilts: Tilts) -> Tilts {
        let index = (loss - self.base()) / self.width;
        let most = 0.5 * self.largest_tilt();
        let sum = increasing_root(tilts.sum, most, |tilt| {
            let at = self.cumulants(tilt);
            (at.mean - index, tilt * self.width * at.variance)
        });
        self.with_bounds(sum)
    }

    /// The tilts around λ = `sum` with which Chernoff's bounds for both sides are least.
    pub(super) fn with_bounds(&self, sum: f64) -> Tilts {
        let at = self.cumulants(sum);
        let start = (-2.0 * LN_OUTSIDE / at.variance).sqrt() / self.width;
        let most = self.largest_tilt();
        let bound = |sign: f64, most: f64| {
            increasing_root(start, most, |by| {
                let (beyond, slope) = (self.cumulants(sum + sign * by), by * self.width);
                let ratio = beyond.value - at.value;
                let value = LN_OUTSIDE - (ratio - sign * slope * beyond.mean);
                (value, slope * slope * beyond.variance)
            })
        };
        Tilts {
            sum,
            up: bound(1.0, most - sum),
            down: bound(-1.0, most),
        }
    }

    /// The window around the sum tilted by λ.
    pub(super) fn window(&self, tilts: Tilts) -> Window {
        let tilt = tilts.sum;
        let at = self.cumulants(tilt);
        // P'(sum ≥ B) ≤ e^(C(λ+t) - C(λ) - t B), and the same from below.
        let beyond = |by: f64| {
            let ratio = self.cumulants(tilt + by).value - at.value;
            (ratio - LN_OUTSIDE) / (by * self.width)
        };
        let most: f64 = self
            .parts
            .iter()
            .map(|(losses, steps)| *steps as f64 * (losses.masses.len() - 1) as f64)
            .sum();
        let bound = beyond(tilts.up).ceil();
        let (last, above) = if bound < most {
            let ln_above = at.value - tilt * self.width * bound + LN_OUTSIDE;
            (bound, ln_above.exp())
        } else {
            (most, 0.0)
        };
        let first = beyond(-tilts.down).floor().clamp(0.0, last);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturating; too many points are refused by the caller"
        )]
        let needed = (last - first) as usize;
        // What the length of the transform leaves over goes below: it has fast lengths only, and the
        // sum may be concentrated on one point with ε between it and the next one.
        let points = even_and_smooth(needed.saturating_add(16));
        #[expect(clippy::cast_possible_truncation, reason = "saturating, as above")]
        let first = (last + 1.0 - points as f64).max(0.0) as i64;
        Window {
            tilt,
            first,
            points,
            above,
            ln_moment: at.value,
            mean: at.mean,
            centre: self.base() + self.width * at.mean,
        }
    }

    /// Probabilities of the tilted sum, as a part of the moment, over the window's points: upper
    /// bounds, rounding errors included.
    fn tilted_sum(&self, window: &Window) -> Option<Vec<f64>> {
        let points = window.points;
        let mut planner = RealFftPlanner::<f64>::new();
        let forward = planner.plan_fft_forward(points);
        let mut transforms = Vec::with_capacity(self.parts.len());
        let mut steps_in_all = 0.0;
        for (losses, steps) in &self.parts {
            let moment = losses.cumulants(window.tilt).value.exp();
            let mut input = forward.make_input_vec();
            let mut position = 0;
            losses.for_each_tilted(window.tilt, |_, weight| {
                input[position] += weight / moment;
                position += 1;
                if position == points {
                    position = 0;
                }
            });
            let mut output = forward.make_output_vec();
            forward.process(&mut input, &mut output).ok()?;
            steps_in_all += *steps as f64;
            transforms.push((output, *steps));
        }
        let length = points as f64;
        let fft = FFT_ERROR * length.log2();
        // An error e of one transform F moves F^T by T e F^(T-1) times the other factors, and all
        // frequencies together by at most T |e| |F^(T-1) ...| in Euclidean norms (Cauchy-Schwarz).
        let (mut moved, mut product) = (0.0, Vec::new());
        for (one, (output, steps)) in transforms.iter().enumerate() {
            product = all_but_one(&transforms, one);
            moved += *steps as f64 * fft * euclidean(output) * euclidean(&product);
            for (all, last) in product.iter_mut().zip(output) {
                *all *= last;
            }
        }
        // Of a real signal: what is not the first (or, of an even length, the last) counts twice.
        let absolute: f64 = 2.0 * product.iter().map(|z| z.norm()).sum::<f64>() + 1e-30;
        if let Some(end) = product.last_mut() {
            end.im = 0.0;
        }
        product[0].im = 0.0;
        let inverse = planner.plan_fft_inverse(points);
        let mut sums = inverse.make_output_vec();
        inverse.process(&mut product, &mut sums).ok()?;
        let error = (moved + (steps_in_all * POWER_ERROR + fft) * absolute) / length;
        let cycle = i64::try_from(points).ok()?;
        let shift = usize::try_from(window.first.rem_euclid(cycle)).ok()?;
        sums.rotate_left(shift);
        for mass in &mut sums {
            *mass = (*mass / length).max(0.0) + error;
        }
        Some(sums)
    }

    /// The least ε with δ(ε) ≤ `delta`, up to the pessimism of the grid.
    pub(super) fn epsilon(&self, delta: f64, window: &Window) -> Result<f64, Miss> {
        let sums = self.tilted_sum(window).ok_or(Miss::Lost)?;
        let (mut infinite, mut steps_in_all, mut span) = (0.0, 0.0, 0.0);
        for (losses, steps) in &self.parts {
            let steps = *steps as f64;
            infinite += steps * losses.infinite;
            steps_in_all += steps;
            span += steps * self.width * losses.masses.len() as f64;
        }
        // Losses are relative to the tilted mean from here on.
        let centre = window.centre;
        let scale = (window.ln_moment - window.tilt * self.width * window.mean).exp();
        // Every step's masses are good to a few units in the last place of the smaller tail.
        let scale = scale * (1.0 + 64.0 * f64::EPSILON * steps_in_all);
        let allowed = (delta - infinite - window.above) / scale;
        if !(allowed.is_finite() && allowed > 0.0 && scale.is_normal()) {
            return Err(Miss::Lost);
        }
        let loss_at =
            |position: usize| self.width * ((window.first as f64 - window.mean) + position as f64);
        let (tilt, width) = (window.tilt, self.width);
        // Losses are good to a few units in the last place of all that was added up.
        let rounding = span * 8.0 * f64::EPSILON;
        let floor = -centre - rounding;
        let found = last_within(&sums, allowed, tilt, width, loss_at, floor);
        match found.ok_or(Miss::Below)? {
            lowest if lowest <= floor => Ok(0.0),
            found => Ok(found + centre + rounding),
        }
    }
}

/// The product of the transforms' powers, frequency by frequency, but for one factor of number `less`.
fn all_but_one(transforms: &[(Vec<Complex<f64>>, u64)], less: usize) -> Vec<Complex<f64>> {
    let mut product = Vec::new();
    for (one, (output, steps)) in transforms.iter().enumerate() {
        product.resize(output.len(), Complex::new(1.0, 0.0));
        let steps = steps - u64::from(less == one);
        for (all, one) in product.iter_mut().zip(output) {
            *all *= power(*one, steps);
        }
    }
    product
}

/// The Euclidean norm over all frequencies of a real signal, of which half are given.
fn euclidean(half: &[Complex<f64>]) -> f64 {
    (2.0 * half.iter().map(Complex::norm_sqr).sum::<f64>()).sqrt()
}

/// Goes down from the highest loss. With S = Σ m e^(-λl) over the losses above ε, and R = the same
/// sum with a further factor e^(ε-l), δ(ε) is S - R. Returns the ε where it is `allowed`, or `floor`
/// if that is higher; `None` if the losses end first. Both sums are moved to the safe side by what
/// their rounding errors come to: where ε is tiny, nearly nothing is left of their difference.
#[expect(clippy::cast_precision_loss, reason = "a number of points")]
fn last_within(
    sums: &[f64],
    allowed: f64,
    tilt: f64,
    width: f64,
    loss_at: impl Fn(usize) -> f64,
    floor: f64,
) -> Option<f64> {
    let decay = (-width).exp();
    let tolerance = 4.0 * f64::EPSILON * sums.len() as f64;
    // R is kept for ε at the point that is looked at: it never leaves the range of f64.
    let (mut above, mut discounted) = (0.0, 0.0);
    for (position, mass) in sums.iter().enumerate().rev() {
        let loss = loss_at(position);
        let (most, least) = (above * (1.0 + tolerance), discounted * (1.0 - tolerance));
        // The solution for the losses above this one holds if it is not below this one.
        if loss <= floor || most - least > allowed {
            let crossing = if most > allowed {
                loss + ((most - allowed) / least).ln()
            } else {
                floor
            };
            return Some(crossing.max(floor));
        }
        let weight = mass * (-tilt * loss).exp();
        above += weight;
        discounted = (discounted + weight) * decay;
    }
    None
}

/// Where an increasing function on (0, `most`), given with its derivative in the logarithm of its
/// argument, is 0: Newton's method within a bracket. Approximate, and an end of the range where there
/// is no root: all that is sought here makes a valid bound wherever it is.
fn increasing_root(start: f64, most: f64, f: impl Fn(f64) -> (f64, f64)) -> f64 {
    let (mut low, mut high) = (0.0, most);
    let mut x = start.min(most);
    for _ in 0..60 {
        let (value, slope) = f(x);
        if value < 0.0 {
            low = x;
        } else {
            high = x;
        }
        let newton = x * (-value / slope).clamp(-2.0, 2.0).exp();
        let next = if newton > low && newton < high {
            newton
        } else if low > 0.0 {
            (low * high).sqrt()
        } else {
            0.1 * high
        };
        if (next / x - 1.0).abs() < 1e-3 {
            break;
        }
        x = next;
    }
    x
}

/// `base` to the power of `exponent`, by squaring.
fn power(base: Complex<f64>, mut exponent: u64) -> Complex<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a threshold")]
    if 0.5 * base.norm_sqr().ln() * (exponent as f64) < LN_NEGLIGIBLE {
        return Complex::new(0.0, 0.0);
    }
    let mut result = Complex::new(1.0, 0.0);
    let mut square = base;
    while exponent > 0 {
        if exponent & 1 == 1 {
            result *= square;
        }
        exponent >>= 1;
        if exponent > 0 {
            square *= square;
        }
    }
    result
}

/// The next number from `least` on that is 4, 5 or 6 times a power of two.
fn even_and_smooth(least: usize) -> usize {
    let candidates = |range: Range<u32>| range.flat_map(|k| [4, 5, 6].map(|m| m << k));
    candidates(2..60)
        .find(|candidate| *candidate >= least)
        .unwrap_or(least + least % 2)
}
