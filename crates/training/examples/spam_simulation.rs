//! Federated averaging on real mail, in one process: the figures behind the demo's settings.
//!
//! `scripts/fetch-demo-data.sh`, then
//! `cargo run --release -p undertone-training --example spam_simulation -- seed=1 rounds=8`.
//! Arguments are `name=value`; see [`Settings`]. Every seed repeats partition, sampling and noise.
#![allow(clippy::print_stdout, reason = "an experiment prints its table")]
#![allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use chacha20::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use undertone_privacy::{Delta, Epsilon, SamplingRate, noise_multiplier_for};
use undertone_training::data::{hold_out, partition, read_corpus, without_near_duplicates};
use undertone_training::{
    BaseWeights, Depth, Encoder, Features, LabelledTokens, LoraConfig, LoraVariant, Metrics, Model,
    PrivacyConfig, Projection, TextTokenizer, TrainingConfig, evaluate, simulation,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

const CLIENTS: usize = 12;
const DROPPED: usize = 2;
const DELTA: f64 = 1e-5;
const HELD_OUT_PER_MILLE: usize = 150;

/// The arguments, as given.
struct Settings(BTreeMap<String, String>);

impl Settings {
    fn from_arguments() -> Outcome<Self> {
        let pairs = std::env::args().skip(1).map(|argument| {
            let (name, value) = argument.split_once('=').ok_or("arguments are name=value")?;
            Ok((name.to_owned(), value.to_owned()))
        });
        Ok(Self(pairs.collect::<Outcome<_>>()?))
    }

    fn get<T: std::str::FromStr>(&self, name: &str, default: T) -> T {
        self.0
            .get(name)
            .and_then(|value| value.parse().ok())
            .unwrap_or(default)
    }

    /// The task: by default the one recommended for the demo.
    fn config(&self) -> Outcome<TrainingConfig> {
        let rounds: u32 = self.get("rounds", 8);
        let local_steps: u32 = self.get("steps", 4);
        let sampling_rate = self.get("q", 0.1);
        let steps = u64::from(rounds * local_steps);
        let epsilon = Epsilon::new(self.get("epsilon", 5.0))?;
        let sigma = noise_multiplier_for(
            epsilon,
            Delta::new(DELTA)?,
            SamplingRate::new(sampling_rate)?,
            steps,
        )?;
        let names = self.get("projections", "qv".to_owned());
        let projections = names.chars().map(|name| match name {
            'q' => Projection::Query,
            'k' => Projection::Key,
            'v' => Projection::Value,
            _ => Projection::Output,
        });
        Ok(TrainingConfig {
            sequence_length: self.get("length", 64),
            labels: 2,
            head_bias: self.get("bias", true),
            feature_scale: self.get("scale", 4.0),
            base_weights: BaseWeights::F32,
            lora: Some(LoraConfig {
                layers: self.get("layers", 1),
                projections: projections.collect(),
                rank: self.get("rank", 4),
                alpha: self.get("alpha", 4.0),
                seed: 1,
                variant: LoraVariant::Ffa,
            }),
            privacy: Some(PrivacyConfig::new(self.get("clip", 1.0), sigma.get())),
            sampling_rate,
            local_steps,
            learning_rate: self.get("lr", 2.0),
            momentum: self.get("momentum", 0.5),
            federated: undertone_training::FederatedConfig::default(),
        })
    }

    fn wants(&self, method: &str) -> bool {
        let only: String = self.get("only", String::new());
        only.is_empty() || only.split(',').any(|name| name == method)
    }
}

/// Features of everybody's mail at one depth.
struct Data {
    clients: Vec<Features>,
    pooled: Features,
    held_out: Features,
}

impl Data {
    fn cut(all: &Features, shares: &[Vec<usize>], held_out: &[usize]) -> Outcome<Self> {
        let clients = shares
            .iter()
            .map(|rows| all.select(rows))
            .collect::<Result<_, _>>()?;
        let pooled = all.select(&shares.concat())?;
        Ok(Self {
            clients,
            pooled,
            held_out: all.select(held_out)?,
        })
    }
}

/// A generator for one party of one run.
fn generator(seed: u64, party: u64) -> ChaCha20Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&party.to_le_bytes());
    ChaCha20Rng::from_seed(key)
}

/// Who is in the sums: in each round all but two clients, chosen by the seed.
fn in_sums(rounds: u32, seed: u64) -> impl Fn(u32, usize) -> bool {
    let mut chooser = generator(seed, 1000);
    let dropped: Vec<Vec<usize>> = (0..rounds)
        .map(|_| {
            let mut order: Vec<usize> = (0..CLIENTS).collect();
            order.sort_by_cached_key(|_| chooser.next_u64());
            order.truncate(DROPPED);
            order
        })
        .collect();
    move |round, client| !dropped[round as usize - 1].contains(&client)
}

fn show(m: &Metrics) -> String {
    let auc = m.auc.unwrap_or(f64::NAN);
    format!(
        "accuracy {:.2} % auc {:.4} loss {:.3}",
        100.0 * m.accuracy,
        auc,
        m.loss
    )
}

