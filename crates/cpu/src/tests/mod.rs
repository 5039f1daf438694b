//! Instructions of every instruction set against `f64`.

mod adam;
mod fold;
mod math;
mod ops;
