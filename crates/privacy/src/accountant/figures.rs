//! One set of steps by every accountant, side by side.

use serde::Serialize;

use crate::accountant::event::Event;
use crate::accountant::{GdpAccountant, PldAccountant, RdpAccountant, gdp, pld, rdp};
use crate::error::PrivacyError;
use crate::statement::{Adjacency, PrivacyStatement, PrivacyUnit};
use crate::units::{Delta, Epsilon};

/// What a figure may be quoted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Meaning {
    /// The true ε is never above it.
    UpperBound,
    /// It is the true ε, rounded up.
    Exact,
    /// The true ε may be above it: not to be promised.
    Estimate,
}

/// ε by every accountant; `None` where an accountant has none.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Epsilons {
    /// By Rényi divergences.
    pub rdp: Option<f64>,
    /// By privacy loss distributions.
    pub pld: Option<f64>,
    /// By Gaussian differential privacy.
    pub gdp: Option<f64>,
}

/// What each of [`Epsilons`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Meanings {
    /// That of `rdp`.
    pub rdp: Meaning,
    /// That of `pld`.
    pub pld: Meaning,
    /// That of `gdp`.
    pub gdp: Meaning,
}

/// Steps of any mechanisms, composed, at one δ, by every accountant.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// ε.
    pub epsilon: Epsilons,
    /// What each ε is.
    pub meaning: Meanings,
    /// δ.
    pub delta: Delta,
    /// Which data sets count as neighbours.
    pub adjacency: Adjacency,
    /// What was composed.
    pub events: Vec<Event>,
    /// Rényi order at which the first figure is reached.
    pub renyi_order: Option<f64>,
    /// Why a figure is missing.
    pub notes: Vec<String>,
}

impl Figures {
    /// Composes `events` with every accountant.
    ///
    /// # Errors
    /// No accountant has a finite upper bound.
    pub fn of(events: &[Event], delta: Delta, adjacency: Adjacency) -> Result<Self, PrivacyError> {
        let mut notes = Vec::new();
        let mut by_rdp = RdpAccountant::under(adjacency);
        let mut by_pld = Ok(PldAccountant::new(adjacency));
        let mut by_gdp = Ok(GdpAccountant::new(adjacency));
        for event in events {
            by_rdp.compose(event);
            by_pld = by_pld.and_then(|mut all| all.compose(event).map(|()| all));
            by_gdp = by_gdp.and_then(|mut all| all.compose(event).map(|()| all));
        }
        let mut figure = |name: &str, result: Result<Epsilon, PrivacyError>| match result {
            Ok(epsilon) => Some(epsilon.get()),
            Err(error) => {
                notes.push(format!("{name}: {error}"));
                None
            }
        };
        let rdp = figure("rdp", by_rdp.epsilon(delta));
        let pld = figure("pld", by_pld.and_then(|all| all.epsilon(delta)));
        let exact = by_gdp.as_ref().is_ok_and(GdpAccountant::is_exact);
        let gdp = figure("gdp", by_gdp.and_then(|all| all.epsilon(delta)));
        if rdp.is_none() && pld.is_none() {
            return Err(PrivacyError::NoFiniteEpsilon { delta: delta.get() });
        }
        let meaning = Meanings {
            rdp: Meaning::UpperBound,
            pld: Meaning::UpperBound,
            gdp: if exact {
                Meaning::Exact
            } else {
                Meaning::Estimate
            },
        };
        Ok(Self {
            epsilon: Epsilons { rdp, pld, gdp },
            meaning,
            delta,
            adjacency,
            events: events.to_vec(),
            renyi_order: rdp.and_then(|_| by_rdp.optimal_order(delta).ok()),
            notes,
        })
    }

    /// The guarantee in full, by the tightest accountant that has an upper bound.
    ///
    /// # Errors
    /// A figure is not a valid ε (never, for figures from [`Self::of`]).
    pub fn statement(&self, unit: PrivacyUnit) -> Result<PrivacyStatement, PrivacyError> {
        let candidates = [(self.epsilon.pld, pld::NAME), (self.epsilon.rdp, rdp::NAME)];
        let best = candidates
            .into_iter()
            .filter_map(|(epsilon, name)| Some((epsilon?, name)))
            .min_by(|a, b| a.0.total_cmp(&b.0));
        let (epsilon, accountant) = best.ok_or(PrivacyError::NoFiniteEpsilon {
            delta: self.delta.get(),
        })?;
        let mechanisms: Vec<String> = self.events.iter().map(Event::to_string).collect();
        Ok(PrivacyStatement {
            epsilon: Epsilon::new(epsilon)?,
            delta: self.delta,
            adjacency: self.adjacency,
            unit,
            view: None,
            accountant: accountant.to_owned(),
            mechanism: mechanisms.join(", then "),
        })
    }

    /// The figures as rows of a table: accountant, ε rounded up (or why there is none), meaning.
    pub fn rows(&self) -> [[String; 3]; 3] {
        let row = |key: &str, name: &str, epsilon: Option<f64>, meaning: Meaning| {
            let missing = || {
                let prefix = format!("{key}: ");
                let why = self
                    .notes
                    .iter()
                    .find_map(|note| note.strip_prefix(&prefix));
                why.unwrap_or("not computed").to_owned()
            };
            let shown = epsilon.and_then(|epsilon| Epsilon::new(epsilon).ok());
            let meaning = match (shown, meaning) {
                (None, _) => missing(),
                (_, Meaning::UpperBound) => "upper bound".to_owned(),
                (_, Meaning::Exact) => "exact".to_owned(),
                (_, Meaning::Estimate) => "estimate, not a bound".to_owned(),
            };
            let epsilon = shown.map_or_else(|| "-".to_owned(), |epsilon| epsilon.to_string());
            [name.to_owned(), epsilon, meaning]
        };
        [
            row("rdp", rdp::NAME, self.epsilon.rdp, self.meaning.rdp),
            row("pld", pld::NAME, self.epsilon.pld, self.meaning.pld),
            row("gdp", gdp::NAME, self.epsilon.gdp, self.meaning.gdp),
        ]
    }
}
