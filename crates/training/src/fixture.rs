//! A tiny deterministic model, tokenizer and task for tests: no download, milliseconds to train.
//!
//! The encoder is a real BERT of two layers with pseudo-random weights. Texts are made of words
//! `w0` to `w39`; class 1 prefers the first half of them, class 0 the second.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use chacha20::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use safetensors::tensor::{Dtype, TensorView};
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{AddedToken, Tokenizer};

use crate::config::{
    BaseWeights, LoraConfig, LoraVariant, PrivacyConfig, Projection, TrainingConfig,
};
use crate::error::{Result, TrainingError};
use crate::features::{Features, LabelledTokens};
use crate::model::{BertConfig, Encoder, Model};
use crate::tokenize::TextTokenizer;

/// The fixture's sequence length in tokens.
pub const LENGTH: usize = 12;
const WORDS: u32 = 40;
const SPECIAL: [&str; 4] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"];

/// A private task on the fixture: rank 2 in the last layer, a head, a few steps.
pub fn config() -> TrainingConfig {
    TrainingConfig {
        sequence_length: LENGTH,
        labels: 2,
        head_bias: true,
        feature_scale: 4.0,
        base_weights: BaseWeights::F32,
        lora: Some(LoraConfig {
            layers: 1,
            projections: vec![Projection::Query, Projection::Value],
            rank: 2,
            alpha: 4.0,
            seed: 1,
            variant: LoraVariant::Ffa,
        }),
        privacy: Some(PrivacyConfig::new(1.0, 0.5)),
        sampling_rate: 0.5,
        local_steps: 4,
        learning_rate: 0.5,
        momentum: 0.5,
        federated: crate::FederatedConfig::default(),
    }
}

/// The `config.json` of the fixture's encoder.
pub fn bert_config() -> BertConfig {
    BertConfig {
        vocab_size: SPECIAL.len() + WORDS as usize,
        hidden_size: 16,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        intermediate_size: 32,
        max_position_embeddings: 32,
        type_vocab_size: 2,
        layer_norm_eps: 1e-12,
        hidden_act: "gelu".to_owned(),
    }
}

/// The names and shapes of a `BertModel`'s tensors.
fn shapes(config: &BertConfig) -> BTreeMap<String, Vec<usize>> {
    let (hidden, inner) = (config.hidden_size, config.intermediate_size);
    let mut shapes = BTreeMap::new();
    let mut norm = |name: &str| {
        shapes.insert(format!("{name}.weight"), vec![hidden]);
        shapes.insert(format!("{name}.bias"), vec![hidden]);
    };
    norm("embeddings.LayerNorm");
    for layer in 0..config.num_hidden_layers {
        norm(&format!("encoder.layer.{layer}.attention.output.LayerNorm"));
        norm(&format!("encoder.layer.{layer}.output.LayerNorm"));
    }
    let mut linear = |name: &str, input: usize, output: usize| {
        shapes.insert(format!("{name}.weight"), vec![output, input]);
        shapes.insert(format!("{name}.bias"), vec![output]);
    };
    for layer in 0..config.num_hidden_layers {
        let layer = format!("encoder.layer.{layer}");
        for path in ["self.query", "self.key", "self.value", "output.dense"] {
            linear(&format!("{layer}.attention.{path}"), hidden, hidden);
        }
        linear(&format!("{layer}.intermediate.dense"), hidden, inner);
        linear(&format!("{layer}.output.dense"), inner, hidden);
    }
    let mut table = |name: &str, rows: usize| {
        shapes.insert(
            format!("embeddings.{name}_embeddings.weight"),
            vec![rows, hidden],
        );
    };
    table("word", config.vocab_size);
    table("position", config.max_position_embeddings);
    table("token_type", config.type_vocab_size);
    shapes
}

/// What a trained encoder would know of the words: the two halves lie apart in four dimensions.
fn meaning(index: usize) -> f64 {
    let hidden = bert_config().hidden_size;
    let (word, dimension) = (index / hidden, index % hidden);
    let second_half = word >= SPECIAL.len() + WORDS as usize / 2;
    match (dimension, word) {
        (4.., _) | (_, 0..4) => 0.0,
        _ if second_half => -1.0,
        _ => 1.0,
    }
}

/// The bytes of `config.json` and `model.safetensors`.
///
/// # Errors
/// [`TrainingError::Model`] if serialisation fails.
pub fn files() -> Result<(Vec<u8>, Vec<u8>)> {
    files_of(&bert_config())
}

