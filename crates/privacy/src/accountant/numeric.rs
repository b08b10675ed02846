//! Elementary functions that stay accurate where their plain forms leave the range of `f64`.

use core::f64::consts::PI;

/// ln(e^a + e^b).
pub(super) fn ln_add(a: f64, b: f64) -> f64 {
    let (small, large) = if a < b { (a, b) } else { (b, a) };
    if small == f64::NEG_INFINITY || large == f64::INFINITY {
        return large;
    }
    large + (small - large).exp().ln_1p()
}

/// ln erfc(x), also where erfc(x) itself is below the smallest `f64`.
pub(super) fn ln_erfc(x: f64) -> f64 {
    // erfc underflows from x = 26.5 on. At 20 the first omitted term of the asymptotic series is
    // below 1e-11 relative to the leading 1.
    if x < 20.0 {
        return libm::erfc(x).ln();
    }
    let u = 1.0 / (2.0 * x * x);
    let series = 1.0 - u * (1.0 - 3.0 * u * (1.0 - 5.0 * u * (1.0 - 7.0 * u)));
    -x * x - (x * PI.sqrt()).ln() + series.ln()
}

/// ln(e^x - 1) for x > 0.
pub(super) fn ln_expm1(x: f64) -> f64 {
    if x < 1.0 {
        x.exp_m1().ln()
    } else {
        x + (-(-x).exp()).ln_1p()
    }
}

/// ln(1 + e^x).
pub(super) fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ln_erfc_is_continuous_where_the_formula_changes() {
        // d/dx ln erfc(x) is about -2x - 1/x: at 20, over 2e-9, about 8e-8.
        let step = ln_erfc(20.0 - 1e-9) - ln_erfc(20.0 + 1e-9);
        assert!((step - 2e-9 * 40.05).abs() < 1e-10, "{step}");
        // Known value: erfc(30) = 2.564656203756112e-393.
        let exact = 2.564_656_203_756_112_f64.ln() - 393.0 * core::f64::consts::LN_10;
        assert!((ln_erfc(30.0) - exact).abs() < 1e-10);
    }
}
