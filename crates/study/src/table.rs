//! A table of measured figures.

use serde::Serialize;
use undertone_training::Metrics;

/// How numbers of a column are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// Words, to the left.
    Text,
    /// Fractions of 1, as per cent with so many decimals.
    Percent(usize),
    /// Numbers with so many decimals.
    Number(usize),
    /// An upper bound with so many decimals, rounded up: what is shown is never below it.
    UpperBound(usize),
    /// A lower bound with so many decimals, rounded down.
    LowerBound(usize),
    /// Counts.
    Count,
    /// In scientific notation, with so many decimals of the mantissa.
    Scientific(usize),
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Column {
    /// Its heading, with the unit.
    pub name: String,
    /// How its numbers are written.
    pub form: Form,
}

impl Column {
    /// A column with this heading.
    pub fn new(name: impl Into<String>, form: Form) -> Self {
        let name = name.into();
        Self { name, form }
    }
}

/// Mean and spread over runs that differ in their seed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The sample standard deviation (n - 1 below), 0 for one run.
    pub deviation: f64,
    /// The smallest.
    pub least: f64,
    /// The largest.
    pub most: f64,
    /// How many runs.
    pub runs: usize,
}

impl Spread {
    /// Of the figures of all runs; `None` without one.
    #[allow(clippy::cast_precision_loss, reason = "there are few runs")]
    pub fn of(figures: &[f64]) -> Option<Self> {
        let runs = figures.len();
        if runs == 0 {
            return None;
        }
        let mean = figures.iter().sum::<f64>() / runs as f64;
        let squares: f64 = figures.iter().map(|x| (x - mean).powi(2)).sum();
        Some(Self {
            mean,
            deviation: (squares / (runs - 1).max(1) as f64).sqrt(),
            least: figures.iter().copied().fold(f64::INFINITY, f64::min),
            most: figures.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            runs,
        })
    }
}

/// Accuracy, AUC and loss over the runs.
pub(crate) fn figures(metrics: &[Metrics]) -> [Cell; 3] {
    let over =
        |figure: fn(&Metrics) -> f64| Cell::over(&metrics.iter().map(figure).collect::<Vec<_>>());
    [
        over(|m| m.accuracy),
        over(|m| m.auc.unwrap_or(f64::NAN)),
        over(|m| m.loss),
    ]
}

/// One cell.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Cell {
    /// Words.
    Text(String),
    /// One number, the same in every run or measured once.
    Number(f64),
    /// Mean and spread.
    Spread(Spread),
    /// Nothing: the figure does not exist for this row.
    Empty(()),
}

impl Cell {
    /// No figure.
    pub const EMPTY: Self = Self::Empty(());

    /// Mean and spread of the figures of all runs.
    pub fn over(figures: &[f64]) -> Self {
        Spread::of(figures).map_or(Self::EMPTY, Self::Spread)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<f64> for Cell {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

/// A table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Table {
    /// What it shows.
    pub title: String,
    /// What was the same in all rows, by name.
    pub settings: Vec<(String, String)>,
    /// The columns.
    pub columns: Vec<Column>,
    /// The rows, each with a cell for each column.
    pub rows: Vec<Vec<Cell>>,
    /// What a reader should know besides, a sentence or two each.
    pub notes: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::float_cmp, reason = "small whole numbers are exact")]
    fn mean_and_deviation_are_those_of_a_sample() {
        let spread = Spread::of(&[1.0, 3.0, 5.0]).unwrap();
        // Squares 4, 0, 4 over 2.
        assert_eq!((spread.mean, spread.deviation), (3.0, 2.0));
        assert_eq!((spread.least, spread.most, spread.runs), (1.0, 5.0, 3));
        let one = Spread::of(&[7.0]).unwrap();
        assert_eq!((one.mean, one.deviation, one.runs), (7.0, 0.0, 1));
        assert_eq!(Spread::of(&[]), None);
    }
}