/// The same for an encoder of any size, which knows no words: for measurements, where values do
/// not matter.
///
/// # Errors
/// [`TrainingError::Model`] if serialisation fails.
pub fn files_of(config: &BertConfig) -> Result<(Vec<u8>, Vec<u8>)> {
    let tiny = *config == bert_config();
    let mut rng = ChaCha20Rng::from_seed([42; 32]);
    let mut unit = || f64::from(rng.next_u32() >> 8) / f64::from(1_u32 << 23) - 1.0;
    let buffers: Vec<(String, Vec<usize>, Vec<u8>)> = shapes(config)
        .into_iter()
        .map(|(name, shape)| {
            // Scales near those of a trained encoder: normalisation weights about 1, matrices
            // that keep the variance, small biases.
            let (centre, spread) = match shape.as_slice() {
                [_, _] if name.starts_with("embeddings") => (0.0, 1.0),
                [_, _] if tiny => (0.0, 0.5),
                #[allow(clippy::cast_precision_loss, reason = "widths are far below 2^52")]
                [_, input] => (0.0, (3.0 / *input as f64).sqrt()),
                _ if name.ends_with("LayerNorm.weight") => (1.0, 0.1),
                _ => (0.0, 0.1),
            };
            let count = shape.iter().product::<usize>();
            let words = tiny && name == "embeddings.word_embeddings.weight";
            #[allow(clippy::cast_possible_truncation, reason = "weights are f32")]
            let bytes = (0..count)
                .map(|i| centre + spread * unit() + if words { meaning(i) } else { 0.0 })
                .flat_map(|value| (value as f32).to_le_bytes())
                .collect();
            (name, shape, bytes)
        })
        .collect();
    let model = |e: safetensors::SafeTensorError| TrainingError::Model(e.to_string());
    let views = buffers
        .iter()
        .map(|(name, shape, bytes)| {
            Ok((
                name.as_str(),
                TensorView::new(Dtype::F32, shape.clone(), bytes)?,
            ))
        })
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(model)?;
    let weights = safetensors::serialize(views, None).map_err(model)?;
    let json = serde_json::to_vec(config).map_err(|e| TrainingError::Model(e.to_string()))?;
    Ok((json, weights))
}

/// The fixture's encoder.
///
/// # Errors
/// As for [`Encoder::from_bytes`].
pub fn encoder() -> Result<Arc<Encoder>> {
    let (config, model) = files()?;
    Ok(Arc::new(Encoder::from_bytes(&config, &model)?))
}

/// The fixture's model under [`config`].
///
/// # Errors
/// As for [`Model::new`].
pub fn model() -> Result<Arc<Model>> {
    Ok(Arc::new(Model::new(encoder()?, config())?))
}

/// The fixture's tokenizer: words split at white space, `[CLS]` and `[SEP]` added.
///
/// # Errors
/// [`TrainingError::Tokenizer`].
pub fn tokenizer() -> Result<TextTokenizer> {
    TextTokenizer::new(raw_tokenizer()?)
}

fn raw_tokenizer() -> Result<Tokenizer> {
    let failed = |e: tokenizers::Error| TrainingError::Tokenizer(e.to_string());
    let words = (0..WORDS).map(|i| format!("w{i}"));
    let vocabulary = SPECIAL
        .iter()
        .map(ToString::to_string)
        .chain(words)
        .zip(0..)
        .collect();
    let model = WordLevel::builder()
        .vocab(vocabulary)
        .unk_token("[UNK]".to_owned())
        .build()
        .map_err(failed)?;
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(WhitespaceSplit));
    tokenizer.with_post_processor(Some(BertProcessing::new(
        ("[SEP]".to_owned(), 3),
        ("[CLS]".to_owned(), 2),
    )));
    tokenizer
        .add_special_tokens(SPECIAL.map(|token| AddedToken::from(token, true)))
        .map_err(failed)?;
    Ok(tokenizer)
}

/// Writes `config.json`, `model.safetensors` and `tokenizer.json` into `folder`.
///
/// # Errors
/// [`TrainingError::File`] if the folder cannot be written.
pub fn write(folder: &Path) -> Result<()> {
    let (config, model) = files()?;
    let tokenizer = raw_tokenizer()?
        .to_string(false)
        .map_err(|e| TrainingError::Tokenizer(e.to_string()))?;
    let files: [(&str, &[u8]); 3] = [
        ("config.json", &config),
        ("model.safetensors", &model),
        ("tokenizer.json", tokenizer.as_bytes()),
    ];
    for (name, bytes) in files {
        let path = folder.join(name);
        std::fs::write(&path, bytes).map_err(TrainingError::file(&path))?;
    }
    Ok(())
}

/// `count` labelled texts, drawn from `seed`; about half of each class.
pub fn texts(count: usize, seed: u64) -> (Vec<String>, Vec<u32>) {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    let mut rng = ChaCha20Rng::from_seed(key);
    let mut one = || {
        let label = rng.next_u32() % 2;
        let words = 4 + rng.next_u32() % 6;
        let text: Vec<String> = (0..words)
            .map(|_| {
                // Four words in five come from the class's own half.
                let own = rng.next_u32() % 5 != 0;
                let first_half = own == (label == 1);
                let word = rng.next_u32() % (WORDS / 2);
                format!("w{}", if first_half { word } else { word + WORDS / 2 })
            })
            .collect();
        (text.join(" "), label)
    };
    (0..count).map(|_| one()).unzip()
}

/// [`texts`] as token ids of at most [`LENGTH`], with their labels.
///
/// # Errors
/// [`TrainingError::Tokenizer`].
pub fn examples(count: usize, seed: u64) -> Result<(Vec<Vec<u32>>, Vec<u32>)> {
    let (texts, labels) = texts(count, seed);
    Ok((tokenizer()?.encode(&texts, LENGTH)?, labels))
}

/// [`texts`] as features for `model`.
///
/// # Errors
/// As for [`Features::compute`].
pub fn features(model: &Model, count: usize, seed: u64) -> Result<Features> {
    let (ids, labels) = examples(count, seed)?;
    let tokens = LabelledTokens {
        ids: &ids,
        labels: &labels,
        length: LENGTH,
    };
    Features::compute(model.encoder(), tokens, model.depth(), |_, _| ())
}
