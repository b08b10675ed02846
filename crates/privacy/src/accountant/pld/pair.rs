//! Dominating pairs of distributions, and the privacy loss between them.
//!
//! A pair (P, Q) dominates a mechanism if no event tells two neighbouring data sets apart better
//! than P and Q: E\_γ(M(D) ‖ M(D')) ≤ E\_γ(P ‖ Q) for every γ ≥ 0, E\_γ being the hockey-stick
//! divergence. Pairs compose: the product of the steps' pairs dominates the steps together, even if
//! later steps are chosen by what earlier ones released (Zhu, Dong, Wang, "Optimal Accounting of
//! Differential Privacy via Characteristic Function", AISTATS 2022, Theorem 10).
//!
//! All pairs here are mixtures on the line, (a, b) being (q, 0), (0, q), (q, q) or (1, 0):
//!
//! > P = (1-a) N(0, σ²) + a N(1, σ²), Q = (1-b) N(0, σ²) + b N(-1, σ²).
//!
//! The privacy loss L(x) = ln(P(x) / Q(x)) increases with x in all of them.

use crate::accountant::numeric::{ln_expm1, softplus};

/// Which of two neighbouring data sets P stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// P is the data set with the record, Q the one without.
    Remove,
    /// P is the data set without the record.
    Add,
    /// Both have a record in its place. The pair is its own mirror image.
    Replace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Without sampling: N(1, σ²) against N(0, σ²), in both directions.
    Gaussian,
    Sampled(Direction),
}

/// One dominating pair.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair {
    kind: Kind,
    q: f64,
    sigma: f64,
    /// ln(q / (1-q)).
    ln_odds: f64,
}

/// Probabilities of one cell of losses.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cell {
    /// P's mass.
    pub(super) mass: f64,
    /// What moves to the cell's upper end, of that mass.
    pub(super) upper: f64,
}

/// Where a boundary of cells is, and the tails of the three normal distributions beyond it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Boundary {
    /// The loss there, less [`Pair::offset`].
    excess: f64,
    /// For the means -1, 0 and 1.
    tails: [Tail; 3],
}

/// The smaller of a normal distribution's two tails at a point, and which one it is.
#[derive(Debug, Clone, Copy, Default)]
struct Tail {
    mass: f64,
    upper: bool,
}

impl Tail {
    /// At `z` standard deviations above the mean.
    fn new(z: f64) -> Self {
        Self {
            mass: 0.5 * libm::erfc(z.abs() * core::f64::consts::FRAC_1_SQRT_2),
            upper: z >= 0.0,
        }
    }

    /// Mass between here and `above`, from the tails that do not cancel.
    fn until(self, above: Self) -> f64 {
        let mass = match (self.upper, above.upper) {
            (true, _) => self.mass - above.mass,
            (false, false) => above.mass - self.mass,
            (false, true) => 1.0 - self.mass - above.mass,
        };
        mass.max(0.0)
    }

    fn above(self) -> f64 {
        if self.upper {
            self.mass
        } else {
            1.0 - self.mass
        }
    }

    fn below(self) -> f64 {
        if self.upper {
            1.0 - self.mass
        } else {
            self.mass
        }
    }
}

impl Pair {
    /// N(1, σ²) against N(0, σ²) for σ = 1 / `mu`: what Gaussian steps without sampling come to.
    pub(super) fn gaussian(mu: f64) -> Self {
        Self {
            kind: Kind::Gaussian,
            q: 1.0,
            sigma: mu.recip(),
            ln_odds: f64::INFINITY,
        }
    }

    /// One step of the Gaussian mechanism on a Poisson sample, 0 < `q` < 1.
    ///
    /// - Adding and removing: Zhu, Dong, Wang 2022, Theorem 11.
    /// - Replacing: the pair of Koskela, Jälkö, Honkela, "Computing Tight Differential Privacy
    ///   Guarantees Using FFT", AISTATS 2020, section 5, who assume that it is the worst one. It is:
    ///   let the two records contribute g and g', both of norm 1 or less. For γ ≥ 1, advanced joint
    ///   convexity (Balle, Barthe, Gaboardi 2018, Theorem 2) makes the divergence
    ///   q E\_γ'(N(g) ‖ (1-β) N(0) + β N(g')), which is E\[φ((1-β) e^(U - Var U / 2) +
    ///   β e^(V - Var V / 2))\] for a convex φ and Gaussian (U, V) with Var U = |g|², Var V =
    ///   |g-g'|² and Cov(U, V) = |g|² - g·g' over σ². By Kahane's inequality (1986) it grows with
    ///   each of the three, and g' = -g of norm 1 makes all three largest at once. For γ < 1,
    ///   E\_γ(P ‖ Q) = 1 - γ + γ E\_{1/γ}(Q ‖ P), and the two records change places.
    pub(super) fn sampled(direction: Direction, q: f64, sigma: f64) -> Self {
        Self {
            kind: Kind::Sampled(direction),
            q,
            sigma,
            ln_odds: q.ln() - (-q).ln_1p(),
        }
    }

