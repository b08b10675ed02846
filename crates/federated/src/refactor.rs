//! Plain LoRA trains both factors of its update `B A`, and the product of the averaged factors is
//! not the average of the products. This is the best factorisation of that average at the rank.
//!
//! It needs each client's factors, or the sum of their `d x d` products: neither is what a secure
//! sum of the factors gives. It is here to be compared with; FFA-LoRA (Sun et al., ICLR 2024) makes
//! averaging exact at no such cost.

use nalgebra::DMatrix;

use crate::error::{FederatedError, same_length};

/// The factors of one client's update: `B A`.
#[derive(Debug, Clone, Copy)]
pub struct Factors<'a> {
    /// B, `[rows, rank]`, row-major.
    pub b: &'a [f32],
    /// A, `[rank, columns]`, row-major.
    pub a: &'a [f32],
}

/// Rows of B, columns of A, and the rank between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Rows of B and of the product.
    pub rows: usize,
    /// Columns of A and of the product.
    pub columns: usize,
    /// Columns of B and rows of A, at least 1.
    pub rank: usize,
}

/// The factors, of the same rank, whose product is nearest (in the Frobenius norm) to the weighted
/// average of the clients' products: B `[rows, rank]` and A `[rank, columns]`, row-major.
///
/// `clients` are weights above 0 and factors. The average is `[w_1 B_1 .. w_n B_n] [A_1; ..; A_n]`;
/// with QR of both, `Q_b (R_b R_a^T) Q_a^T`, and only the small matrix in the middle is decomposed.
/// The singular values are shared out between the factors by their roots. The sign of each pair of
/// singular vectors is fixed: the largest entry of B's column is positive.
///
/// # Errors
/// [`FederatedError::Length`] if a factor has another shape, [`FederatedError::Setting`] without a
/// client or with a weight that is not above 0, [`FederatedError::NotFinite`] if a value is not
/// finite.
pub fn average(
    clients: &[(f64, Factors<'_>)],
    shape: Shape,
) -> Result<(Vec<f32>, Vec<f32>), FederatedError> {
    let Shape {
        rows,
        columns,
        rank,
    } = shape;
    let total: f64 = clients.iter().map(|(weight, _)| weight).sum();
    let lightest = clients
        .iter()
        .map(|(weight, _)| *weight)
        .fold(total, f64::min);
    if !(lightest > 0.0 && total.is_finite()) {
        return Err(FederatedError::Setting {
            name: "the weight of a client",
            value: lightest,
            range: "above 0, and at least one client is needed",
        });
    }
    for (_, factors) in clients {
        same_length(rows * rank, factors.b.len())?;
        same_length(rank * columns, factors.a.len())?;
        if !factors
            .a
            .iter()
            .chain(factors.b)
            .all(|value| value.is_finite())
        {
            return Err(FederatedError::NotFinite("a factor"));
        }
    }
    let width = clients.len() * rank;
    let of = |column: usize| clients.get(column / rank.max(1));
    let entry = |values: &[f32], at: usize| values.get(at).copied().map_or(0.0, f64::from);
    let b = DMatrix::from_fn(rows, width, |row, column| {
        of(column).map_or(0.0, |(weight, factors)| {
            weight / total * entry(factors.b, row * rank + column % rank)
        })
    });
    let a = DMatrix::from_fn(columns, width, |row, column| {
        of(column).map_or(0.0, |(_, factors)| {
            entry(factors.a, column % rank * columns + row)
        })
    });
    let (b, a) = (b.qr(), a.qr());
    let core = b.r() * a.r().transpose();
    let svd = core
        .try_svd(true, true, f64::EPSILON, 0)
        .ok_or(FederatedError::NotFinite("the decomposition"))?;
    let (Some(u), Some(v)) = (&svd.u, &svd.v_t) else {
        return Err(FederatedError::NotFinite("the decomposition"));
    };
    let (left, right) = (b.q() * u, v * a.q().transpose());
    let mut out = (vec![0.0; rows * rank], vec![0.0; rank * columns]);
    let largest = svd.singular_values.iter().copied().enumerate().take(rank);
    for (at, value) in largest {
        let column = left.column(at);
        let peak = column.iter().copied().fold(
            0.0,
            |peak: f64, x| if x.abs() > peak.abs() { x } else { peak },
        );
        let root = value.max(0.0).sqrt() * if peak < 0.0 { -1.0 } else { 1.0 };
        for (place, x) in out.0.iter_mut().skip(at).step_by(rank).zip(column.iter()) {
            *place = crate::optimizer::narrow(root * x);
        }
        let places = out.1.iter_mut().skip(at * columns);
        for (place, x) in places.zip(right.row(at).iter()) {
            *place = crate::optimizer::narrow(root * x);
        }
    }
    Ok(out)
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "there are few clients")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn product(b: &[f32], a: &[f32], shape: Shape) -> Vec<f64> {
        let mut out = vec![0.0; shape.rows * shape.columns];
        for row in 0..shape.rows {
            for column in 0..shape.columns {
                out[row * shape.columns + column] = (0..shape.rank)
                    .map(|k| {
                        f64::from(b[row * shape.rank + k])
                            * f64::from(a[k * shape.columns + column])
                    })
                    .sum();
            }
        }
        out
    }

    fn distance(x: &[f64], y: &[f64]) -> f64 {
        x.iter()
            .zip(y)
            .map(|(x, y)| (x - y).powi(2))
            .sum::<f64>()
            .sqrt()
    }

    /// Two clients of rank 1 in two dimensions: products [[8, 0], [0, 0]] and [[0, 0], [0, 2]],
    /// whose average is diag(4, 1). The best of rank 1 is [[4, 0], [0, 0]] = [2; 0] [2, 0]; averaged
    /// factors (B = [2; 0.5], A = [1, 1]) would give [[2, 2], [0.5, 0.5]] instead.
    #[test]
    fn two_orthogonal_clients_by_hand() {
        let shape = Shape {
            rows: 2,
            columns: 2,
            rank: 1,
        };
        let first = Factors {
            b: &[4.0, 0.0],
            a: &[2.0, 0.0],
        };
        let second = Factors {
            b: &[0.0, 1.0],
            a: &[0.0, 2.0],
        };
        let (b, a) = average(&[(1.0, first), (1.0, second)], shape).unwrap();
        for (found, expected) in b.iter().chain(&a).zip([2.0, 0.0, 2.0, 0.0]) {
            assert!((found - expected).abs() < 1e-6, "{b:?} {a:?}");
        }
        // With nine times the weight the second is the larger: diag(0.8, 1.8), its root 1.341641.
        let (b, a) = average(&[(1.0, first), (9.0, second)], shape).unwrap();
        for (found, expected) in b.iter().chain(&a).zip([0.0, 1.341_641, 0.0, 1.341_641]) {
            assert!((found - expected).abs() < 1e-6, "{b:?} {a:?}");
        }
    }

    #[test]
    fn wrong_input_is_refused() {
        let shape = Shape {
            rows: 1,
            columns: 1,
            rank: 1,
        };
        let good = Factors {
            b: &[1.0],
            a: &[1.0],
        };
        let long = Factors {
            b: &[1.0, 2.0],
            a: &[1.0],
        };
        let broken = Factors {
            b: &[f32::NAN],
            a: &[1.0],
        };
        assert!(average(&[], shape).is_err());
        assert!(average(&[(0.0, good)], shape).is_err());
        assert!(average(&[(1.0, long)], shape).is_err());
        assert_eq!(
            average(&[(1.0, broken)], shape),
            Err(FederatedError::NotFinite("a factor"))
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// One client's product is kept; of several, no other client's and no averaged factors are
        /// nearer to the average; and zero factors, as at the start, give zero.
        #[test]
        fn it_is_exact_for_one_and_never_worse_than_averaged_factors(
            values in proptest::collection::vec(-1.0..1.0_f32, 3 * 2 * (5 + 4)), count in 1_usize..4,
        ) {
            let shape = Shape { rows: 5, columns: 4, rank: 2 };
            let clients: Vec<_> = values.chunks(18).take(count)
                .map(|values| (1.0, Factors { b: &values[..10], a: &values[10..] })).collect();
            let (b, a) = average(&clients, shape).unwrap();
            let found = product(&b, &a, shape);
            let n = f64::from(u32::try_from(count).unwrap());
            let mut mean = vec![0.0; 20];
            let (mut mean_b, mut mean_a) = (vec![0.0_f32; 10], vec![0.0_f32; 8]);
            for (_, factors) in &clients {
                mean.iter_mut().zip(product(factors.b, factors.a, shape)).for_each(|(m, x)| *m += x / n);
                mean_b.iter_mut().zip(factors.b).for_each(|(m, x)| *m += x / n as f32);
                mean_a.iter_mut().zip(factors.a).for_each(|(m, x)| *m += x / n as f32);
            }
            let naive = product(&mean_b, &mean_a, shape);
            prop_assert!(distance(&found, &mean) <= distance(&naive, &mean) + 1e-5);
            if count == 1 {
                prop_assert!(distance(&found, &mean) < 1e-5);
            }
            let zeros = [(1.0, Factors { b: &[0.0; 10], a: &values[..8] })];
            let (b, _) = average(&zeros, shape).unwrap();
            prop_assert!(b.iter().all(|x| *x == 0.0));
        }
    }
}
