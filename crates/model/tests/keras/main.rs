//! Ibex beside real Keras: layers, losses, metrics, optimizers, initializers and training against the numbers in this folder (README.md).

mod callbacks;
#[path = "../common/mod.rs"]
mod common;
mod conv;
#[cfg(feature = "keras")]
mod damaged;
#[cfg(feature = "keras")]
mod files;
mod fixture;
mod initializers;
mod layers;
mod losses;
mod metrics;
mod mixed;
mod optimizers;
#[cfg(feature = "keras")]
mod own;
mod preprocessing;
mod recurrent;
mod rules;
mod training;
mod trajectories;
#[cfg(feature = "keras")]
mod weight_files;