fn report(name: &str, since: Instant, metrics: Metrics) {
    println!(
        "{name:<18} {} ({:.1} s)",
        show(&metrics),
        since.elapsed().as_secs_f64()
    );
}

fn main() -> Outcome<()> {
    let settings = Settings::from_arguments()?;
    let config = settings.config()?;
    let cache = PathBuf::from(settings.get("cache", ".cache/undertone".to_owned()));
    println!("{}", String::from_utf8(config.to_json_bytes()?)?);

    let start = Instant::now();
    let mails = read_corpus(&cache.join("mail"))?;
    let read = mails.len();
    let texts: Vec<&str> = mails.iter().map(|m| m.text.as_str()).collect();
    let kept = without_near_duplicates(&texts);
    let mails: Vec<_> = kept.iter().map(|&i| mails[i].clone()).collect();
    let seed: u64 = settings.get("seed", 1);
    // Settings were chosen on splits 0 and 1; figures to report come from another.
    let split = hold_out(&mails, HELD_OUT_PER_MILLE, settings.get("split", 2));
    let shares = partition(&mails, &split.train, CLIENTS, seed)?;
    println!(
        "{read} mails, {} after near-duplicates, {} held out, read in {:.1} s",
        mails.len(),
        split.held_out.len(),
        start.elapsed().as_secs_f64()
    );
    for share in &shares {
        println!(
            "  {} mails, {:.0} % spam, {:?}",
            share.rows.len(),
            100.0 * share.spam_rate,
            share.folders
        );
    }

    let start = Instant::now();
    let encoder = Arc::new(Encoder::load(&cache.join("model"))?);
    let tokenizer = TextTokenizer::load(&cache.join("model/tokenizer.json"))?;
    let texts: Vec<&str> = mails.iter().map(|m| m.text.as_str()).collect();
    let ids = tokenizer.encode(&texts, config.sequence_length)?;
    let labels: Vec<u32> = mails
        .iter()
        .map(undertone_training::data::Mail::label)
        .collect();
    println!("tokenized in {:.1} s", start.elapsed().as_secs_f64());
    let model = Arc::new(Model::new(Arc::clone(&encoder), config.clone())?);
    let tokens = LabelledTokens {
        ids: &ids,
        labels: &labels,
        length: config.sequence_length,
    };
    let start = Instant::now();
    let folder = cache.join("features");
    let load = |depth| Features::load_or_compute(&folder, &encoder, tokens, depth, |_, _| ());
    let features = load(model.depth())?;
    println!("features in {:.1} s", start.elapsed().as_secs_f64());
    let start = Instant::now();
    let pooled = load(Depth::Pooled)?;
    println!("pooled features in {:.1} s", start.elapsed().as_secs_f64());
    let shares: Vec<Vec<usize>> = shares.into_iter().map(|share| share.rows).collect();
    let data = Data::cut(&features, &shares, &split.held_out)?;
    let head_data = Data::cut(&pooled, &shares, &split.held_out)?;
    run(&settings, &config, &encoder, &data, &head_data, seed)
}

fn run(
    settings: &Settings,
    config: &TrainingConfig,
    encoder: &Arc<Encoder>,
    data: &Data,
    head_data: &Data,
    seed: u64,
) -> Outcome<()> {
    let rounds = settings.get("rounds", 8);
    let build = |config| Model::new(Arc::clone(encoder), config).map(Arc::new);
    let private = build(config.clone())?;
    let open = build(config.without_privacy())?;
    let head = build(config.head_only())?;
    let head_open = build(config.head_only().without_privacy())?;
    let start = Instant::now();
    report(
        "untrained",
        start,
        evaluate(&private, &private.initial_adapter(), &data.held_out)?,
    );
    let federations = [
        ("head_only_private", &head, head_data),
        ("head_only", &head_open, head_data),
        ("federated_private", &private, data),
        ("federated", &open, data),
    ];
    for (name, model, data) in federations {
        if settings.wants(name) {
            let start = Instant::now();
            let metrics = simulation::federated(
                model,
                (&data.clients, &data.held_out),
                rounds,
                in_sums(rounds, seed),
                |client| generator(seed, client as u64),
                |_, _| (),
            )?;
            report(name, start, metrics);
        }
    }
    if settings.wants("central") {
        let start = Instant::now();
        let metrics = simulation::central(
            encoder,
            config,
            (&data.pooled, &data.held_out),
            (rounds, settings.get("central_batch", 100.0)),
            generator(seed, 2000),
            |_, _| (),
        )?;
        report("central", start, metrics);
    }
    for (name, model, data) in [
        ("alone_mean", &private, data),
        ("alone_head_mean", &head, head_data),
    ] {
        if settings.wants(name) {
            let start = Instant::now();
            let metrics = simulation::alone_mean(
                model,
                (&data.clients, &data.held_out),
                rounds,
                |client| generator(seed, 3000 + client as u64),
                |_, _| (),
            )?;
            report(name, start, metrics);
        }
    }
    Ok(())
}
