//! Keras-like models on a GPU tensor engine.
//!
//! ```
//! use ibex::prelude::*;
//!
//! # fn main() -> ibex::Result<()> {
//! let x = Tensor::rand([64, 4], 0);
//! let y = x.sum(&[-1]).gt(2.0).cast(DType::I32);
//! let mut model = Sequential::new([4]).add(Dense::new(16).activation(Relu)).add(Dense::new(2));
//! model.compile(Adam::new(0.01), SparseCategoricalCrossentropy::from_logits(), [Accuracy::new()])?;
//! let history = model.fit((&x, &y), Fit::epochs(3).verbose(0))?;
//! assert_eq!(history["loss"].len(), 3);
//! # Ok(())
//! # }
//! ```

/// The README's programs compile.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

mod activations;
pub mod callbacks;
pub mod config;
mod constraints;
mod device;
mod eval;
mod graph;
mod history;
mod initializers;
pub mod layers;
pub mod losses;
pub mod metrics;
mod model;
mod onnx;
pub mod optimizers;
mod plot;
mod policy;
mod progress;
mod protobuf;
mod regularizers;
mod saving;
#[cfg(feature = "keras")]
mod weight_files;

pub use activations::{Activation, IntoActivation};
pub use constraints::Constraint;
#[cfg(not(target_arch = "wasm32"))]
pub use device::device;
pub use device::{default_device, devices, open, set_default_device};
pub use eval::Eval;
pub use graph::{Input, Instance, Node, SymbolicInputs, SymbolicOperand, SymbolicTensor};
pub use history::History;
pub use ibex_core::{
    Arg, DType, Data, Device, Element, Error, ErrorKind, Function, Padding, Plan, Result, Shape, Tensor, Variable,
    Window,
};
#[doc(inline)]
pub use ibex_data as data;
/// Files of Keras and of NumPy as containers.
#[cfg(feature = "keras")]
#[doc(inline)]
pub use ibex_formats as formats;
pub use initializers::{Distribution, FanMode, Initializer};
pub use model::{
    Batches, Evaluate, Examples, Feed, Fit, Inputs, KernelTime, Model, Predict, Profile, Sequential, Source, Tensors,
};
pub use policy::DTypePolicy;
pub use regularizers::{OrthogonalMode, Regularizer};
pub use saving::Load;

/// The engine below: graphs, programs, backends.
#[doc(inline)]
pub use ibex_core as core;

/// What most programs need.
pub mod prelude {
    pub use crate::Activation::{self, Gelu, Relu, Sigmoid, Softmax, Tanh};
    pub use crate::DTypePolicy::{self, Float32, MixedBfloat16, MixedFloat16};
    #[cfg(not(target_arch = "wasm32"))]
    pub use crate::callbacks::{
        BackupAndRestore, CSVLogger, LearningRateScheduler, ModelCheckpoint, ReduceLROnPlateau, TensorBoard,
        TerminateOnNaN,
    };
    pub use crate::callbacks::{Callback, EarlyStopping, LambdaCallback};
    pub use crate::config::{self, Config};
    pub use crate::data::{Dataset, Split};
    pub use crate::layers::{
        ActivityRegularization, Add, AdditiveAttention, AlphaDropout, ApplyMask, Attention, Average, AveragePooling1D,
        AveragePooling2D, AveragePooling3D, BatchNormalization, Bidirectional, CategoryEncoding, CenterCrop,
        Concatenate, Context, Conv1D, Conv1DTranspose, Conv2D, Conv2DTranspose, Conv3D, Conv3DTranspose, Cropping1D,
        Cropping2D, Cropping3D, Dense, DepthwiseConv1D, DepthwiseConv2D, Discretization, Dot, Dropout, ELU,
        EinsumDense, Embedding, FillMode, Flatten, Flips, FromConfig, GRU, GaussianDropout, GaussianNoise,
        GlobalAveragePooling1D, GlobalAveragePooling2D, GlobalAveragePooling3D, GlobalMaxPooling1D, GlobalMaxPooling2D,
        GlobalMaxPooling3D, GroupNormalization, Identity, IntegerLookup, Interpolation, LSTM, Lambda, Layer,
        LayerNormalization, LeakyReLU, Masking, MaxPooling1D, MaxPooling2D, MaxPooling3D, Maximum, MergeMode, Minimum,
        MultiHeadAttention, Multiply, Normalization, OutputMode, PReLU, Permute, RMSNormalization, RNN,
        RandomBrightness, RandomContrast, RandomCrop, RandomFlip, RandomRotation, RandomTranslation, RandomZoom, ReLU,
        RepeatVector, Rescaling, Reshape, Resizing, ScoreMode, SeparableConv1D, SeparableConv2D, SimpleRNN,
        SpatialDropout1D, SpatialDropout2D, SpatialDropout3D, Subtract, TimeDistributed, UnitNormalization,
        UpSampling1D, UpSampling2D, UpSampling3D, Weights, ZeroPadding1D, ZeroPadding2D, ZeroPadding3D,
    };
    pub use crate::losses::{
        BinaryCrossentropy, BinaryFocalCrossentropy, CategoricalCrossentropy, CategoricalFocalCrossentropy,
        CategoricalHinge, CosineSimilarity, Dice, Hinge, Huber, KLDivergence, LogCosh, Loss, MeanAbsoluteError,
        MeanAbsolutePercentageError, MeanSquaredError, MeanSquaredLogarithmicError, Poisson, Reduction,
        SparseCategoricalCrossentropy, SquaredHinge, Tversky,
    };
    // Metrics that are a loss too are `metrics::MeanSquaredError` and so on.
    pub use crate::metrics::{
        self, AUC, Accuracy, BinaryAccuracy, CategoricalAccuracy, F1Score, Metric, Precision, R2Score, Recall,
        RootMeanSquaredError, SparseCategoricalAccuracy, SparseTopKCategoricalAccuracy, TopKCategoricalAccuracy,
    };
    pub use crate::optimizers::schedules::{
        CosineDecay, CosineDecayRestarts, ExponentialDecay, InverseTimeDecay, LearningRate, PiecewiseConstantDecay,
        PolynomialDecay, Schedule,
    };
    pub use crate::optimizers::{
        Adadelta, Adafactor, Adagrad, Adam, AdamW, Adamax, Ftrl, Lamb, Lion, LossScaleOptimizer, Nadam, Optimizer,
        RMSprop, SGD,
    };
    pub use crate::{
        Batches, Evaluate, Examples, Fit, History, Input, Instance, Model, Predict, Sequential, SymbolicTensor,
    };
    pub use crate::{Constraint, Initializer, Regularizer};
    pub use crate::{DType, Device, Eval, Function, Padding, Shape, Tensor, Variable};
}
