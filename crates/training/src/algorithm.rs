//! What a federated algorithm adds to local training: settings, further tensors of the adapter, and
//! what a client remembers from round to round.

use serde::{Deserialize, Serialize};
use undertone_federated::clip::ClientClip;
use undertone_federated::layout::{CLIP, CONTROL, WEIGHT};
use undertone_federated::weight::Weighting;
use undertone_federated::{FederatedError, Layout, Role, client};
use undertone_protocol::adapter::Adapter;

use crate::config::TrainingConfig;
use crate::error::{Result, TrainingError};

/// How a client corrects its gradients. Corrections come after clipping and noise, so the promise
/// of DP-SGD is untouched: they are functions of what it has already made private and of what
/// everyone has been handed (see [`undertone_federated::client`]).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ClientAlgorithm {
    /// Not at all.
    FedAvg {},
    /// Towards the global model (Li et al., `MLSys` 2020).
    FedProx {
        /// The proximal term is `mu / 2 |w - w_global|^2`; above 0.
        mu: f64,
    },
    /// By control variates, option II (Karimireddy et al., ICML 2020). The client keeps its own
    /// from round to round, and sends the difference in the same vector as its update. Its steps
    /// must be plain SGD: momentum 0.
    Scaffold {},
}

/// What makes a task federated beyond averaging equal updates.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FederatedConfig {
    /// How a client corrects its gradients.
    pub algorithm: ClientAlgorithm,
    /// How much its update counts.
    pub weighting: Weighting,
    /// A clip norm of whole updates that follows a quantile of their norms; for tasks whose
    /// mechanism promises something to whole clients, which pays for the bit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip: Option<ClientClip>,
}

impl Default for FederatedConfig {
    fn default() -> Self {
        Self {
            algorithm: ClientAlgorithm::FedAvg {},
            weighting: Weighting::default(),
            clip: None,
        }
    }
}

impl FederatedConfig {
    /// Checks the ranges, and that the rest of the settings fits.
    pub(crate) fn validate(&self, momentum: f64) -> Result<()> {
        let refuse = |message: &str| Err(TrainingError::Config(message.to_owned()));
        self.weighting.validate()?;
        if let Some(clip) = &self.clip {
            clip.validate()?;
            if self.has_control() || self.weighting.sends_weight() {
                return refuse(
                    "federated.clip bounds the model's update alone; choose fed-avg or fed-prox, \
                     and the weighting uniform or examples-fixed",
                );
            }
        }
        match self.algorithm {
            ClientAlgorithm::FedProx { mu } if !(mu.is_finite() && mu > 0.0) => refuse(
                "federated.algorithm.mu must be above 0; without a proximal term choose fed-avg",
            ),
            ClientAlgorithm::Scaffold {} if momentum > 0.0 => refuse(
                "momentum must be 0 with scaffold: its control variates are means of plain steps",
            ),
            _ => Ok(()),
        }
    }

    /// Whether clients send control variates.
    pub const fn has_control(&self) -> bool {
        matches!(self.algorithm, ClientAlgorithm::Scaffold {})
    }
}

/// The adapter of a task: a model's tensors, and the algorithm's at zero.
pub(crate) fn with_auxiliary(model: &Adapter, config: &TrainingConfig) -> Result<Adapter> {
    let federated = &config.federated;
    let mut tensors: std::collections::BTreeMap<_, _> = model
        .tensors()
        .map(|(name, shape, values)| (name.clone(), (shape.clone(), values.to_vec())))
        .collect();
    if federated.has_control() {
        for (name, shape, values) in model.tensors() {
            let zeros = vec![0.0; values.len()];
            tensors.insert(format!("{CONTROL}{name}"), (shape.clone(), zeros));
        }
    }
    if federated.weighting.sends_weight() {
        tensors.insert(WEIGHT.to_owned(), (vec![1], vec![0.0]));
    }
    if let Some(clip) = &federated.clip {
        tensors.insert(CLIP.to_owned(), (vec![4], clip.tensor().to_vec()));
    }
    Ok(Adapter::new(tensors)?)
}

/// The model's tensors of a task's adapter, and which coordinate is whose.
pub(crate) fn model_part(adapter: &Adapter) -> Result<(Adapter, Layout)> {
    let tensors = adapter.tensors();
    let layout = Layout::of(tensors.map(|(name, shape, _)| (name.as_str(), shape.as_slice())))?;
    let mut model = std::collections::BTreeMap::new();
    for (name, shape, values) in adapter.tensors() {
        if Role::of(name)? == Role::Model {
            model.insert(name.clone(), (shape.clone(), values.to_vec()));
        }
    }
    Ok((Adapter::new(model)?, layout))
}