    /// The loss where the records' own components vanish: ln((1-a) / (1-b)). Losses are measured
    /// from here, as most of a small sample's mass is close by.
    pub(super) fn offset(&self) -> f64 {
        match self.kind {
            Kind::Gaussian | Kind::Sampled(Direction::Replace) => 0.0,
            Kind::Sampled(Direction::Remove) => (-self.q).ln_1p(),
            Kind::Sampled(Direction::Add) => -(-self.q).ln_1p(),
        }
    }

    /// Losses, less [`Self::offset`], between which P has all its mass but `tail` at most on
    /// either side.
    pub(super) fn range(&self, tail: f64) -> (f64, f64) {
        // P(N(0,1) > z) ≤ e^(-z²/2) / 2.
        let reach = |mass: f64| self.sigma * (2.0 * mass.max(1.0).ln()).sqrt();
        let (low, high) = match self.kind {
            Kind::Gaussian => (1.0 - reach(tail.recip()), 1.0 + reach(tail.recip())),
            Kind::Sampled(Direction::Add) => (-reach(tail.recip()), reach(tail.recip())),
            Kind::Sampled(_) => (
                -reach(tail.recip()),
                reach(tail.recip()).max(1.0 + reach(self.q / tail)),
            ),
        };
        (self.excess(low), self.excess(high))
    }

    /// The loss at `x`, less [`Self::offset`].
    fn excess(&self, x: f64) -> f64 {
        let exponent = |x: f64| (2.0 * x - 1.0) / (2.0 * self.sigma * self.sigma);
        let remove = |x: f64| softplus(self.ln_odds + exponent(x));
        match self.kind {
            Kind::Gaussian => exponent(x),
            Kind::Sampled(Direction::Remove) => remove(x),
            Kind::Sampled(Direction::Add) => -remove(-x),
            Kind::Sampled(Direction::Replace) => remove(x) - remove(-x),
        }
    }

    /// Where the loss, less [`Self::offset`], is `excess`: the inverse of [`Self::excess`].
    fn point(&self, excess: f64) -> f64 {
        let variance = self.sigma * self.sigma;
        let remove = |excess: f64| {
            if excess <= 0.0 {
                f64::NEG_INFINITY
            } else {
                0.5 + variance * (ln_expm1(excess) - self.ln_odds)
            }
        };
        match self.kind {
            Kind::Gaussian => 0.5 + variance * excess,
            Kind::Sampled(Direction::Remove) => remove(excess),
            Kind::Sampled(Direction::Add) => -remove(-excess),
            Kind::Sampled(Direction::Replace) => {
                // With t = e^(x/σ²) and E = e^L the loss is a quadratic equation in t, whose one
                // positive root is √E e^asinh(u), u = sinh(L/2) (1-q)/q e^(1/2σ²).
                let half = excess.abs() / 2.0;
                if half == 0.0 {
                    return 0.0;
                }
                let ln_2u = ln_expm1(2.0 * half) - half - self.ln_odds + 0.5 / variance;
                let asinh = if ln_2u > 40.0 {
                    ln_2u
                } else {
                    (0.5 * ln_2u.exp()).asinh()
                };
                (variance * (half + asinh)).copysign(excess)
            }
        }
    }

    /// The boundary at a loss of [`Self::offset`] + `excess`.
    pub(super) fn boundary(&self, excess: f64) -> Boundary {
        let x = self.point(excess);
        let (a, b) = self.weights();
        let tail = |used: bool, mean: f64| {
            if used {
                Tail::new((x - mean) / self.sigma)
            } else {
                Tail::default()
            }
        };
        Boundary {
            excess,
            tails: [
                tail(b > 0.0, -1.0),
                tail(a < 1.0 || b < 1.0, 0.0),
                tail(a > 0.0, 1.0),
            ],
        }
    }

    /// P's mass above `boundary`.
    pub(super) fn mass_above(&self, boundary: &Boundary) -> f64 {
        let (a, _) = self.weights();
        let [_, centre, plus] = boundary.tails;
        (1.0 - a) * centre.above() + a * plus.above()
    }

    /// P's mass below `boundary`.
    pub(super) fn mass_below(&self, boundary: &Boundary) -> f64 {
        let (a, _) = self.weights();
        let [_, centre, plus] = boundary.tails;
        (1.0 - a) * centre.below() + a * plus.below()
    }

