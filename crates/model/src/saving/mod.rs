//! Models in files.

pub(crate) mod keras;
mod native;

pub(crate) use native::{graph_config, nested_from_config};