/// SCAFFOLD's memory of one client. As confidential as an unmasked update.
#[derive(Clone, Default, PartialEq)]
pub struct Control {
    /// `c_i`, `[d]` over the model's coordinates; empty is zero.
    own: Vec<f32>,
    /// What it becomes if the last update reaches the sum.
    next: Option<Vec<f32>>,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control")
            .field("unsettled", &self.next.is_some())
            .finish_non_exhaustive()
    }
}

impl Control {
    /// Says whether the last update reached the sum: only then is the server's c moved by it, and
    /// only then may `c_i` move. Without an unsettled update nothing happens.
    pub fn settle(&mut self, counted: bool) {
        if let Some(next) = self.next.take()
            && counted
        {
            self.own = next;
        }
    }

    /// Whether the last update is not yet settled.
    pub const fn is_unsettled(&self) -> bool {
        self.next.is_some()
    }

    /// As bytes, to be kept on disk: whether it is unsettled, then little-endian values.
    pub fn to_bytes(&self) -> Vec<u8> {
        let next = self.next.iter().flatten();
        let values = self
            .own
            .iter()
            .chain(next)
            .flat_map(|value| value.to_le_bytes());
        let own = u64::try_from(self.own.len())
            .unwrap_or(u64::MAX)
            .to_le_bytes();
        std::iter::once(u8::from(self.next.is_some()))
            .chain(own)
            .chain(values)
            .collect()
    }

    /// The other way round of [`Control::to_bytes`].
    ///
    /// # Errors
    /// [`TrainingError::Config`] if the bytes are something else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let wrong = || TrainingError::Config("the stored control variate is broken".to_owned());
        let ((flag, bytes), length) = bytes
            .split_first()
            .and_then(|(flag, bytes)| Some((flag, bytes.split_first_chunk::<8>()?)))
            .map(|(flag, (length, bytes))| ((flag, bytes), u64::from_le_bytes(*length)))
            .ok_or_else(wrong)?;
        let (values, rest) = bytes.as_chunks::<4>();
        let length = usize::try_from(length).map_err(|_| wrong())?;
        let (own, next) = values.split_at_checked(length).ok_or_else(wrong)?;
        if !rest.is_empty() || *flag > 1 || (*flag == 0 && !next.is_empty()) {
            return Err(wrong());
        }
        let read = |values: &[[u8; 4]]| values.iter().copied().map(f32::from_le_bytes).collect();
        Ok(Self {
            own: read(own),
            next: (*flag == 1).then(|| read(next)),
        })
    }
}

/// One round's correction of gradients, and what is sent besides the update.
pub(crate) struct Correction<'a> {
    algorithm: ClientAlgorithm,
    /// The model's values that the round starts from.
    start: &'a [f32],
    /// c, empty without SCAFFOLD.
    global: Vec<f32>,
    /// `c_i`.
    own: Vec<f32>,
    /// The adapter's clip norm and rule, empty without one.
    clip: Vec<f32>,
}

impl<'a> Correction<'a> {
    /// Of no gradient.
    pub(crate) const fn none() -> Self {
        Self {
            algorithm: ClientAlgorithm::FedAvg {},
            start: &[],
            global: Vec::new(),
            own: Vec::new(),
            clip: Vec::new(),
        }
    }

    /// For a round that starts from `global`, whose model part is `start`.
    pub(crate) fn new(
        config: &TrainingConfig,
        (global, layout): (&Adapter, &Layout),
        start: &'a Adapter,
        control: &Control,
    ) -> Result<Self> {
        let algorithm = config.federated.algorithm;
        let (mut own, mut c) = (Vec::new(), Vec::new());
        if config.federated.has_control() {
            c = layout.gather(global.values(), Role::Control);
            own.clone_from(&control.own);
            if own.is_empty() {
                own = vec![0.0; c.len()];
            }
            if own.len() != c.len() {
                return Err(TrainingError::Federated(FederatedError::Length {
                    expected: c.len(),
                    found: own.len(),
                }));
            }
        }
        Ok(Self {
            algorithm,
            start: start.values(),
            global: c,
            own,
            clip: layout.gather(global.values(), Role::Clip),
        })
    }

    /// Corrects a gradient at `values`.
    pub(crate) fn apply(&self, gradient: &mut [f64], values: &[f32]) -> Result<()> {
        match self.algorithm {
            ClientAlgorithm::FedAvg {} => Ok(()),
            ClientAlgorithm::FedProx { mu } => {
                Ok(client::add_proximal(gradient, values, self.start, mu)?)
            }
            ClientAlgorithm::Scaffold {} => {
                Ok(client::add_control(gradient, &self.global, &self.own)?)
            }
        }
    }

