//! The demo's mail: read, freed of near-duplicates, split, dealt out, tokenized, and run through
//! the frozen layers once.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use undertone_training::data::{
    ClientShare, HeldOut, Mail, hold_out, partition, read_corpus, without_near_duplicates,
};
use undertone_training::{
    Depth, Encoder, Features, LabelledTokens, Model, TextTokenizer, TrainingConfig,
};

use crate::error::StudyError;
use crate::settings::{CLIENTS, HELD_OUT_PER_MILLE, SPLIT};
use crate::{Progress, Watch};

/// All distinct mail, tokenized, and the pretrained encoder.
#[derive(Debug)]
pub struct Mailbox {
    encoder: Arc<Encoder>,
    mails: Vec<Mail>,
    ids: Vec<Vec<u32>>,
    length: usize,
    folder: PathBuf,
}

impl Mailbox {
    /// Reads the mail in `cache`/mail and the model in `cache`/model, as
    /// scripts/fetch-demo-data.sh left them there; `length` tokens of each mail are kept.
    ///
    /// # Errors
    /// [`StudyError::NoMail`] if one of the folders is missing, [`StudyError::Training`] if it
    /// cannot be read.
    pub fn open(cache: &Path, length: usize, watch: &Watch) -> Result<Self, StudyError> {
        let (mail, model) = (cache.join("mail"), cache.join("model"));
        if !mail.is_dir() || !model.is_dir() {
            return Err(StudyError::NoMail(cache.to_owned()));
        }
        watch(Progress::Step("reading the mail".into()));
        let mails = distinct(&read_corpus(&mail)?);
        let encoder = Arc::new(Encoder::load(&model)?);
        let tokenizer = TextTokenizer::load(&model.join("tokenizer.json"))?;
        let texts: Vec<&str> = mails.iter().map(|mail| mail.text.as_str()).collect();
        let ids = tokenizer.encode(&texts, length)?;
        Ok(Self {
            encoder,
            mails,
            ids,
            length,
            folder: cache.join("features"),
        })
    }

    /// The pretrained encoder.
    pub fn encoder(&self) -> &Arc<Encoder> {
        &self.encoder
    }

    /// The mails; everything else refers to them by their index.
    pub fn mails(&self) -> &[Mail] {
        &self.mails
    }

    /// The mail that nobody trains on and the rest, by the number of the split.
    pub fn split(&self, number: u64) -> HeldOut {
        hold_out(&self.mails, HELD_OUT_PER_MILLE, number)
    }

    /// The activations below a model's first trained layer; from the disk if they were computed
    /// before.
    ///
    /// # Errors
    /// [`StudyError::Training`].
    pub fn features(&self, depth: Depth, watch: &Watch) -> Result<Features, StudyError> {
        watch(Progress::Step("frozen layers, once".into()));
        let labels: Vec<u32> = self.mails.iter().map(Mail::label).collect();
        let tokens = LabelledTokens {
            ids: &self.ids,
            labels: &labels,
            length: self.length,
        };
        let folder = &self.folder;
        let features =
            Features::load_or_compute(folder, &self.encoder, tokens, depth, |done, of| {
                watch(Progress::Part { done, of });
            })?;
        Ok(features)
    }

    /// Sentence vectors of the untouched model, for a head alone; from the activations that the
    /// demo's model needs anyway.
    ///
    /// # Errors
    /// [`StudyError::Training`].
    pub fn sentences(&self, watch: &Watch) -> Result<Features, StudyError> {
        let model = Model::new(self.encoder.clone(), crate::settings::training())?;
        let below = self.features(model.depth(), watch)?;
        self.pooled(&below, watch)
    }

    /// Sentence vectors of the untouched model from activations below any of its layers.
    ///
    /// # Errors
    /// [`StudyError::Training`].
    pub fn pooled(&self, below: &Features, watch: &Watch) -> Result<Features, StudyError> {
        watch(Progress::Step(
            "sentence vectors of the untouched model".into(),
        ));
        Ok(below.pooled(&self.encoder, |done, of| watch(Progress::Part { done, of }))?)
    }
}

fn distinct(mails: &[Mail]) -> Vec<Mail> {
    let texts: Vec<&str> = mails.iter().map(|mail| mail.text.as_str()).collect();
    let kept = without_near_duplicates(&texts);
    kept.into_iter()
        .filter_map(|index| mails.get(index).cloned())
        .collect()
}

/// Features of everyone's mail for one kind of model.
#[derive(Debug, Clone)]
pub struct Cut {
    /// Each client's, in roster order.
    pub clients: Vec<Features>,
    /// All clients' together: what no one may have.
    pub pooled: Features,
    /// Mail that nobody trains on.
    pub held_out: Features,
}

impl Cut {
    /// The clients' shares (rows of `all`) and the held-out rows of all features.
    ///
    /// # Errors
    /// [`StudyError::Training`] if a row does not exist.
    pub fn new(
        all: &Features,
        shares: &[ClientShare],
        held_out: &[usize],
    ) -> Result<Self, StudyError> {
        let clients = shares
            .iter()
            .map(|share| all.select(&share.rows))
            .collect::<Result<Vec<_>, _>>()?;
        let pooled: Vec<usize> = shares
            .iter()
            .flat_map(|share| share.rows.iter().copied())
            .collect();
        Ok(Self {
            clients,
            pooled: all.select(&pooled)?,
            held_out: all.select(held_out)?,
        })
    }
}

/// All that the demo's training needs.
#[derive(Debug)]
pub struct Prepared {
    /// The pretrained encoder.
    pub encoder: Arc<Encoder>,
    /// The model with adapters, with the given settings.
    pub model: Arc<Model>,
    /// Which mails each client has.
    pub shares: Vec<ClientShare>,
    /// Activations below the first adapter.
    pub adapters: Cut,
    /// Sentence vectors of the untouched model, for the head alone.
    pub head: Cut,
}

impl Prepared {
    /// Twelve clients' shares of the mail, dealt by `seed`, for a model with these settings.
    ///
    /// # Errors
    /// As [`Mailbox::open`].
    pub fn load(
        cache: &Path,
        training: &TrainingConfig,
        seed: u64,
        watch: &Watch,
    ) -> Result<Self, StudyError> {
        let mailbox = Mailbox::open(cache, training.sequence_length, watch)?;
        let split = mailbox.split(SPLIT);
        let shares = partition(mailbox.mails(), &split.train, usize::from(CLIENTS), seed)?;
        let encoder = mailbox.encoder().clone();
        let model = Arc::new(Model::new(encoder.clone(), training.clone())?);
        let below = mailbox.features(model.depth(), watch)?;
        let pooled = mailbox.pooled(&below, watch)?;
        let adapters = Cut::new(&below, &shares, &split.held_out)?;
        let head = Cut::new(&pooled, &shares, &split.held_out)?;
        Ok(Self {
            encoder,
            model,
            shares,
            adapters,
            head,
        })
    }
}
