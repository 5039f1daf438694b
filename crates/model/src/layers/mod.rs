//! Layers: one small file each, with the layer's configuration, its weights and its computation.
//!
//! A layer of your own, in your own crate, is an `impl` of [`Layer`]; `serde` with its feature `derive` (`cargo add serde --features derive`) and [`register`]
//! let files have it: see `examples/custom_layer.rs`.

mod affine;
mod cell;
mod context;
mod convolution;
mod keras_place;
mod lambda;
mod recurrent;
mod weights;
mod window;

pub use attention::ScoreMode;
pub use bidirectional::MergeMode;
pub use cell::{Cell, StackedRNNCells, register_cell};
pub use context::Context;
pub(crate) use context::{Pass, Record, floats_as};
pub use gru::GRUCell;
pub(crate) use keras_place::{Names, below, is_keras_layer};
pub use lambda::Lambda;
pub use lstm::LSTMCell;
pub(crate) use operator::{Constant, Index, Key, Operation, Over, Range, dtype, dtype_name};
pub use preprocessing::{Factor, FillMode, Flips, Interpolation, OutputMode, Sampling, Statistic, affine_transform};
pub use recurrent::Sequence;
pub use simple_rnn::SimpleRNNCell;
pub(crate) use weights::{Draw, set_all};
pub use weights::{Weight, Weights};
pub use window::Sizes;
// The types behind the names with a number of space axes.
pub use {
    borders::{Borders, Cropping, ZeroPadding},
    conv::Conv,
    conv_transpose::ConvTranspose,
    depthwise_conv::DepthwiseConv,
    global_pooling::{GlobalAveragePooling, GlobalMaxPooling},
    pooling::{AveragePooling, MaxPooling},
    separable_conv::SeparableConv,
    up_sampling::UpSampling,
};