    /// The vector to send for the model's update `delta`, `[d]` of the whole adapter, in its
    /// layout; the control variate that is sent waits in `control` to be settled.
    pub(crate) fn send(
        &self,
        config: &TrainingConfig,
        layout: &Layout,
        (mut delta, examples): (Vec<f32>, usize),
        control: &mut Control,
    ) -> Result<Vec<f32>> {
        let mut vector = vec![0.0; layout.len()];
        if config.federated.has_control() {
            let steps = (config.local_steps, config.learning_rate);
            let next = client::next_control(&self.own, &self.global, &delta, steps)?;
            let moved: Vec<f32> = next.iter().zip(&self.own).map(|(n, o)| n - o).collect();
            layout.scatter(&mut vector, Role::Control, &moved);
            control.own.clone_from(&self.own);
            control.next = Some(next);
        }
        let factor = config
            .federated
            .weighting
            .factor(u64::try_from(examples).unwrap_or(u64::MAX));
        #[allow(clippy::cast_possible_truncation, reason = "updates are f32")]
        let factor = factor as f32;
        for value in &mut delta {
            *value *= factor;
        }
        if let Some(clip) = &config.federated.clip {
            let bit = clip.send(&self.clip, &mut delta)?;
            layout.scatter(&mut vector, Role::Clip, &bit);
        }
        layout.scatter(&mut vector, Role::Model, &delta);
        layout.scatter(&mut vector, Role::Weight, &[factor]);
        Ok(vector)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn scaffold() -> TrainingConfig {
        let mut config = fixture::config();
        config.federated.algorithm = ClientAlgorithm::Scaffold {};
        config.momentum = 0.0;
        config
    }

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        scaffold().validate().unwrap();
        let broken: [fn(&mut TrainingConfig); 4] = [
            |c| c.momentum = 0.5,
            |c| c.federated.algorithm = ClientAlgorithm::FedProx { mu: 0.0 },
            |c| c.federated.algorithm = ClientAlgorithm::FedProx { mu: f64::NAN },
            |c| c.federated.weighting = Weighting::Examples { cap: 0 },
        ];
        for (i, change) in broken.iter().enumerate() {
            let mut config = scaffold();
            change(&mut config);
            assert!(config.validate().is_err(), "case {i}");
        }
    }

    #[test]
    fn plain_settings_keep_their_bytes_and_unknown_fields_are_refused() {
        let plain = String::from_utf8(fixture::config().to_json_bytes().unwrap()).unwrap();
        assert!(!plain.contains("federated"), "{plain}");
        let text = String::from_utf8(scaffold().to_json_bytes().unwrap()).unwrap();
        assert!(
            text.contains(r#""federated":{"algorithm":{"kind":"scaffold"}"#),
            "{text}"
        );
        let read = |text: &str| TrainingConfig::from_json_bytes(text.as_bytes());
        assert_eq!(read(&text).unwrap(), scaffold());
        let more = text.replace(r#"{"kind":"scaffold"}"#, r#"{"kind":"scaffold","mu":1.0}"#);
        assert!(read(&more).is_err());
    }

    #[test]
    fn the_adapter_has_the_algorithms_tensors_and_its_model_part_is_the_model() {
        let mut config = scaffold();
        config.federated.weighting = Weighting::Examples { cap: 10 };
        let model = crate::Model::new(fixture::encoder().unwrap(), fixture::config()).unwrap();
        let plain = model.initial_adapter();
        let full = with_auxiliary(&plain, &config).unwrap();
        let (part, layout) = model_part(&full).unwrap();
        assert_eq!(part, plain);
        assert_eq!(full.len(), 2 * plain.len() + 1);
        assert!(layout.has_control() && layout.weight().is_some());
        assert_eq!(with_auxiliary(&plain, &fixture::config()).unwrap(), plain);
    }

    #[test]
    fn a_control_variate_moves_only_when_its_update_counted_and_survives_on_disk() {
        let mut control = Control {
            own: vec![1.0, 2.0],
            next: Some(vec![3.0, 4.0]),
        };
        let mut back = Control::from_bytes(&control.to_bytes()).unwrap();
        assert_eq!(back, control);
        control.settle(false);
        assert_eq!(control.own, [1.0, 2.0]);
        assert_eq!(Control::from_bytes(&control.to_bytes()).unwrap(), control);
        control.settle(true);
        assert_eq!(control.own, [1.0, 2.0]);
        back.settle(true);
        assert_eq!(back.own, [3.0, 4.0]);
        let bytes = back.to_bytes();
        for broken in [
            &bytes[..3],
            &bytes[..11],
            &bytes[..bytes.len() - 1],
            &[9; 20],
        ] {
            assert!(Control::from_bytes(broken).is_err());
        }
    }
}