    /// The cell between two boundaries, replaced by its two ends so that both P's and Q's mass stay
    /// ("connect the dots", Doroshenko, Ghazi, Kamath, Kumar, Manurangsi 2022): losses inside are
    /// spread outwards, which no hockey-stick divergence decreases.
    pub(super) fn cell(&self, below: &Boundary, above: &Boundary) -> Cell {
        let (a, b) = self.weights();
        let [minus, centre, plus] = core::array::from_fn(|i| below.tails[i].until(above.tails[i]));
        let mass = (1.0 - a) * centre + a * plus;
        // P - e^lower Q over the cell; what is common to both, in one term that does not cancel.
        let lower = (self.offset() + below.excess).exp();
        let common = match self.kind {
            Kind::Gaussian => -lower,
            Kind::Sampled(_) => -(1.0 - a) * below.excess.exp_m1(),
        };
        let over = common * centre + a * plus - lower * b * minus;
        let upper = over / -(below.excess - above.excess).exp_m1();
        Cell {
            mass,
            upper: upper.clamp(0.0, mass),
        }
    }

    fn weights(&self) -> (f64, f64) {
        match self.kind {
            Kind::Gaussian => (1.0, 0.0),
            Kind::Sampled(Direction::Remove) => (self.q, 0.0),
            Kind::Sampled(Direction::Add) => (0.0, self.q),
            Kind::Sampled(Direction::Replace) => (self.q, self.q),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs() -> Vec<Pair> {
        let mut pairs = vec![Pair::gaussian(0.01), Pair::gaussian(3.0)];
        for direction in [Direction::Remove, Direction::Add, Direction::Replace] {
            for (q, sigma) in [(1e-4, 0.4), (0.01, 1.0), (0.5, 20.0), (0.999, 0.1)] {
                pairs.push(Pair::sampled(direction, q, sigma));
            }
        }
        pairs
    }

    /// ln of a density of the mixture, up to the constant that both share.
    fn ln_density(x: f64, weight: f64, mean: f64, sigma: f64) -> f64 {
        let term =
            |weight: f64, mean: f64| weight.ln() - (x - mean).powi(2) / (2.0 * sigma * sigma);
        let (s, t) = (term(1.0 - weight, 0.0), term(weight, mean));
        s.max(t) + (-(s - t).abs()).exp().ln_1p()
    }

    #[test]
    fn losses_are_the_logarithm_of_the_ratio_and_are_inverted() {
        for pair in pairs() {
            let (a, b) = pair.weights();
            for z in [-6.0, -1.0, -0.2, 0.0, 0.3, 1.0, 2.0, 8.0] {
                let x = 0.3 + z * pair.sigma;
                let direct = if pair.kind == Kind::Gaussian {
                    (2.0 * x - 1.0) / (2.0 * pair.sigma * pair.sigma)
                } else {
                    ln_density(x, a, 1.0, pair.sigma) - ln_density(x, b, -1.0, pair.sigma)
                };
                let loss = pair.offset() + pair.excess(x);
                assert!(
                    (loss - direct).abs() < 1e-9 * (1.0 + direct.abs()),
                    "{pair:?} at {x}: {loss} {direct}"
                );
                // Where the loss is flat, or is lost in the offset, the point is not to be had back.
                let again = pair.excess(pair.point(pair.excess(x)));
                assert!(
                    (again - pair.excess(x)).abs() <= 1e-12 * again.abs(),
                    "{pair:?} at {x}: {again}"
                );
            }
        }
    }

    #[test]
    fn cells_keep_both_masses() {
        for pair in pairs() {
            let (a, b) = pair.weights();
            let (low, high) = pair.range(1e-12);
            let cells = 200_u16;
            let width = (high - low) / f64::from(cells);
            let boundaries: Vec<Boundary> = (0..=cells)
                .map(|i| pair.boundary(low + width * f64::from(i)))
                .collect();
            let (mut p, mut q) = (0.0, 0.0);
            for ends in boundaries.windows(2) {
                let cell = pair.cell(&ends[0], &ends[1]);
                assert!(cell.upper >= 0.0 && cell.upper <= cell.mass);
                p += cell.mass;
                let loss = |end: &Boundary| -(pair.offset() + end.excess);
                q += (cell.mass - cell.upper) * loss(&ends[0]).exp()
                    + cell.upper * loss(&ends[1]).exp();
            }
            let (first, last) = (&boundaries[0], &boundaries[usize::from(cells)]);
            let outside = pair.mass_below(first) + pair.mass_above(last);
            assert!((p + outside - 1.0).abs() < 1e-12, "{pair:?}: {p}");
            let q_outside = {
                let [minus, centre, _] = first.tails;
                let below =
                    (1.0 - b) * centre.below() + if b > 0.0 { b * minus.below() } else { 0.0 };
                let [minus, centre, _] = last.tails;
                below + (1.0 - b) * centre.above() + if b > 0.0 { b * minus.above() } else { 0.0 }
            };
            assert!(
                (q + q_outside - 1.0).abs() < 1e-9,
                "{pair:?} {a}: {q} {q_outside}"
            );
        }
    }
}