use crate::config::{self, Axes, Config, Part};
use crate::graph::{Instance, SymbolicInputs, SymbolicTensor};
use crate::policy::DTypePolicy;
use ibex_core::{Data, Error, Result, Shape, Tensor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::any::Any;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::panic::Location;
use std::sync::{Arc, PoisonError, RwLock};

/// Methods that set a field of a layer: `axis: isize` takes one, `bias_constraint: impl Into<Option<Constraint>>` what becomes one; `in` names the
/// field that it is a field of.
macro_rules! options {
    ($name:ident { $($(#[$doc:meta])* $field:ident $(in $part:ident)?: $type:ty,)+ }) => {
        impl $name { $(
            $(#[$doc])*
            pub fn $field(mut self, $field: $type) -> Self {
                self $(. $part)? .$field = $field.into();
                self
            }
        )+ }
    };
}

/// Declares the layer files and makes their layers known to [`from_config`].
macro_rules! layers {
    ($($module:ident: $($layer:ident),+;)+) => {
        $(mod $module;
        pub use $module::{$($layer),+};)+

        fn built_in(class_name: &str) -> Option<Loader> {
            match class_name {
                $($(stringify!($layer) => Some(load::<$layer>),)+)+
                _ => None,
            }
        }
    };
}

// A layer of this crate is a file and its line here.
layers! {
    activation: Activation;
    apply_mask: ApplyMask;
    attention: AdditiveAttention, Attention;
    batch_normalization: BatchNormalization;
    bidirectional: Bidirectional;
    borders: Cropping1D, Cropping2D, Cropping3D, ZeroPadding1D, ZeroPadding2D, ZeroPadding3D;
    conv: Conv1D, Conv2D, Conv3D;
    conv_transpose: Conv1DTranspose, Conv2DTranspose, Conv3DTranspose;
    dense: Dense;
    depthwise_conv: DepthwiseConv1D, DepthwiseConv2D;
    einsum_dense: EinsumDense;
    embedding: Embedding;
    flatten: Flatten;
    gru: GRU;
    global_pooling: GlobalAveragePooling1D, GlobalAveragePooling2D, GlobalAveragePooling3D, GlobalMaxPooling1D, GlobalMaxPooling2D,
        GlobalMaxPooling3D;
    dot: Dot;
    dropout: AlphaDropout, Dropout, SpatialDropout1D, SpatialDropout2D, SpatialDropout3D;
    group_normalization: GroupNormalization;
    identity: ActivityRegularization, Identity;
    layer_normalization: LayerNormalization;
    lstm: LSTM;
    masking: Masking;
    merge: Add, Average, Concatenate, Maximum, Minimum, Multiply, Subtract;
    multi_head_attention: MultiHeadAttention;
    noise: GaussianDropout, GaussianNoise;
    operator: Operator;
    permute: Permute;
    pooling: AveragePooling1D, AveragePooling2D, AveragePooling3D, MaxPooling1D, MaxPooling2D, MaxPooling3D;
    repeat_vector: RepeatVector;
    preprocessing: CategoryEncoding, CenterCrop, Discretization, IntegerLookup, Normalization, RandomBrightness, RandomContrast, RandomCrop, RandomFlip,
        RandomRotation, RandomTranslation, RandomZoom, Rescaling, Resizing;
    reshape: Reshape;
    rnn: RNN;
    simple_rnn: SimpleRNN;
    time_distributed: TimeDistributed;
    separable_conv: SeparableConv1D, SeparableConv2D;
    up_sampling: UpSampling1D, UpSampling2D, UpSampling3D;
    rectifiers: ELU, LeakyReLU, PReLU, ReLU;
    rms_normalization: RMSNormalization;
    softmax: Softmax;
    unit_normalization: UnitNormalization;
}

/// A step of a model: what weights it has, and how it computes its output.
///
/// A layer holds its configuration only. Its weights belong to its [`Instance`] and are found by name, so that a layer of your own is one `impl`:
/// see `examples/custom_layer.rs`. A layer of one input and one output has [`Layer::build`] and [`Layer::call`]; one of several has
/// [`Layer::build_all`] and [`Layer::call_all`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no layer",
    label = "no layer",
    note = "give a value such as `Dense::new(10)`, an activation such as `Relu`, or a layer of your own with `impl Layer`"
)]
pub trait Layer: Any + Debug + Send + Sync {
    /// The class name in summaries and files: `"Dense"`.
    fn class_name(&self) -> &'static str;

    /// The configuration that [`FromConfig`] makes an equal layer from. [`config::save`] writes any
    /// `Serialize` type.
    ///
    /// # Errors
    /// If the layer can not be written to a file.
    fn config(&self) -> Result<Config>;

    /// Declares the weights for inputs of the given shape, whose first axis is the batch.
    ///
    /// # Errors
    /// If the layer does not take such inputs. The model adds the layer's name.
    fn build(&self, _weights: &mut Weights, _input: &Shape) -> Result<()> {
        Ok(())
    }

    /// [`Layer::build`] for a layer of several inputs.
    ///
    /// # Errors
    /// As [`Layer::build`].
    fn build_all(&self, weights: &mut Weights, inputs: &[Shape]) -> Result<()> {
        self.build(weights, one(inputs)?)
    }

    /// Computes the output. An invalid tensor operation needs no `?`: the model finds it in the result. A float input comes in the
    /// [compute type](Context::compute_dtype).
    ///
    /// # Errors
    /// If the layer can not do with such an input.
    fn call(&self, _x: &Tensor, _cx: &mut Context) -> Result<Tensor> {
        Err(Error::unsupported(format!(
            "{} has neither `call` nor `call_all`; implement one of them",
            self.class_name()
        )))
    }

    /// [`Layer::call`] for a layer of several inputs or outputs.
    ///
    /// # Errors
    /// As [`Layer::call`].
    fn call_all(&self, inputs: &[Tensor], cx: &mut Context) -> Result<Vec<Tensor>> {
        Ok(vec![self.call(one(inputs)?, cx)?])
    }

    /// Does the mask of the (first) input hold for the output too, unless [`Context::set_mask`] says otherwise? Else the mask ends here.
    fn supports_masking(&self) -> bool {
        false
    }

    /// Where Keras's files have a weight of this layer, below the layer's own place: `cell` for the `kernel` of an `LSTM`, nothing for a weight of the
    /// layer itself. Weights of one place are numbered in their order, those that training changes first.
    fn keras_place(&self, weight: &str) -> String {
        weight.rsplit_once('/').map_or_else(String::new, |(place, _)| place.into())
    }

    /// Looks at the numbers that the model is given, if this layer is the first to get them, before anything runs on them.
    ///
    /// # Errors
    /// `Value` for a number that the layer does not take, saying which.
    fn check_data(&self, _data: &Data) -> Result<()> {
        Ok(())
    }

    /// The layer under a name of your choice.
    fn named(self, name: impl Into<String>) -> Instance
    where
        Self: Sized,
    {
        Instance::from(self).named(name)
    }

    /// The layer under a policy of its own, whatever the model's is: `.add(Dense::new(10).dtype(Float32))`.
    fn dtype(self, policy: DTypePolicy) -> Instance
    where
        Self: Sized,
    {
        Instance::from(self).dtype(policy)
    }

    /// The layer with weights that training changes, or (`false`) keeps as they are.
    fn trainable(self, trainable: bool) -> Instance
    where
        Self: Sized,
    {
        Instance::from(self).trainable(trainable)
    }

    /// The layer as one that can be applied several times, always with the same weights.
    fn shared(self) -> Instance
    where
        Self: Sized,
    {
        Instance::from(self)
    }

    /// The layer's output for symbolic tensors: Keras's `Dense(8)(x)` is `Dense::new(8).apply(&x)`, `Add()([a, b])` is `Add::new().apply([&a, &b])`.
    /// A mistake is kept in the result and reported by [`Model::new`](crate::Model::new).
    #[track_caller]
    fn apply(self, inputs: impl SymbolicInputs) -> SymbolicTensor
    where
        Self: Sized,
    {
        Instance::from(self).apply_at(inputs, Location::caller())
    }

    /// [`Layer::apply`] for a layer of several outputs, such as an `LSTM` that gives its state.
    #[track_caller]
    fn apply_all(self, inputs: impl SymbolicInputs) -> Vec<SymbolicTensor>
    where
        Self: Sized,
    {
        Instance::from(self).apply_all_at(inputs, Location::caller())
    }
}

/// The input of a layer that takes one.
fn one<T>(inputs: &[T]) -> Result<&T> {
    match inputs {
        [input] => Ok(input),
        _ => Err(Error::model(format!("takes one input, got {}", inputs.len()))),
    }
}

/// A layer that can be made from its configuration, and so be loaded from a file.
pub trait FromConfig: Layer + Sized {
    /// The layer that [`Layer::config`] describes.
    ///
    /// # Errors
    /// If a field is missing, has the wrong type, or a value out of its domain.
    fn from_config(config: Config) -> Result<Self>;
}

impl<L: Layer + serde::de::DeserializeOwned> FromConfig for L {
    fn from_config(config: Config) -> Result<Self> {
        config::load(config)
    }
}

type Loader = fn(Config) -> Result<Box<dyn Layer>>;

fn load<L: FromConfig>(config: Config) -> Result<Box<dyn Layer>> {
    Ok(Box::new(L::from_config(config)?))
}

static REGISTERED: RwLock<BTreeMap<String, Loader>> = RwLock::new(BTreeMap::new());

/// Makes a layer of your own known by its class name, so that files with it can be loaded.
pub fn register<L: FromConfig>(class_name: &str) {
    REGISTERED.write().unwrap_or_else(PoisonError::into_inner).insert(class_name.to_string(), load::<L>);
}

/// Is it one of the layers here, in Keras too?
pub(crate) fn is_built_in(class_name: &str) -> bool {
    built_in(class_name).is_some()
}

/// Was such a class made known by [`register`]?
pub(crate) fn is_registered(class_name: &str) -> bool {
    REGISTERED.read().unwrap_or_else(PoisonError::into_inner).contains_key(class_name)
}

/// The layer of a class name and a configuration.
///
/// # Errors
/// `Unsupported` if no such class is known, naming it and how to make it known.
pub fn from_config(class_name: &str, config: Config) -> Result<Box<dyn Layer>> {
    let own = REGISTERED.read().unwrap_or_else(PoisonError::into_inner).get(class_name).copied();
    match own.or_else(|| built_in(class_name)) {
        Some(loader) => loader(config),
        None if ["Sequential", "Functional"].contains(&class_name) => {
            Ok(Box::new(crate::saving::nested_from_config(config, class_name == "Sequential")?))
        }
        None => Err(Error::unsupported(missing(class_name))),
    }
}

/// Layers of Keras 3.15 that are not here, beside those in [`missing`] and other names of the same.
const MISSING: &str = " AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D AdaptiveMaxPooling1D AdaptiveMaxPooling2D \
    AdaptiveMaxPooling3D AugMix AutoContrast ContrastLimitedAdaptiveHistogramEqualization ConvLSTM1D ConvLSTM2D ConvLSTM3D CutMix Equalization FlaxLayer \
    GroupQueryAttention HashedCrossing Hashing JaxLayer MaxNumBoundingBoxes MelSpectrogram MixUp Pipeline RandAugment RandomColorDegeneration \
    RandomColorJitter RandomElasticTransform RandomErasing RandomGaussianBlur RandomGrayscale RandomHue RandomInvert RandomPerspective RandomPosterization \
    RandomSaturation RandomSharpness RandomShear ReversibleEmbedding STFTSpectrogram Solarization SpectralNormalization TFSMLayer TorchModuleWrapper ";

/// Why there is no layer of a class, and what to do.
fn missing(class_name: &str) -> String {
    let register = |own: &str| format!("`ibex::layers::register::<{own}>({class_name:?})` before loading");
    match class_name {
        "TextVectorization" | "StringLookup" => format!(
            "Ibex has no layer {class_name} in models, which take numbers; prepare text by `ibex::data::{class_name}`, and give the model what that \
             makes of it"
        ),
        _ if MISSING.contains(&format!(" {class_name} ")) => format!(
            "Ibex does not have Keras's layer {class_name}; build the model without it, or write it in Rust and call {}",
            register(&format!("My{class_name}"))
        ),
        _ => format!("unknown layer class {class_name:?}; if it is your own, call {}", register(class_name)),
    }
}

/// A layer inside of another, written as class name and configuration.
#[derive(Clone, Debug)]
pub(crate) struct LayerBox(Arc<dyn Layer>);

impl LayerBox {
    pub fn new(layer: impl Layer) -> Self {
        LayerBox(Arc::new(layer))
    }
}

impl std::ops::Deref for LayerBox {
    type Target = dyn Layer;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl Serialize for LayerBox {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let config = self.config().map_err(serde::ser::Error::custom)?;
        Part { class_name: self.class_name().into(), config }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for LayerBox {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let Part { class_name, config } = Part::deserialize(deserializer)?;
        from_config(&class_name, config).map(|layer| LayerBox(layer.into())).map_err(serde::de::Error::custom)
    }
}

/// The axes that a layer works along, as numbers from the front in order; none of them is the batch.
pub(crate) fn inner_axes(input: &Shape, axes: &Axes) -> Result<Vec<usize>> {
    let found = axes.list().iter().map(|&axis| input.axis(axis).filter(|&axis| axis > 0));
    let mut found = found.collect::<Option<Vec<usize>>>().unwrap_or_default();
    found.sort_unstable();
    if found.is_empty() || found.windows(2).any(|pair| pair[0] == pair[1]) {
        let text = format!("input {input} does not have the axes {:?}; the batch axis 0 can not be one", axes.list());
        return Err(Error::shape(text));
    }
    Ok(found)
}

/// The last axis of an input, which must be there.
pub(crate) fn features(input: &Shape) -> Result<usize> {
    match &input[..] {
        [_, .., last] => Ok(*last),
        _ => Err(Error::shape(format!("needs at least a batch and a feature axis, got input {input}"))),
    }
}

/// An error if a setting that counts something is 0.
pub(crate) fn at_least_one(what: &str, count: usize) -> Result<()> {
    if count > 0 {
        return Ok(());
    }
    Err(Error::value(format!("{what} is 0, it must be at least 1")))
}
