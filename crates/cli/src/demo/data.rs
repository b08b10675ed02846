//! The demo's mail: read, freed of near-duplicates, split, dealt out, tokenized, and run through
//! the frozen layers once.

use std::path::Path;
use std::sync::Arc;

use undertone_training::data::{
    ClientShare, Mail, hold_out, partition, read_corpus, without_near_duplicates,
};
use undertone_training::{Encoder, Features, LabelledTokens, Model, TextTokenizer};

use super::progress::Progress;
use super::settings::{CLIENTS, HELD_OUT_PER_MILLE, SPLIT, Settings};
use crate::error::CliError;

/// Features of everyone's mail for one kind of model.
#[derive(Debug)]
pub(super) struct Cut {
    /// Each client's, in roster order.
    pub(super) clients: Vec<Features>,
    /// All clients' together: what no one may have.
    pub(super) pooled: Features,
    /// Mail that nobody trains on.
    pub(super) held_out: Features,
}

/// All that training needs.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) encoder: Arc<Encoder>,
    /// The private model with adapters.
    pub(super) model: Arc<Model>,
    pub(super) shares: Vec<ClientShare>,
    /// Activations below the first adapter.
    pub(super) adapters: Cut,
    /// Sentence vectors of the untouched model, for the head alone.
    pub(super) head: Cut,
}

impl Prepared {
    pub(super) fn load(
        cache: &Path,
        settings: &Settings,
        seed: u64,
        progress: &Progress,
    ) -> Result<Self, CliError> {
        let (mail, model) = (cache.join("mail"), cache.join("model"));
        if !mail.is_dir() || !model.is_dir() {
            return Err(CliError::Input(format!(
                "the demo's model and mail are not in {}; run `make demo`, or \
                 scripts/fetch-demo-data.sh first",
                cache.display()
            )));
        }
        progress.begin("reading the mail");
        let mails = distinct(&read_corpus(&mail)?);
        let split = hold_out(&mails, HELD_OUT_PER_MILLE, SPLIT);
        let shares = partition(&mails, &split.train, usize::from(CLIENTS), seed)?;

        let encoder = Arc::new(Encoder::load(&model)?);
        let tokenizer = TextTokenizer::load(&model.join("tokenizer.json"))?;
        let length = settings.training.sequence_length;
        let texts: Vec<&str> = mails.iter().map(|mail| mail.text.as_str()).collect();
        let ids = tokenizer.encode(&texts, length)?;
        let labels: Vec<u32> = mails.iter().map(Mail::label).collect();
        let tokens = LabelledTokens {
            ids: &ids,
            labels: &labels,
            length,
        };
        let model = Arc::new(Model::new(encoder.clone(), settings.training.clone())?);

        let folder = cache.join("features");
        progress.begin("frozen layers, once");
        let below = Features::load_or_compute(&folder, &encoder, tokens, model.depth(), |d, a| {
            progress.at(d, a);
        })?;
        progress.begin("sentence vectors of the untouched model");
        let pooled = below.pooled(&encoder, |d, a| progress.at(d, a))?;
        let adapters = cut(&below, &shares, &split.held_out)?;
        let head = cut(&pooled, &shares, &split.held_out)?;
        Ok(Self {
            encoder,
            model,
            shares,
            adapters,
            head,
        })
    }
}

fn distinct(mails: &[Mail]) -> Vec<Mail> {
    let texts: Vec<&str> = mails.iter().map(|mail| mail.text.as_str()).collect();
    let kept = without_near_duplicates(&texts);
    kept.into_iter()
        .filter_map(|index| mails.get(index).cloned())
        .collect()
}

fn cut(all: &Features, shares: &[ClientShare], held_out: &[usize]) -> Result<Cut, CliError> {
    let clients = shares
        .iter()
        .map(|share| all.select(&share.rows))
        .collect::<Result<Vec<_>, _>>()?;
    let pooled: Vec<usize> = shares
        .iter()
        .flat_map(|share| share.rows.iter().copied())
        .collect();
    Ok(Cut {
        clients,
        pooled: all.select(&pooled)?,
        held_out: all.select(held_out)?,
    })
}
